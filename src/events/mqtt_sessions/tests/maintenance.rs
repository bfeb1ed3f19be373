//! Guards what maintenance does for sessions of MQTT: delayed wills, ends, and what retention keeps for them.

use super::*;
use crate::domain::{MqttAsk, NEVER_EXPIRES};
use crate::store::{MAX_QUEUED, MAX_QUEUED_BYTES, MqttReplay, Search};

impl House {
    /// Does all the work of maintenance until something is so.
    pub(super) async fn maintained(&self, retained: usize, is_so: impl Fn(&Store) -> bool) {
        let retention = Retention { age: Duration::from_secs(1 << 40), events: retained };
        let work = keep_up(self.hub.clone(), self.writer.clone(), Clock::from_local(), retention);
        let work = tokio::spawn(work);
        let wait = async {
            while !is_so(&self.store) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("maintenance does it");
        work.abort();
        let _ = work.await;
    }
}

/// A session of 1970, as it is on the disk.
fn old(
    transaction: &mut Transaction<'_>,
    client_id: &str,
    will: Option<KeptWill>,
    ended: bool,
    expiry: u32,
) -> MqttSessionId {
    let head = MqttSessionHead {
        key: connect(client_id).key,
        tenant: acme(),
        publisher: PublisherId(9),
        expiry,
        began: (Timestamp::from_millis(1), Position::START),
        ended_at: None,
    };
    let id = transaction.add_mqtt_session(head.clone()).unwrap();
    transaction.put_mqtt_will(id, will.as_ref()).unwrap();
    if ended {
        let ended_at = Some(Timestamp::from_millis(1));
        transaction.put_mqtt_head(id, MqttSessionHead { ended_at, ..head }).unwrap();
    }
    id
}

#[tokio::test]
async fn sessions_end_and_wills_come_at_their_time_and_once_also_if_the_server_was_killed() {
    let mut ids = Vec::new();
    let house = House::after(|transaction| {
        ids = vec![
            old(transaction, "expired", will("expired", 90), true, 60),
            old(transaction, "delayed", will("delayed", 5), true, NEVER_EXPIRES),
            old(transaction, "killed", will("killed", 0), false, NEVER_EXPIRES),
            old(transaction, "killed-brief", will("brief", 3600), false, 0),
            // These wait.
            old(transaction, "killed-delayed", will("later", 3600), false, NEVER_EXPIRES),
            old(transaction, "here", None, true, NEVER_EXPIRES),
        ];
    });
    // A client that is back before anybody has looked is not ended; its will was due.
    let (back, _) = house.goes_on(BeginMqttSession { will: will("new", 0), ..connect("killed") }).await;
    assert_eq!((house.names(), back), (vec!["killed".to_owned()], ids[2]));
    let is_done =
        |store: &Store| store.head().get() >= 4 && store.mqtt_session(ids[4]).unwrap().unwrap().head.ended_at.is_some();
    house.maintained(1000, is_done).await;
    let house = house.restart().await;
    house.maintained(1000, |store| store.head().get() >= 5).await;
    assert!(house.store.mqtt_session(back).unwrap().unwrap().head.ended_at.is_some());
    let mut names = house.names();
    names.sort();
    assert_eq!(names, ["brief", "delayed", "expired", "killed", "new"]);
    let is_there: Vec<_> = ids.iter().map(|id| house.store.mqtt_session(*id).unwrap().is_some()).collect();
    assert_eq!(is_there, [false, true, true, false, true, true]);
    assert_eq!(house.store.mqtt_session(ids[4]).unwrap().unwrap().will, will("later", 3600));
}

#[tokio::test]
async fn a_client_that_is_back_before_maintenance_takes_no_will_away_whose_delay_is_over() {
    let mut ids = Vec::new();
    let house = House::after(|transaction| {
        ids = vec![
            old(transaction, "over", will("over", 5), true, NEVER_EXPIRES),
            old(transaction, "waits", will("waits", u32::MAX), true, NEVER_EXPIRES),
        ];
    });
    assert_eq!(house.goes_on(connect("over")).await, (ids[0], None));
    assert_eq!(house.goes_on(connect("waits")).await, (ids[1], will("waits", u32::MAX)));
    assert_eq!(house.names(), ["over"]);
    // Whatever is damaged where it is to go.
    for (damaged, clean_start) in [(&b"f\0\x04acme"[..], false), (b"c\0\x04acme", false), (b"c\0\x04acme", true)] {
        let will = will("gone", 5).map(|will| KeptWill { retain: true, ..will });
        let house = House::after(|transaction| _ = old(transaction, "phone", will, true, NEVER_EXPIRES));
        house.store.smuggle(damaged.to_vec(), b"?");
        let begun = house.begin(BeginMqttSession { clean_start, ..connect("phone") }).await;
        assert_eq!(matches!(begun, BegunMqttSession::Anew(_)), clean_start);
        assert!(house.names().is_empty());
    }
}

fn replayed(house: &House, id: MqttSessionId) -> Vec<u64> {
    let mut replay = MqttReplay::new(id, acme(), Position::START, house.store.head());
    let mut positions = Vec::new();
    let each = |positions: &mut Vec<u64>, event: crate::store::StoredEvent<'_>| {
        positions.push(event.position.get());
        1
    };
    while replay.next(&house.store, 1, |event| each(&mut positions, event)).unwrap() {}
    positions
}

