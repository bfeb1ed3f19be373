//! Guards the rows of sessions of MQTT: what is found of them over restarts, and what is left when they are forgotten.

mod queue;

use std::num::NonZeroU32;

use super::*;
use crate::domain::{
    EventName, Generation, KeptSubscription, MqttAsk, NEVER_EXPIRES, OutgoingEvent, Payload, Properties, PublisherId,
    Qos, SignIn, TenantName, Timestamp, WillRight,
};
use crate::store::transaction::Transaction;
use crate::store::{Committer, Draft, Search};

pub struct House {
    pub store: Store,
    pub committer: Committer,
    directory: tempfile::TempDir,
}

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn acme() -> TenantName {
    TenantName::parse("acme").unwrap()
}

pub fn packet(id: u16) -> NonZeroU16 {
    NonZeroU16::new(id).unwrap()
}

pub fn head(client_id: &str, expiry: u32) -> MqttSessionHead {
    let username = Username::parse("zoe").unwrap();
    MqttSessionHead {
        key: MqttSessionKey { username, client_id: client_id.into() },
        tenant: acme(),
        publisher: PublisherId(9),
        expiry,
        began: (at(1), Position::START),
        ended_at: None,
    }
}

pub fn subscription(filter: &str, since: u64) -> KeptSubscription {
    KeptSubscription {
        filter: filter.into(),
        qos: Qos::ExactlyOnce,
        no_local: false,
        retain_as_published: true,
        id: NonZeroU32::new(7),
        since: Position::new(since),
        asked: MqttAsk::default(),
    }
}

fn asked(through: u32) -> MqttAsked {
    MqttAsked { through, ..MqttAsked::default() }
}

pub fn event(position: u64) -> OutgoingEvent {
    OutgoingEvent { position: Position::new(position), is_from_before: false }
}

pub fn message(id: u16, position: u64, state: OutgoingState) -> Outgoing {
    Outgoing { id: packet(id), event: event(position), state }
}

pub fn will(delay: u32, payload: usize) -> KeptWill {
    KeptWill {
        topic: EventName::parse("gone").unwrap(),
        payload: vec![7; payload].into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: Properties::default(),
        expires_in: None,
        delay,
        by: WillRight::SignIn(SignIn { generation: Generation(1), by_password_alone: true, session: None }),
    }
}

impl House {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        Self { store, committer, directory }
    }

    pub fn restart(self) -> Self {
        let Self { store, committer, directory } = self;
        drop((store, committer));
        let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        Self { store, committer, directory }
    }

    pub fn change<T>(&mut self, now: u64, change: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
        let mut transaction = self.committer.begin(at(now)).unwrap();
        let changed = change(&mut transaction);
        drop(transaction.commit().unwrap().reveal());
        changed
    }

    pub fn begin(&mut self, client_id: &str, expiry: u32) -> MqttSessionId {
        self.change(1, |transaction| transaction.add_mqtt_session(head(client_id, expiry)).unwrap())
    }

    pub fn insert(&mut self, names: &[&str], size: usize) {
        self.change(5, |transaction| {
            for name in names {
                let (user, name) = (Username::parse("zoe").unwrap(), EventName::parse(name).unwrap());
                let data = Payload::from_stored(&format!("\"{}\"", "x".repeat(size)));
                transaction.insert_event(Draft::transient(acme(), user, name, data)).unwrap();
            }
        });
    }

    pub fn session(&self, id: MqttSessionId) -> MqttSession {
        self.store.mqtt_session(id).unwrap().unwrap()
    }

    /// How many rows there are of sessions, and their bytes, of some kinds.
    pub fn rows(&self, kinds: &[u8]) -> (usize, usize) {
        let (mut rows, mut bytes) = (0, 0);
        for kind in kinds {
            let mut count = |key: &[u8], value: &[u8]| {
                rows += 1;
                bytes += key.len() + value.len();
                Ok(true)
            };
            self.store.scan_prefix(&[*kind], &mut count).unwrap();
        }
        (rows, bytes)
    }

    /// Does what maintenance does for forgotten sessions.
    pub fn sweep(&mut self) {
        let found = self.store.find(&Search::for_mqtt_left(), at(1 << 40), usize::MAX).unwrap().keys;
        for left in found {
            loop {
                let rows = self.store.left_of_mqtt(&left).unwrap();
                let is_last = rows.is_empty();
                self.change(9, |transaction| transaction.remove_left_of_mqtt(left.clone(), rows).unwrap());
                if is_last {
                    break;
                }
            }
        }
    }
}

