//! Guards events that are published over MQTT: every stream is told what was published and when it expires, live and from the
//! store, and a retained message with an empty payload clears its name.

use std::ops::Range;
use std::sync::{Arc, mpsc};

use super::*;
use crate::config::Limits;
use crate::domain::{AuthContext, Event, EventKind, Payload, PayloadForm, Published, SignIn};
use crate::error::Error;
use crate::writer::{self, Writer};

/// Writes lines with everything that a format of MQTT needs in the place of the data.
struct Whole;

/// What stands there.
fn line(event: &EventParts<'_>) -> String {
    let payload = event.published.map(|published| published.form.payload_bytes(event.data).into_owned());
    format!("{payload:?} {:?} {:?} {:?} {:?}", event.kind, event.expires_at, event.by_expiry, event.published)
}

impl Format for Whole {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "whole", framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "test"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        Lines.event(&EventParts { data: &line(event), ..*event }, buffer);
        None
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        Lines.control(control, id, buffer);
    }

    fn heartbeat(&self) -> &'static [u8] {
        Lines.heartbeat()
    }
}

/// What is published over MQTT, and its data.
fn message(payload: &[u8]) -> (Payload, Published) {
    let (data, form) = PayloadForm::read(payload);
    (data, Published { form, ..Published::example() })
}

impl House {
    /// Opens a stream that is told everything.
    fn open_whole(&self, worker: usize, start: Start) -> Rc<Line> {
        let line = Rc::new(Line::default());
        line.room.set(usize::MAX);
        let request = self.request("u", "*", |request| request.start = start);
        tokio::task::spawn_local(self.workers[worker].open(request, LineSink(Rc::clone(&line), &Whole), Bytes::new()));
        line
    }
}

#[test]
fn streams_are_told_what_was_published_and_when_it_expires_live_and_after_it() {
    run(async {
        let mut house = House::holding(&["first"]);
        let live = house.open_whole(0, Start::snapshot(None));
        settle(|| live.positions() == [1]).await;
        let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
        let mut insert = |name: &str, payload: Option<&[u8]>, kind: EventKind, by_expiry: bool| {
            let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
            let (data, published) = payload.map_or((Payload::null(), None), |payload| {
                let (data, published) = message(payload);
                (data, Some(Arc::new(published)))
            });
            let expires_at = payload.map(|_| Timestamp::from_millis(u64::MAX - 1));
            let draft = Draft { kind, expires_at, by_expiry, published, ..Draft::value(tenant("t"), user, name, data) };
            transaction.insert_event(draft).unwrap()
        };
        let events = [
            insert("a", Some(b" [1]"), EventKind::Value, false),
            insert("b", Some(b"\xff"), EventKind::Transient, false),
            insert("a", None, EventKind::Removal, true),
            insert("a", Some(b"text"), EventKind::Value, false),
        ];
        let committed = transaction.commit().unwrap();
        house.hub.publish(committed);
        let expected =
            events.iter().map(|event| line(&EventParts::of(event, house.hub.store().event_id(event.position))));
        let expected: Vec<_> = expected.collect();
        settle(|| live.positions() == [1, 2, 3, 4, 5]).await;
        let data = |line: &Line| line.came().into_iter().map(|came| came.data).collect::<Vec<_>>();
        assert_eq!(data(&live)[1..], expected);
        assert!(expected[0].starts_with("Some([32, 91, 49, 93]) Value Some"), "{}", expected[0]);
        for is_in_memory in [true, false] {
            if !is_in_memory {
                // As on a server that has just started.
                let rules = Rules { authorize: Authorize::Open, streams_per_user: usize::MAX };
                house.hub = Hub::new(house.hub.store().clone(), rules);
                house.workers = [(); 2].map(|()| WorkerHandle::start(house.hub.clone(), Clock::from_local()));
            }
            let resumed = house.open_whole(0, Start::after(Position::new(1), house.hub.store().head()));
            let new = house.open_whole(1, Start::snapshot(None));
            settle(|| resumed.positions() == [2, 3, 4, 5] && new.positions() == [1, 5]).await;
            assert_eq!((data(&resumed), &data(&new)[1..]), (expected.clone(), &expected[3..]));
        }
    });
}

/// A writer, and what it has committed.
fn writing(user: &User) -> (tempfile::TempDir, Writer, mpsc::Receiver<Event>) {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    transaction.put_user(user);
    drop(transaction.commit().unwrap().reveal());
    let (publish, published) = mpsc::channel();
    let publish = move |committed: Durable| {
        committed.reveal().into_iter().for_each(|event| publish.send(event).unwrap());
    };
    let (rules, allowed) = (writer::Rules::example(), writer::Rules::permissive());
    rules.set(writer::Rules { limits: Limits { max_names: 1, ..allowed.limits.clone() }, ..allowed });
    let (writer, _failure) = Writer::start(committer, Clock::from_local(), rules, publish).unwrap();
    (directory, writer, published)
}

