//! Guards what sessions of MQTT keep of events that the tail loses: it is read in order, and goes with the last that needs it.

use super::*;
use crate::domain::{Erase, User};
use crate::store::mqtt_sessions::queue::MAX_QUEUED_BYTES;
use crate::store::{Behind, ErasureScan, Excess, MAX_QUEUED, MqttReplay, UserEvents};

impl House {
    /// Has the oldest events leave the tail, as maintenance does. Returns the sessions that could not keep what they need.
    pub(super) fn shorten(&mut self, by: usize) -> Vec<MqttSessionId> {
        let excess = Excess { surplus: by, before: at(0), now: at(1 << 40), at_most: usize::MAX };
        let oldest = self.store.oldest(&acme(), excess).unwrap();
        let leaving = self.store.leaving(&acme(), oldest.positions().collect()).unwrap();
        let mut ended = Vec::new();
        let last = oldest.positions().last().unwrap();
        for Behind { id, .. } in self.store.mqtt_cursors().behind(&acme(), last) {
            let needs = self.store.mqtt_needs(id).unwrap().unwrap();
            let needed: Vec<_> =
                leaving.iter().filter(|event| needs.needs(event)).map(|event| event.position()).collect();
            let queued = self.change(6, |transaction| transaction.queue_for_mqtt(id, &needed).unwrap());
            if queued == Queued::TooMany {
                ended.push(id);
            }
        }
        self.change(6, |transaction| transaction.shorten(oldest).unwrap());
        ended
    }

    fn subscribed(&mut self, client_id: &str, filter: &str) -> MqttSessionId {
        let id = self.begin(client_id, 60);
        let subscriptions = vec![subscription(filter, 0)];
        self.change(2, |transaction| transaction.put_mqtt_subscriptions(id, subscriptions).unwrap());
        id
    }

    /// The names and sizes of all events that a session is given after a position.
    fn given(&self, id: MqttSessionId, after: u64) -> Vec<(u64, String, usize)> {
        let mut replay = MqttReplay::new(id, acme(), Position::new(after), self.store.head());
        let mut given = Vec::new();
        loop {
            let each = |event: crate::store::StoredEvent<'_>| {
                given.push((event.position.get(), event.name.to_owned(), event.data.len() - 2));
                1
            };
            if !replay.next(&self.store, 1, each).unwrap() {
                assert_eq!(replay.position(), self.store.head());
                return given;
            }
        }
    }
}

fn one(position: u64, name: &str, size: usize) -> (u64, String, usize) {
    (position, name.to_owned(), size)
}

const LARGE: usize = 300_000;

#[test]
fn what_the_tail_loses_is_in_the_queues_of_the_sessions_that_need_it_alone() {
    let mut house = House::new();
    let (both, other, late) = (house.subscribed("1", "#"), house.subscribed("2", "b/+"), house.begin("3", 60));
    house.insert(&["a", "b/1"], LARGE);
    // Subscribed, and connected, after these.
    house.change(3, |transaction| {
        transaction.put_mqtt_subscriptions(late, vec![subscription("#", 0)]).unwrap();
    });
    house.insert(&["c", "b/2", "d"], 1);
    assert_eq!(house.shorten(4), []);
    let mut house = house.restart();
    house.store.recall_mqtt_sessions(|_| false).unwrap();
    let all = [one(1, "a", LARGE), one(2, "b/1", LARGE), one(3, "c", 1), one(4, "b/2", 1), one(5, "d", 1)];
    assert_eq!(house.given(both, 0), all);
    assert_eq!(house.given(both, 2), all[2..]);
    assert_eq!(
        house.given(other, 0),
        [all[1].clone(), all[3].clone(), all[4].clone()],
        "the caller selects of the tail"
    );
    assert_eq!(house.given(late, 0), all[2..]);
    // Each is kept once, and there for whoever sends it again.
    assert_eq!(house.rows(b"K").0, 4);
    let mut found = None;
    house.store.event_at(&acme(), Position::new(2), |event| found = Some(event.data.len() - 2)).unwrap();
    assert_eq!(found, Some(LARGE));
    // What is done goes from the queue; what is on its way stays.
    let outgoing = vec![message(1, 1, OutgoingState::Sent)];
    house.change(7, |transaction| {
        let progress = MqttProgress { outgoing, ..MqttProgress::at(Position::new(5)) };
        transaction.save_mqtt_progress(both, &progress).unwrap();
        transaction.save_mqtt_progress(late, &MqttProgress::at(Position::new(5))).unwrap();
    });
    assert_eq!((house.given(both, 0).len(), house.rows(b"K").0), (2, 3));
    for (id, client_id) in [(both, "1"), (other, "2"), (late, "3")] {
        house.change(8, |transaction| transaction.forget_mqtt_session(id, &head(client_id, 60).key).unwrap());
    }
    house.sweep();
    assert_eq!((house.rows(KINDS), house.rows(b"p")), ((0, 0), (0, 0)));
}