async fn insert_many(house: &House, name: &str, count: u64) {
    let inserting: Vec<_> = (0..count).map(|_| house.writer.post(publish(name, None)).unwrap()).collect();
    for inserted in inserting {
        inserted.await.unwrap();
    }
}

fn subscription(filter: &str) -> MqttSessionChange {
    MqttSessionChange::Subscribe(vec![kept(filter)])
}

fn kept(filter: &str) -> KeptSubscription {
    KeptSubscription {
        filter: filter.into(),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
        since: Position::START,
        asked: MqttAsk::default(),
    }
}

#[tokio::test]
async fn retention_starves_no_session_that_needs_little_and_ends_one_that_needs_too_much() {
    let house = House::new();
    let (some, all) = (house.begin_anew(connect("some")).await, house.begin_anew(connect("all")).await);
    let ahead = house.begin_anew(connect("ahead")).await;
    house.allow(1000);
    // Many sessions, so that they are looked at in several steps.
    let mut others = Vec::new();
    for number in 0..50 {
        others.push(house.begin_anew(connect(&number.to_string())).await);
    }
    for (id, filter) in [(some, "a"), (all, "#"), (ahead, "#")].into_iter().chain(others.iter().map(|id| (*id, "a"))) {
        assert!(house.change(id, subscription(filter)).await);
    }
    insert_many(&house, "a", 20).await;
    insert_many(&house, "b", MAX_QUEUED).await;
    insert_many(&house, "a", 1).await;
    house.store.mqtt_cursors().of(&acme(), ahead).unwrap().raise(house.store.head());
    let floor = Position::new(house.store.head().get() - 10);
    house.maintained(10, |store| store.floor(&acme()).unwrap() >= floor).await;
    let tail = house.store.head().get() - 9..=house.store.head().get();
    let wanted: Vec<_> = (1..=20).chain(tail.clone()).collect();
    assert_eq!(replayed(&house, some), wanted);
    assert!(others.iter().all(|id| replayed(&house, *id) == wanted));
    assert_eq!(replayed(&house, ahead), tail.collect::<Vec<_>>());
    assert_eq!(house.store.mqtt_session(all), Ok(None));
    assert!(house.store.mqtt_session(ahead).unwrap().is_some());
    // Over restarts, too, and until it is done.
    let house = house.restart().await;
    assert_eq!(replayed(&house, some), wanted);
    let done = MqttProgress::at(house.store.head());
    assert!(house.change(some, MqttSessionChange::Save(done)).await);
    assert!(replayed(&house, some).iter().all(|position| *position > 20));
}