fn insert(user: &User, events: Vec<NewEvent>) -> Insert {
    let sign_in = SignIn { generation: user.generation, by_password_alone: false, session: None };
    Insert {
        username: user.username.clone(),
        auth_context: AuthContext::User(sign_in),
        events,
        is_array: false,
        condition: Condition::None,
        key: None,
        stream: None,
        packet: None,
    }
}

/// A message to a topic, as it is inserted.
fn publish(name: &str, payload: &[u8], transient: bool) -> Result<NewEvent, Error> {
    let lifetime = Lifetime { expires_in: Some(60), transient, ..Lifetime::default() };
    let (data, published) = message(payload);
    NewEvent::published(EventName::parse(name).unwrap(), data, published, lifetime, 1000)
}

#[tokio::test]
async fn a_retained_message_with_an_empty_payload_removes_a_value_and_is_transient_if_there_is_none() {
    let user = User::example();
    let (_directory, writer, committed) = writing(&user);
    let retained = |payload: &[u8]| publish("a", payload, false).unwrap();
    let done = async |events| writer.submit(insert(&user, events)).await.map(|inserted| inserted.count);
    // There is no quota for a name without a value.
    let all = vec![retained(b""), retained(b"1"), retained(b""), retained(b""), publish("a", b"", true).unwrap()];
    assert_eq!(done(all).await, Ok(5));
    assert_eq!(done(vec![retained(b"2")]).await, Ok(1));
    assert_eq!(done(vec![retained(b"")]).await, Ok(1));
    use EventKind::{Removal, Transient, Value};
    let expected = [
        (Transient, "\"\""),
        (Value, "1"),
        (Removal, "null"),
        (Transient, "\"\""),
        (Transient, "\"\""),
        (Value, "2"),
        (Removal, "null"),
    ];
    let came: Vec<Event> = committed.try_iter().collect();
    assert_eq!(came.iter().map(|event| (event.kind, event.data.as_str())).collect::<Vec<_>>(), expected);
    for event in came {
        let published = event.published.unwrap();
        assert_eq!((published.qos, published.publisher), (Published::example().qos, Published::example().publisher));
        assert_eq!(published.properties, Published::example().properties);
        let payload = published.form.payload_bytes(event.data.as_str());
        assert_eq!(payload.is_empty(), event.kind != Value);
        assert_eq!(event.expires_at.is_none(), event.kind == Removal);
        assert!(!event.by_expiry);
    }
    // Others are told that there is nothing to remove.
    let removal = NewEvent::removal(EventName::parse("a").unwrap()).unwrap();
    assert!(matches!(done(vec![removal]).await, Err(Error::EventUnknown)));
    // Nobody would see it: there is no such user.
    let to_nobody = publish("@nobody/x", b"", false).unwrap();
    assert!(matches!(done(vec![to_nobody]).await, Err(Error::InboxUnknown)));
}

#[test]
fn topic_payload_and_properties_count_towards_the_size_of_a_message_whatever_data_it_becomes() {
    let of = |payload: &[u8], max_bytes| {
        let (data, published) = message(payload);
        let name = EventName::parse("name").unwrap();
        NewEvent::published(name, data, published, Lifetime::default(), max_bytes)
    };
    let properties = Published::example().properties.bytes();
    for payload in [&b"[1]"[..], b" [1]", b"on", b"\n\"\0", b"", b"\xff"] {
        let bytes = "name".len() + payload.len() + properties;
        assert!(of(payload, bytes).is_ok());
        assert!(matches!(of(payload, bytes - 1), Err(Error::EventTooLarge(max)) if max == bytes - 1), "{payload:?}");
    }
    // As it is kept, no event has more than any may have.
    let most = 1 << 20;
    for (byte, fits) in [(b'x', most - 1000), (0, most / 6 - 1000), (0xFF, most / 4 * 3 - 1000)] {
        assert!(of(&vec![byte; fits], most).is_ok(), "{byte}");
    }
    for (byte, is_more) in [(0, most / 6), (0xFF, most / 4 * 3)] {
        assert!(matches!(of(&vec![byte; is_more], most), Err(Error::EventTooLarge(_))), "{byte}");
    }
    // What clears a name may be a removal, and those are small.
    let with = |correlation_data, payload: &[u8]| {
        let (data, mut published) = message(payload);
        published.properties.correlation_data = Some(vec![0; correlation_data]);
        NewEvent::published(EventName::parse("n").unwrap(), data, published, Lifetime::default(), 1 << 20)
    };
    assert!(with(200_000, b"1").is_ok() && with(100_000, b"").is_ok());
    assert!(matches!(with(102_400, b""), Err(Error::EventTooLarge(_))));
}