/// The kinds of rows of sessions.
pub const KINDS: &[u8] = b"aASPYTGKC";

#[test]
fn a_session_is_read_as_it_was_written_over_restarts_and_is_another_when_it_begins_anew() {
    let mut house = House::new();
    house.insert(&["a", "a"], 1);
    let id = house.begin("phone", 60);
    let progress = MqttProgress {
        position: Position::new(2),
        exact_position: Position::new(1),
        exact_asked: asked(1),
        asked: asked(0),
        outgoing: vec![message(5, 2, OutgoingState::Sent), message(4, 1, OutgoingState::SentOnce)],
        waiting: vec![OutgoingEvent { is_from_before: true, ..event(1) }],
        last_id: 5,
    };
    house.change(2, |transaction| {
        transaction.put_mqtt_subscriptions(id, vec![subscription("a/#", 0), subscription("$share/g/b", 9)]).unwrap();
        transaction
            .note_mqtt_outgoing(id, vec![progress.outgoing[1]], (Position::new(1), MqttAsked::default()))
            .unwrap();
        transaction.save_mqtt_progress(id, &progress).unwrap();
        transaction.note_mqtt_unreleased(id, packet(3), Position::new(2)).unwrap();
        transaction.put_mqtt_will(id, Some(&will(5, 200_000))).unwrap();
    });
    let mut house = house.restart();
    let session = house.session(id);
    let wanted = MqttSession {
        head: head("phone", 60),
        // The one begins not before the events that were there by then.
        subscriptions: vec![subscription("$share/g/b", 9), subscription("a/#", 2)],
        progress,
        unreleased: [packet(3)].into(),
        will: Some(will(5, 200_000)),
    };
    assert_eq!(session, wanted);
    let key = head("phone", 60).key;
    assert_eq!(house.store.mqtt_session_id(&key), Ok(Some(id)));
    assert_eq!(house.store.mqtt_sessions_of(&key.username), Ok(vec![id]));
    // A shorter will leaves nothing of the longer one, and none leaves nothing.
    house.change(3, |transaction| transaction.put_mqtt_will(id, Some(&will(0, 3))).unwrap());
    assert_eq!(house.session(id).will, Some(will(0, 3)));
    house.change(3, |transaction| transaction.put_mqtt_will(id, None).unwrap());
    assert_eq!(house.session(id).will, None);

    let other = house.change(4, |transaction| {
        transaction.forget_mqtt_session(id, &key).unwrap();
        let other = transaction.add_mqtt_session(head("phone", 60)).unwrap();
        // What comes late for the old one leaves no row.
        transaction.note_mqtt_unreleased(id, packet(8), Position::new(2)).unwrap();
        transaction
            .note_mqtt_outgoing(id, vec![message(8, 2, OutgoingState::SentOnce)], (Position::END, MqttAsked::default()))
            .unwrap();
        transaction.put_mqtt_subscriptions(id, vec![subscription("late", 0)]).unwrap();
        transaction.save_mqtt_progress(id, &MqttProgress::at(Position::END)).unwrap();
        assert_eq!(transaction.queue_for_mqtt(id, &[Position::new(1)]), Ok(Queued::Forgotten));
        other
    });
    assert_eq!((house.store.mqtt_session(id), house.store.mqtt_session_id(&key)), (Ok(None), Ok(Some(other))));
    assert!(house.session(other).subscriptions.is_empty());
    house.change(5, |transaction| transaction.forget_mqtt_session(other, &key).unwrap());
    house.sweep();
    assert_eq!(house.rows(KINDS), (0, 0));
}

