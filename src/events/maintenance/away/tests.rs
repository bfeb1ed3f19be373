//! Guards that sessions whose clients are away are asked as if each were read again, as long as they are away, and within some memory.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    EventName, KeptSubscription, MqttAsk, MqttProgress, MqttSession, MqttSessionHead, MqttSessionKey, OutgoingEvent,
    Payload, PublisherId, Qos, Timestamp, Username,
};
use crate::store::{Draft, Store};

fn acme() -> TenantName {
    TenantName::parse("acme").unwrap()
}

/// Events with these names, from position 1 on.
fn events(names: &[&str]) -> Vec<LeavingEvent> {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    for name in names {
        let (user, name) = (Username::parse("u").unwrap(), EventName::parse(name).unwrap());
        transaction.insert_event(Draft::value(acme(), user, name, Payload::null())).unwrap();
    }
    drop(transaction.commit().unwrap().reveal());
    store.leaving(&acme(), (1..=names.len() as u64).map(Position::new).collect()).unwrap()
}

fn needs(filters: &[&str], since: u64, waiting: &[u64]) -> MqttNeeds {
    let subscription = |filter: &&str| KeptSubscription {
        filter: (*filter).into(),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
        since: Position::new(since),
        asked: MqttAsk::default(),
    };
    let waiting = waiting.iter().map(|at| OutgoingEvent { position: Position::new(*at), is_from_before: false });
    let key = MqttSessionKey { username: Username::parse("u").unwrap(), client_id: "x".into() };
    let began = (Timestamp::from_millis(1), Position::START);
    MqttNeeds::from(&MqttSession {
        head: MqttSessionHead { key, tenant: acme(), publisher: PublisherId(1), expiry: 1, began, ended_at: None },
        subscriptions: filters.iter().map(subscription).collect(),
        progress: MqttProgress { waiting: waiting.collect(), ..MqttProgress::default() },
        unreleased: BTreeSet::new(),
        will: None,
    })
}

fn away(id: u64, absence: u64) -> Behind {
    Behind { id: MqttSessionId(id), absence: NonZeroU64::new(absence) }
}

const FILTERS: [&str; 12] = ["#", "+", "+/b", "a", "a/#", "a/b", "a/+", "a/+/c", "b/#", "b", "/", "+/+/#"];
const NAMES: [&str; 9] = ["a", "b", "a/b", "a/b/c", "b/b", "/", "c", "c/", "a+b"];

proptest! {
    #[test]
    fn the_same_is_found_as_by_asking_each_session_of_each_event(
        sessions in prop::collection::vec((prop::sample::subsequence(&FILTERS[..], 0..4), 0..9_u64, prop::collection::vec(1..20_u64, 0..3)), 0..8),
        names in prop::collection::vec(prop::sample::select(&NAMES[..]), 1..20),
        gone in 0..8_u64,
        about in 1..10_usize,
    ) {
        let (events, mut known) = (events(&names), Away::default());
        let mut expected = BTreeMap::new();
        for ((filters, since, waiting), id) in sessions.iter().zip(0..) {
            known.learn(&acme(), away(id, 7), needs(filters, *since, waiting));
            let needs = needs(filters, *since, waiting);
            let positions: Vec<_> = events.iter().filter(|event| needs.needs(event)).map(LeavingEvent::position).collect();
            if !positions.is_empty() && id != gone {
                expected.insert(MqttSessionId(id), positions);
            }
        }
        let behind: Vec<_> = (0..sessions.len() as u64).map(|id| away(id, if id == gone { 8 } else { 7 })).collect();
        prop_assert_eq!(known.unknown(&acme(), &behind).len(), usize::from(gone < sessions.len() as u64));
        let (mut found, mut rest) = (BTreeMap::<_, Vec<_>>::new(), &events[..]);
        while !rest.is_empty() {
            let (some, left) = known.needed(&acme(), rest, about);
            some.into_iter().for_each(|(id, positions)| found.entry(id).or_default().extend(positions));
            rest = left;
        }
        prop_assert_eq!(&found, &expected);
        // The same without remembering them.
        let all: Vec<_> = sessions.iter().zip(0..).map(|((filters, since, waiting), id)| (away(id, 7), needs(filters, *since, waiting))).collect();
        let all = needed_by(&all, &events);
        prop_assert_eq!(all.into_iter().filter(|(id, _)| id.0 != gone).collect::<BTreeMap<_, _>>(), expected);
        known.unknown(&acme(), &[]);
        prop_assert!(known.bytes == 0 && known.of_tenants.is_empty());
    }
}

#[test]
fn a_session_is_asked_anew_after_each_absence_and_while_it_is_connected_and_of_very_many_some_are_read() {
    let mut known = Away { max_bytes: 1000, ..Away::default() };
    let connected = Behind { absence: None, ..away(1, 1) };
    assert_eq!(known.unknown(&acme(), &[away(1, 1)]), [away(1, 1)]);
    known.learn(&acme(), away(1, 1), needs(&["a"], 0, &[]));
    assert_eq!(known.unknown(&acme(), &[away(1, 1)]), []);
    for changed in [away(1, 2), connected] {
        known.learn(&acme(), away(1, 1), needs(&["a"], 0, &[]));
        assert_eq!((known.unknown(&acme(), &[changed]), known.bytes), (vec![changed], 0));
    }
    known.learn(&acme(), connected, needs(&["a"], 0, &[]));
    assert_eq!(known.unknown(&acme(), &[connected]), [connected]);
    for id in 1..100 {
        known.learn(&acme(), away(id, 1), needs(&["a"], 0, &[]));
    }
    let behind: Vec<_> = (1..100).map(|id| away(id, 1)).collect();
    let unknown = known.unknown(&acme(), &behind).len();
    assert!((90..99).contains(&unknown) && known.bytes <= 1000, "{unknown}");
}

#[test]
fn however_many_sessions_have_filters_with_the_same_levels_an_event_is_compared_with_those_that_it_matches() {
    let mut sessions = Sessions::default();
    for id in 0..1000 {
        let filters = [format!("devices/{id}/#"), format!("+/{id}/state"), "a/b/+".to_owned(), "a/+/c".to_owned()];
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        sessions.add(MqttSessionId(id), NonZeroU64::MIN, needs(&filters, 0, &[]));
    }
    let events = events(&["devices/7/x", "devices/7/state", "devices/state", "a/a/a", "a/b/c"]);
    let compared: Vec<_> = events.iter().map(|event| sessions.that_may_need(event).count()).collect();
    assert_eq!(compared, [1, 2, 0, 0, 2000]);
}

#[test]
fn a_step_ends_also_if_the_sessions_that_were_looked_at_need_nothing() {
    let mut known = Away::default();
    for id in 0..100 {
        known.learn(&acme(), away(id, 1), needs(&["#"], 9, &[]));
    }
    let events = events(&["a", "b", "c", "d"]);
    let (needed, rest) = known.needed(&acme(), &events, 150);
    assert!(needed.is_empty());
    assert_eq!(rest.len(), 2);
}