#[tokio::test]
async fn what_is_left_of_forgotten_sessions_goes() {
    let house = House::new();
    let id = house.begin_anew(BeginMqttSession { will: will("w", 60), ..connect("phone") }).await;
    house.change(id, subscription("a")).await;
    insert_many(&house, "a", 30).await;
    house.maintained(10, |store| store.floor(&acme()).unwrap() >= Position::new(20)).await;
    assert_eq!(replayed(&house, id).len(), 30);
    house.change(id, MqttSessionChange::Forget).await;
    assert!(replayed(&house, id).len() > 11, "the queue is still there");
    house
        .maintained(1000, |store| {
            let mut replay = MqttReplay::new(id, acme(), Position::START, Position::new(1));
            let mut is_gone = true;
            while replay
                .next(store, 1, |_| {
                    is_gone = false;
                    1
                })
                .unwrap()
            {}
            is_gone
        })
        .await;
}

#[tokio::test]
async fn of_many_sessions_that_are_forgotten_at_once_nothing_is_left() {
    let house = House::new();
    let subscriptions: Vec<_> = (0..300).map(|number| kept(&format!("a/{number}"))).collect();
    house.allow(1000);
    let mut ids = Vec::new();
    for number in 0..20 {
        let id = house.begin_anew(connect(&number.to_string())).await;
        assert!(house.change(id, MqttSessionChange::Subscribe(subscriptions.clone())).await);
        ids.push(id);
    }
    for id in ids {
        assert!(house.change(id, MqttSessionChange::Forget).await);
    }
    let later = Clock::from_local().now() + Duration::from_secs(3600);
    let left = |store: &Store| store.find(&Search::for_mqtt_left(), later, 100).unwrap().keys.len();
    assert_eq!(left(&house.store), 20);
    house.maintained(1000, |store| left(store) == 0).await;
}

#[tokio::test]
async fn a_session_whose_end_could_not_be_written_is_ended_later_unless_its_client_is_back() {
    let house = House::new();
    let (lost, back) = (house.begin_anew(connect("lost")).await, house.begin_anew(connect("back")).await);
    let written = house.begin_anew(BeginMqttSession { will: will("gone", 0), ..connect("written") }).await;
    for id in [lost, back, written] {
        house.store.mqtt_cursors().lose(id);
    }
    assert_eq!(house.goes_on(connect("back")).await, (back, None));
    // Its will was taken away, and that counts.
    assert!(house.end(written, WillFate::Discarded).await);
    let is_ended = |store: &Store, id| store.mqtt_session(id).unwrap().unwrap().head.ended_at.is_some();
    house.maintained(1000, |store| is_ended(store, lost) && store.mqtt_cursors().some_lost(9).is_empty()).await;
    assert!(!is_ended(&house.store, back) && is_ended(&house.store, written));
    assert!(house.names().is_empty());
}

#[tokio::test]
async fn the_connection_of_a_session_that_retention_cannot_wait_for_is_told() {
    let house = House::new();
    let id = house.begin_anew(connect("stalled")).await;
    assert!(house.change(id, subscription("#")).await);
    let cursor = house.store.mqtt_cursors().of(&acme(), id).unwrap();
    insert_many(&house, "a", MAX_QUEUED + 20).await;
    let told = tokio::spawn(std::future::poll_fn(move |context| cursor.poll_forgotten(context)));
    house.maintained(10, |store| store.mqtt_session(id).unwrap().is_none()).await;
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is woken").unwrap();
}

/// More than nine of these are more than one change can write.
fn large_will() -> Option<KeptWill> {
    let payload = large().as_str().as_bytes().into();
    will("w", 3600).map(|will| KeptWill { payload, ..will })
}

fn large() -> Payload {
    Payload::from_valid_json(&format!("\"{}\"", "x".repeat(900_000))).unwrap()
}