#[test]
fn a_subscription_that_is_made_again_begins_when_it_began_and_one_that_is_taken_out_is_gone() {
    let mut house = House::new();
    let id = house.begin("phone", 60);
    house.change(2, |transaction| transaction.put_mqtt_subscriptions(id, vec![subscription("a", 0)]).unwrap());
    house.insert(&["a"], 1);
    let again = KeptSubscription { qos: Qos::AtMostOnce, no_local: true, id: None, ..subscription("a", 1) };
    house.change(3, |transaction| {
        transaction.put_mqtt_subscriptions(id, vec![again.clone(), subscription("b", 0)]).unwrap();
    });
    let kept = KeptSubscription { since: Position::START, ..again };
    assert_eq!(house.session(id).subscriptions, [kept, subscription("b", 1)]);
    house.change(4, |transaction| transaction.remove_mqtt_subscriptions(id, vec!["a".into(), "c".into()]));
    assert_eq!(house.session(id).subscriptions, [subscription("b", 1)]);
    // What it asks for is up to the same moment, and stays so until it asks once more.
    for (number, expected) in [(1, (1, 1)), (0, (1, 1)), (2, (2, 3))] {
        let asked = MqttAsk { number, until: Position::START };
        let again = KeptSubscription { asked, ..subscription("b", 1) };
        house.change(5, |transaction| transaction.put_mqtt_subscriptions(id, vec![again]).unwrap());
        let MqttAsk { number, until } = house.session(id).subscriptions[0].asked;
        assert_eq!((number, until.get()), expected);
        house.insert(&["a"], 1);
    }
}

#[test]
fn a_message_of_qos_2_is_known_by_its_identifier_until_it_is_done_whatever_was_saved_before() {
    let mut house = House::new();
    let id = house.begin("phone", NEVER_EXPIRES);
    let once = OutgoingState::SentOnce;
    let saved = MqttProgress {
        position: Position::new(4),
        exact_position: Position::new(2),
        exact_asked: asked(2),
        asked: asked(1),
        outgoing: vec![message(1, 1, OutgoingState::Sent), message(2, 2, OutgoingState::Sent), message(3, 2, once)],
        waiting: vec![event(3), event(4), event(3)],
        last_id: 3,
    };
    house.change(2, |transaction| {
        transaction
            .note_mqtt_outgoing(id, vec![message(3, 2, once)], (Position::new(2), MqttAsked::default()))
            .unwrap();
        transaction.save_mqtt_progress(id, &saved).unwrap();
    });
    assert_eq!(house.session(id).progress, saved);
    // One that waited is sent, by the identifier that another one had, and the one that was on its way is received.
    house.change(3, |transaction| {
        transaction
            .note_mqtt_outgoing(id, vec![message(1, 3, once)], (Position::new(3), MqttAsked::default()))
            .unwrap();
        transaction.note_mqtt_outgoing(id, vec![message(9, 6, once)], (Position::new(6), asked(4))).unwrap();
        transaction.release_mqtt_outgoing(id, vec![packet(3), packet(77)]).unwrap();
    });
    let progress = house.restart().session(id).progress;
    let released = message(3, 2, OutgoingState::Released);
    let outgoing = vec![message(2, 2, OutgoingState::Sent), released, message(1, 3, once), message(9, 6, once)];
    assert_eq!(progress.outgoing, outgoing);
    assert_eq!((progress.waiting, progress.exact_position), (vec![event(1), event(4), event(3)], Position::new(6)));
    assert_eq!((progress.exact_asked, progress.asked), (asked(4), asked(1)));
}