#[test]
fn nothing_is_kept_that_a_session_is_not_given_with_qos_1_or_has_done() {
    let mut house = House::new();
    let id = house.begin("1", 60);
    let own = KeptSubscription { no_local: true, ..subscription("own", 0) };
    let zero = KeptSubscription { qos: Qos::AtMostOnce, ..subscription("zero", 0) };
    let shared = subscription("$share/g/shared", 0);
    house.change(2, |transaction| {
        transaction.put_mqtt_subscriptions(id, vec![own, zero, shared, subscription("a", 0)]).unwrap();
    });
    house.change(5, |transaction| {
        for (name, qos, publisher) in
            [("own", 2, 9), ("own", 2, 8), ("zero", 2, 8), ("shared", 2, 8), ("a", 0, 8), ("a", 1, 9)]
        {
            let published = crate::domain::Published {
                qos: Qos::from_number(qos).unwrap(),
                publisher: PublisherId(publisher),
                ..crate::domain::Published::example()
            };
            let (user, name) = (Username::parse("zoe").unwrap(), EventName::parse(name).unwrap());
            let draft = Draft::transient(acme(), user, name, Payload::null());
            transaction.insert_event(Draft { published: Some(published.into()), ..draft }).unwrap();
        }
    });
    house.insert(&["a", "a"], 1);
    // A connected client has acknowledged one that the database does not know of.
    let cursor = house.store.mqtt_cursors().of(&acme(), id).unwrap();
    house.shorten(7);
    assert_eq!(
        house.store.mqtt_queue(id, Position::START, Position::END).unwrap().iter().map(|p| p.get()).collect::<Vec<_>>(),
        [2, 6, 7]
    );
    cursor.raise(Position::new(8));
    assert_eq!(house.store.mqtt_cursors().behind(&acme(), Position::new(8)), []);
}

#[test]
fn a_message_of_qos_2_that_was_noted_is_kept_although_everything_was_done_up_to_there() {
    let mut house = House::new();
    // As a member of a share is given one that the share had for long.
    let id = house.begin("1", 60);
    house.insert(&["a", "b", "c", "d"], 1);
    let cursor = house.store.mqtt_cursors().of(&acme(), id).unwrap();
    cursor.raise(Position::new(4));
    house.change(6, |transaction| {
        let messages = vec![message(1, 2, OutgoingState::SentOnce), message(2, 3, OutgoingState::SentOnce)];
        transaction.note_mqtt_outgoing(id, messages, (Position::new(4), MqttAsked::default())).unwrap();
    });
    assert_eq!(house.shorten(4), []);
    assert_eq!(house.given(id, 0), [one(2, "b", 1), one(3, "c", 1)]);
    cursor.raise(Position::new(2));
    assert_eq!(house.store.mqtt_cursors().behind(&acme(), Position::new(4)).len(), 1);
    cursor.raise(Position::new(4));
    assert_eq!(house.store.mqtt_cursors().behind(&acme(), Position::new(4)), []);
}

#[test]
fn the_latest_event_of_a_name_that_is_kept_outlives_being_superseded_and_a_kept_one_outlives_nobody() {
    let mut house = House::new();
    let id = house.subscribed("1", "v");
    let value = |house: &mut House| {
        house.change(5, |transaction| {
            let (user, name) = (Username::parse("zoe").unwrap(), EventName::parse("v").unwrap());
            let data = Payload::from_stored(&format!("\"{}\"", "x".repeat(LARGE)));
            transaction.insert_event(Draft::value(acme(), user, name, data)).unwrap();
        });
    };
    value(&mut house);
    house.shorten(1);
    // It goes from the queue while it is the latest: that keeps its data.
    let other = house.subscribed("2", "v");
    house.change(6, |transaction| transaction.save_mqtt_progress(id, &MqttProgress::at(Position::new(1))).unwrap());
    let latest = |house: &House| {
        let mut size = None;
        house.store.event_at(&acme(), Position::new(1), |event| size = Some(event.data.len() - 2)).unwrap();
        size
    };
    assert_eq!((house.rows(b"K").0, latest(&house)), (0, Some(LARGE)));
    value(&mut house);
    assert_eq!(latest(&house), None);
    house.shorten(1);
    value(&mut house);
    assert_eq!(house.given(other, 0), [one(2, "v", LARGE), one(3, "v", LARGE)]);
}