#[tokio::test]
async fn retention_ends_however_many_sessions_at_once_whatever_wills_they_have() {
    let house = House::new();
    house.allow(1000);
    let mut ids = Vec::new();
    for number in 0..10 {
        let begin = BeginMqttSession { will: large_will(), ..connect(&number.to_string()) };
        ids.push(house.begin_anew(begin).await);
    }
    for id in &ids {
        assert!(house.change(*id, subscription("a")).await && house.end(*id, WillFate::AfterDelay).await);
    }
    // Their queues are full then.
    for _ in 0..=MAX_QUEUED_BYTES / 900_000 {
        house.writer.submit(publish_data("a", large())).await.unwrap();
    }
    let full = house.store.head();
    house.maintained(0, |store| store.floor(&acme()).unwrap() >= full).await;
    assert!(ids.iter().all(|id| house.store.mqtt_session(*id).unwrap().is_some()));
    insert_many(&house, "a", 1).await;
    house.maintained(0, |store| store.floor(&acme()).unwrap() > full).await;
    assert!(ids.iter().all(|id| house.store.mqtt_session(*id).unwrap().is_none()));
    assert_eq!(house.store.head().get(), full.get() + 11, "all wills are published");
}

#[tokio::test]
async fn where_many_sessions_have_to_make_room_they_go_a_few_at_a_time_whatever_wills_they_have() {
    let house = House::new();
    house.allow(1000);
    for number in 0..13 {
        let begin = BeginMqttSession { will: large_will(), ..connect(&number.to_string()) };
        let id = house.begin_anew(begin).await;
        assert!(house.end(id, WillFate::AfterDelay).await);
    }
    let zoe = Username::parse("zoe").unwrap();
    house.allow(4);
    let mut left = Vec::new();
    for client_id in ["a", "b", "c", "d"] {
        house.begin_anew(connect(client_id)).await;
        left.push(house.store.mqtt_sessions_of(&zoe).unwrap().len());
    }
    assert_eq!(left, [10, 7, 4, 4]);
    let refused = house.begin(connect("e")).await;
    assert_eq!(refused, BegunMqttSession::TooMany);
}

#[tokio::test]
async fn an_event_that_is_damaged_is_lost_for_no_session_with_others() {
    let house = House::new();
    let ids = [house.begin_anew(connect("1")).await, house.begin_anew(connect("2")).await];
    for id in ids {
        assert!(house.change(id, subscription("#")).await && house.end(id, WillFate::AfterDelay).await);
    }
    insert_many(&house, "a", 5).await;
    // The third is kept for another session, by a row that is damaged.
    for (kind, value) in [(b"K", &b"?"[..]), (b"C", &[0, 0, 0, 0, 0, 0, 0, 1])] {
        house.store.smuggle([&kind[..], b"\0\x04acme", &3_u64.to_be_bytes()].concat(), value);
    }
    house.maintained(0, |store| store.floor(&acme()).unwrap().get() >= 5).await;
    let replay = |id| {
        let mut replay = MqttReplay::new(id, acme(), Position::START, Position::new(2));
        let mut positions = Vec::new();
        let each = |event: crate::store::StoredEvent<'_>| {
            positions.push(event.position.get());
            1
        };
        replay.next(&house.store, 1000, each).unwrap();
        positions
    };
    assert_eq!(ids.map(replay), [[1, 2], [1, 2]]);
}

#[tokio::test]
async fn a_session_expires_and_makes_room_and_begins_anew_whatever_is_damaged_where_its_will_is_to_go() {
    let mut expired = None;
    let kept = |topic| will(topic, 3600).map(|will| KeptWill { retain: true, ..will });
    let house = House::after(|transaction| expired = Some(old(transaction, "expired", kept("w"), true, 60)));
    let expired = expired.unwrap();
    let other = house.begin_anew(BeginMqttSession { will: kept("w"), ..connect("other") }).await;
    house.end(other, WillFate::AfterDelay).await;
    house.store.smuggle(b"f\0\x04acme".to_vec(), b"?");
    house.maintained(1000, |store| store.mqtt_session(expired).unwrap().is_none()).await;
    let anew = house.begin_anew(BeginMqttSession { clean_start: true, will: kept("w"), ..connect("other") }).await;
    house.end(anew, WillFate::AfterDelay).await;
    house.allow(1);
    house.begin_anew(connect("third")).await;
    assert!([expired, other, anew].iter().all(|id| house.store.mqtt_session(*id).unwrap().is_none()));
    assert!(house.names().is_empty());
}