#[test]
fn a_message_that_is_done_is_not_there_any_more_and_neither_is_one_that_was_released() {
    let mut house = House::new();
    let id = house.begin("phone", NEVER_EXPIRES);
    house.change(2, |transaction| {
        let messages = vec![message(3, 2, OutgoingState::SentOnce)];
        transaction.note_mqtt_outgoing(id, messages.clone(), (Position::new(2), MqttAsked::default())).unwrap();
        transaction.save_mqtt_progress(id, &MqttProgress { outgoing: messages, ..MqttProgress::default() }).unwrap();
        transaction.note_mqtt_unreleased(id, packet(3), Position::new(2)).unwrap();
        assert_eq!(transaction.mqtt_unreleased(id, packet(3)), Ok(Some((Position::new(2), at(2)))));
        transaction.forget_mqtt_outgoing(id, vec![packet(3), packet(4)]).unwrap();
        assert_eq!(transaction.release_mqtt_unreleased(id, packet(3)), Ok(true));
        assert_eq!(transaction.release_mqtt_unreleased(id, packet(3)), Ok(false));
    });
    let session = house.session(id);
    assert!(session.progress.outgoing.is_empty() && session.unreleased.is_empty());
}

#[test]
fn an_offline_session_takes_300_bytes_at_most_beside_its_filters() {
    let mut house = House::new();
    let id = house.begin("mqttjs_3b1c8a0f9e7d", 86_400);
    house.change(2, |transaction| {
        transaction.note_mqtt_outgoing(id, vec![], (Position::new(7), MqttAsked::default())).unwrap();
        transaction.put_mqtt_subscriptions(id, vec![subscription("devices/68946/#", 0)]).unwrap();
        transaction.save_mqtt_progress(id, &MqttProgress::at(Position::new(9))).unwrap();
        let ended = MqttSessionHead { ended_at: Some(at(2)), ..head("mqttjs_3b1c8a0f9e7d", 86_400) };
        transaction.put_mqtt_head(id, ended).unwrap();
    });
    let (rows, bytes) = house.rows(KINDS);
    // The journal's head of a row is larger than what sled keeps beside one in a page.
    let bytes = bytes + rows * super::super::sizes::ROW_HEAD_BYTES;
    assert!(bytes <= 300, "{bytes} bytes in {rows} rows");
}

#[test]
fn a_client_that_comes_and_goes_leaves_one_row_by_which_it_is_found_when_its_session_ends() {
    let mut house = House::new();
    let id = house.begin("phone", 60);
    let head = |ended_at: Option<u64>, expiry| MqttSessionHead { ended_at: ended_at.map(at), ..head("phone", expiry) };
    let put = |house: &mut House, head| house.change(2, |transaction| transaction.put_mqtt_head(id, head).unwrap());
    let due = |house: &House, now| house.store.find(&Search::for_mqtt_due(), at(now), usize::MAX).unwrap().keys;
    for ended_at in [1000, 2000, 3000] {
        put(&mut house, head(Some(ended_at), 60));
        put(&mut house, head(None, 60));
    }
    assert_eq!((house.rows(b"T").0, due(&house, 60_999).len(), due(&house, 61_000).len()), (1, 0, 1));
    put(&mut house, head(Some(3000), 60));
    house.change(61_000, |transaction| transaction.pass_mqtt_due(at(61_000), id).unwrap());
    assert_eq!((house.rows(b"T").0, due(&house, 62_999).len(), due(&house, 63_000).len()), (1, 0, 1));
    // A shorter time counts at once, as does a will. A session that never expires is not due.
    put(&mut house, head(Some(3000), 10));
    assert_eq!((house.rows(b"T").0, due(&house, 13_000).len()), (1, 1));
    house.change(3, |transaction| transaction.put_mqtt_will(id, Some(&will(4, 1))).unwrap());
    put(&mut house, head(Some(3000), 10));
    assert_eq!((house.rows(b"T").0, due(&house, 7000).len()), (1, 1));
    house.change(7000, |transaction| transaction.put_mqtt_will(id, None).unwrap());
    put(&mut house, head(Some(3000), NEVER_EXPIRES));
    house.change(7000, |transaction| transaction.pass_mqtt_due(at(7000), id).unwrap());
    assert_eq!(house.rows(b"T").0, 0);
}