#[test]
fn an_export_has_what_is_kept_for_sessions_once() {
    let mut house = House::new();
    let id = house.subscribed("1", "#");
    house.insert(&["a", "b"], 1);
    house.change(5, |transaction| {
        let (user, name) = (Username::parse("zoe").unwrap(), EventName::parse("latest").unwrap());
        transaction.insert_event(Draft::value(acme(), user, name, Payload::null())).unwrap();
    });
    house.insert(&["c"], 1);
    house.shorten(3);
    for user in [User::example(), User { tenant_since: Position::new(1), ..User::example() }] {
        let (mut names, mut events) = (Vec::new(), UserEvents::new(&house.store, &user));
        let mut more = true;
        while more {
            let each = |_: &TenantName, event: crate::store::StoredEvent<'_>| {
                names.push(event.name.to_owned());
                Ok(())
            };
            more = events.next(&house.store, 1, each).unwrap();
        }
        names.sort();
        assert_eq!(names, ["a", "b", "c", "latest"], "{id:?}");
    }
}

#[test]
fn a_queue_takes_so_many_bytes_and_one_event_more() {
    let mut house = House::new();
    let id = house.subscribed("1", "#");
    let takes = MAX_QUEUED_BYTES / 1_000_000 + 1;
    for _ in 0..takes + 2 {
        house.insert(&["a"], 1_000_000);
    }
    assert_eq!(house.shorten(usize::try_from(takes).unwrap()), []);
    // What is done makes room.
    house.change(6, |transaction| transaction.save_mqtt_progress(id, &MqttProgress::at(Position::new(1))).unwrap());
    assert_eq!(house.shorten(1), []);
    assert_eq!(house.shorten(1), [id]);
}

#[test]
fn an_event_of_which_nobody_knows_how_many_need_it_stays_and_keeps_no_session_from_going_on() {
    let mut house = House::new();
    let (id, other) = (house.subscribed("1", "#"), house.subscribed("2", "#"));
    house.insert(&["a", "a"], 1);
    house.shorten(1);
    house.store.smuggle(keys::keepers(&acme(), Position::new(1)), b"?");
    house.store.smuggle(keys::mqtt_part(id, &MqttPart::QueueSize), b"?");
    house.change(6, |transaction| transaction.save_mqtt_progress(id, &MqttProgress::at(Position::new(1))).unwrap());
    assert_eq!(house.given(other, 0), [one(1, "a", 1), one(2, "a", 1)]);
    assert_eq!(house.store.mqtt_queue(id, Position::START, Position::END), Ok(vec![]));
    assert_eq!(house.shorten(1), []);
}

#[test]
fn a_session_that_needs_more_than_its_queue_takes_ends_and_one_that_is_done_with_some_does_not() {
    let mut house = House::new();
    let (slow, busy) = (house.subscribed("slow", "#"), house.subscribed("busy", "#"));
    let names: Vec<_> = vec!["a"; usize::try_from(MAX_QUEUED).unwrap()];
    house.insert(&names, 1);
    house.insert(&["a"], 1);
    assert_eq!(house.shorten(names.len()), []);
    assert_eq!(house.rows(b"K").0, names.len());
    // The client of one has acknowledged some, and its connection has not said so to the database.
    house.store.mqtt_cursors().of(&acme(), busy).unwrap().raise(Position::new(10));
    assert_eq!(house.shorten(1), [slow]);
    assert_eq!(house.given(busy, 0).first().unwrap().0, 11);
    house.change(7, |transaction| transaction.forget_mqtt_session(slow, &head("slow", 60).key).unwrap());
    house.sweep();
    assert_eq!(house.rows(b"K").0, names.len() - 9);
}

#[test]
fn what_sessions_keep_of_a_deleted_user_is_erased() {
    for erase in [Erase::Remove, Erase::Anonymise] {
        let mut house = House::new();
        let id = house.subscribed("1", "#");
        let zoe = User::example();
        house.change(1, |transaction| transaction.put_user(&User { username: Username::parse("max").unwrap(), ..zoe }));
        house.change(5, |transaction| {
            let (max, name) = (Username::parse("max").unwrap(), EventName::parse("a").unwrap());
            let data = Payload::from_stored(&format!("\"{}\"", "x".repeat(LARGE)));
            transaction.insert_event(Draft::transient(acme(), max, name, data)).unwrap();
        });
        house.shorten(1);
        let max = house.store.user(&Username::parse("max").unwrap()).unwrap().unwrap();
        house.change(6, |transaction| transaction.delete_user(&max, erase, at(9), [0; 8]).unwrap());
        let mut scan = Some(ErasureScan::new(house.store.erasures(&Default::default()).unwrap()));
        while let Some(of) = scan {
            let found = house.store.find_to_erase(of.clone()).unwrap();
            house.change(7, |transaction| transaction.erase_events(found.keys, &of).unwrap());
            scan = found.rest;
        }
        let mut by = Vec::new();
        let mut replay = MqttReplay::new(id, acme(), Position::START, house.store.head());
        while replay
            .next(&house.store, 1, |event| {
                by.push(event.username.to_owned());
                1
            })
            .unwrap()
        {}
        match erase {
            Erase::Remove => assert_eq!((by.len(), house.rows(b"KCp")), (0, (0, 0))),
            Erase::Anonymise => assert!(by.len() == 1 && by[0].starts_with("deleted:"), "{by:?}"),
        }
    }
}