#[test]
fn a_damaged_row_is_an_error_of_its_session_alone() {
    let mut house = House::new();
    let (id, other) = (house.begin("phone", 60), house.begin("tablet", 60));
    house.store.smuggle(keys::mqtt_part(id, &MqttPart::Outgoing(packet(1))), b"?");
    assert!(matches!(house.store.mqtt_session(id), Err(Error::Damaged(_))));
    let username = &head("", 0).key.username;
    let ids = |house: &House| house.store.mqtt_sessions_of(username).unwrap();
    assert_eq!(house.session(other).head, head("tablet", 60));
    // Whatever is damaged, it can be forgotten, with all of its rows.
    house.store.smuggle(keys::mqtt_session(id), b"?");
    house.store.recall_mqtt_sessions(|_| false).unwrap();
    assert_eq!(house.store.mqtt_cursors().some_lost(9), [other]);
    house.change(2, |transaction| {
        assert_eq!(transaction.mqtt_session_of(&head("phone", 60).key), Ok(Some((id, None))));
        transaction.forget_mqtt_session(id, &head("phone", 60).key).unwrap();
    });
    house.sweep();
    assert_eq!(ids(&house), [other]);
    house.change(3, |transaction| transaction.forget_mqtt_sessions_of(username).unwrap());
    house.sweep();
    assert_eq!(house.rows(KINDS), (0, 0));
    // The same with a user who is deleted, with what is kept for a session that was whole at the start.
    let id = house.begin("phone", 60);
    house.change(4, |transaction| transaction.put_mqtt_subscriptions(id, vec![subscription("#", 0)]).unwrap());
    house.insert(&["a", "a"], 1);
    house.shorten(1);
    house.store.smuggle(keys::mqtt_session(id), b"?");
    house.change(6, |transaction| transaction.forget_mqtt_sessions_of(username).unwrap());
    house.sweep();
    assert_eq!((house.rows(KINDS), house.store.mqtt_cursors().behind(&acme(), Position::END)), ((0, 0), vec![]));
}

#[test]
fn after_a_restart_retention_knows_how_far_each_session_has_come_and_which_had_a_connection() {
    let mut house = House::new();
    let (gone, here) = (house.begin("gone", 60), house.begin("here", 60));
    house.change(2, |transaction| {
        let waiting = vec![event(6)];
        transaction.save_mqtt_progress(gone, &MqttProgress { waiting, ..MqttProgress::at(Position::new(9)) }).unwrap();
        transaction.save_mqtt_progress(here, &MqttProgress::at(Position::new(7))).unwrap();
        transaction.put_mqtt_head(gone, MqttSessionHead { ended_at: Some(at(2)), ..head("gone", 60) }).unwrap();
    });
    let house = house.restart();
    house.store.recall_mqtt_sessions(|_| false).unwrap();
    assert_eq!(house.store.mqtt_cursors().some_lost(9), [here]);
    let behind = |position| -> Vec<_> {
        let behind = house.store.mqtt_cursors().behind(&acme(), Position::new(position));
        behind.into_iter().map(|one| (one.id, one.absence.is_some())).collect()
    };
    assert_eq!((behind(5), behind(6)), (vec![], vec![(gone, true)]));
    assert!(behind(8).len() == 2 && behind(8).contains(&(here, false)));
    // One that another server's connection holds has lost none.
    house.store.recall_mqtt_sessions(|id| id == here).unwrap();
    assert_eq!(house.store.mqtt_cursors().some_lost(9), []);
    assert!(behind(8).len() == 2 && behind(8).contains(&(here, false)));
}
