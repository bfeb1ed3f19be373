//! Guards sessions of MQTT as the writer decides about them: who has one, what it is given once, and that its will comes once.

mod busy;
mod maintenance;
mod wills;

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::Live;
use crate::domain::{
    Authorize, EventId, EventName, Generation, GuestInsert, GuestRights, MqttAsk, OutgoingEvent, OutgoingState,
    Pattern, Patterns, Payload, Properties, Qos, SignIn, TenantName, Timestamp, User, Username,
};
use crate::events::hub::{Hub, Rules};
use crate::events::insert::Inserted;
use crate::events::maintenance::{Retention, keep_up};
use crate::store::{Committer, Store, Transaction};
use crate::writer::{self, Failure, Here, Writer};

/// A database with the user zoe, and a writer.
struct House {
    directory: tempfile::TempDir,
    store: Store,
    hub: Hub,
    writer: Writer,
    rules: Live<writer::Rules>,
    failure: Failure,
}

impl House {
    /// One in which something was committed in 1970.
    fn after(change: impl FnOnce(&mut Transaction<'_>)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        transaction.put_user(&User::example());
        change(&mut transaction);
        drop(transaction.commit().unwrap().reveal());
        Self::with(directory, store, committer)
    }

    fn new() -> Self {
        Self::after(|_| {})
    }

    fn with(directory: tempfile::TempDir, store: Store, committer: Committer) -> Self {
        let hub = Hub::new(store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
        hub.recall_streams(|_| false).unwrap();
        let publisher = hub.clone();
        let publish = move |committed| publisher.publish(committed);
        let rules = writer::Rules::example();
        let (writer, failure) = Writer::start(committer, Clock::from_local(), rules.clone(), publish).unwrap();
        Self { directory, store, hub, writer, rules, failure }
    }

    /// Lets each user have so many sessions that outlive their connections.
    fn allow(&self, mqtt_sessions: usize) {
        self.rules.set(writer::Rules { mqtt_sessions, ..writer::Rules::permissive() });
    }

    /// As after a kill: nothing is ended.
    async fn restart(self) -> Self {
        let Self { directory, store, hub, writer, failure, .. } = self;
        writer.stop().await;
        failure.ended().await;
        drop((store, hub, writer));
        // Maintenance that was aborted may still be reading.
        loop {
            match Store::open(directory.path(), 64 << 20) {
                Ok((store, committer)) => return Self::with(directory, store, committer),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn begin(&self, begin: BeginMqttSession) -> BegunMqttSession {
        self.writer.submit(begin).await.unwrap()
    }

    async fn begin_anew(&self, begin: BeginMqttSession) -> MqttSessionId {
        match self.begin(begin).await {
            BegunMqttSession::Anew(Some(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// The session that goes on, and the will that it had.
    async fn goes_on(&self, begin: BeginMqttSession) -> (MqttSessionId, Option<KeptWill>) {
        match self.begin(begin).await {
            BegunMqttSession::Present(id, before) => (id, before.will),
            other => panic!("{other:?}"),
        }
    }

    async fn change(&self, id: MqttSessionId, change: MqttSessionChange) -> bool {
        self.writer.submit(ChangeMqttSession { id, change }).await.unwrap()
    }

    async fn end(&self, id: MqttSessionId, will: WillFate) -> bool {
        self.change(id, MqttSessionChange::End(MqttProgress::at(self.store.head()), None, will)).await
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for position in 1..=self.store.head().get() {
            let give = |event: &crate::store::StoredEvent<'_>| names.push(event.name.to_owned());
            self.store.event_at(&acme(), Position::new(position), give).unwrap();
        }
        names
    }
}

fn acme() -> TenantName {
    TenantName::parse("acme").unwrap()
}

fn sign_in() -> SignIn {
    SignIn { generation: Generation(1), by_password_alone: false, session: None }
}

/// The user zoe connects, and has a session for an hour.
fn connect(client_id: &str) -> BeginMqttSession {
    BeginMqttSession {
        key: MqttSessionKey { username: Username::parse("zoe").unwrap(), client_id: client_id.into() },
        auth_context: AuthContext::User(sign_in()),
        clean_start: false,
        expiry: 3600,
        publisher: PublisherId(9),
        will: None,
        may_exceed: false,
    }
}

fn will(topic: &str, delay: u32) -> Option<KeptWill> {
    Some(KeptWill {
        topic: EventName::parse(topic).unwrap(),
        payload: b"{}"[..].into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        expires_in: None,
        delay,
        by: WillRight::SignIn(sign_in()),
    })
}

#[tokio::test]
async fn a_session_goes_on_for_its_own_client_alone_until_it_is_to_begin_anew() {
    let house = House::new();
    let id = house.begin_anew(connect("phone")).await;
    let subscription = KeptSubscription {
        filter: "a/#".into(),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
        since: Position::START,
        asked: MqttAsk::default(),
    };
    assert!(house.change(id, MqttSessionChange::Subscribe(vec![subscription.clone()])).await);
    assert!(house.end(id, WillFate::Discarded).await);
    let house = house.restart().await;
    assert_eq!(house.goes_on(connect("phone")).await, (id, None));
    let session = house.store.mqtt_session(id).unwrap().unwrap();
    assert_eq!((session.subscriptions, session.head.ended_at), (vec![subscription], None));
    // Also without an end, as after a kill; and another expiry counts.
    let house = house.restart().await;
    let begin = BeginMqttSession { expiry: 5, ..connect("phone") };
    assert_eq!(house.goes_on(begin).await, (id, None));
    assert_eq!(house.store.mqtt_session(id).unwrap().unwrap().head.expiry, 5);
    // Another client, and another user with the same client identifier.
    let other = house.begin_anew(connect("tablet")).await;
    let guest = guest(&["a"], None);
    let key = MqttSessionKey { username: guest.username().clone(), client_id: "phone".into() };
    let of_guest = BeginMqttSession { key, auth_context: AuthContext::Guest(guest), ..connect("phone") };
    assert_ne!(house.begin_anew(of_guest).await, id);
    let anew = house.begin_anew(BeginMqttSession { clean_start: true, ..connect("phone") }).await;
    assert!(anew != id && anew != other && house.store.mqtt_session(anew).unwrap().unwrap().subscriptions.is_empty());
    assert!(!house.change(id, MqttSessionChange::Save(MqttProgress::default())).await, "it was forgotten");
    // Nothing is written for one that needs nothing, and it ends the one that there was.
    let brief = BeginMqttSession { clean_start: true, expiry: 0, ..connect("phone") };
    assert_eq!(house.begin(brief).await, BegunMqttSession::Anew(None));
    assert_eq!(house.store.mqtt_session(anew), Ok(None));
    // Without an expiry one that goes on ends with its connection.
    let last = BeginMqttSession { expiry: 0, ..connect("tablet") };
    assert_eq!(house.goes_on(last).await, (other, None));
    assert!(house.end(other, WillFate::Discarded).await);
    assert_eq!(house.store.mqtt_session(other), Ok(None));
}

#[tokio::test]
async fn a_session_is_as_new_for_a_user_who_has_come_to_another_tenant_or_back() {
    let house = House::new();
    let id = house.begin_anew(connect("phone")).await;
    house.end(id, WillFate::Discarded).await;
    let (position, at) = insert(&house, "a").await;
    assert!(at > Timestamp::from_millis(1));
    struct Move(User);
    impl Change for Move {
        type Outcome = ();
        type Reach = Here;
        fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
            batch.put_user(&self.0);
            Ok(())
        }
    }
    house.writer.submit(Move(User { tenant_since: position, ..User::example() })).await.unwrap();
    let back = house.begin_anew(connect("phone")).await;
    assert_ne!(back, id);
    let other = User { tenant: TenantName::parse("other").unwrap(), tenant_since: position, ..User::example() };
    house.writer.submit(Move(other)).await.unwrap();
    let there = house.begin_anew(connect("phone")).await;
    assert_eq!(house.store.mqtt_session(there).unwrap().unwrap().head.tenant.as_str(), "other");
    // Nobody begins one without a right to.
    house.writer.submit(Move(User { revoked: true, ..User::example() })).await.unwrap();
    assert_eq!(house.writer.submit(connect("phone")).await, Err(Error::Unauthorized));
}

#[tokio::test]
async fn beyond_the_limit_the_session_that_ended_first_is_forgotten_and_without_one_a_new_one_is_refused() {
    let house = House::new();
    let (a, b) = (house.begin_anew(connect("a")).await, house.begin_anew(connect("b")).await);
    let c = house.begin_anew(BeginMqttSession { will: will("of/c", 60), ..connect("c") }).await;
    for id in [c, a] {
        house.end(id, WillFate::AfterDelay).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let d = house.begin_anew(connect("d")).await;
    let is_there = |id| house.store.mqtt_session(id).unwrap().is_some();
    assert_eq!([a, b, c].map(is_there), [true, true, false]);
    assert_eq!(house.names(), ["of/c"], "its will does not wait longer than the session");
    house.begin_anew(connect("e")).await;
    assert_eq!(house.begin(connect("f")).await, BegunMqttSession::TooMany);
    // One that ends with its connection does not count; nor does one that is there already.
    house.begin_anew(BeginMqttSession { expiry: 0, will: will("w", 0), ..connect("g") }).await;
    assert_eq!(house.goes_on(connect("b")).await, (b, None));
    // A lower limit takes as many as it must.
    house.end(b, WillFate::Discarded).await;
    house.allow(1);
    assert_eq!(house.begin(connect("f")).await, BegunMqttSession::TooMany);
    assert!(is_there(b));
    // Handlers are one user, and all of them may be connected.
    let of_handler = |client_id| BeginMqttSession { may_exceed: true, ..connect(client_id) };
    house.begin_anew(of_handler("f")).await;
    assert!(!is_there(b), "those that are away go");
    let h = house.begin_anew(of_handler("h")).await;
    assert!(is_there(h) && is_there(d));
}

#[test]
fn of_very_many_sessions_some_are_looked_at_and_all_have_their_turn() {
    let ids = |count| (0..count).map(MqttSessionId).collect::<Vec<_>>();
    assert_eq!(some_of(ids(3), 7), [MqttSessionId(1), MqttSessionId(2), MqttSessionId(0)]);
    assert_eq!(some_of(Vec::new(), 7), []);
    let looked_at: std::collections::BTreeSet<_> = (0..1000).flat_map(|number| some_of(ids(1000), number)).collect();
    assert_eq!((some_of(ids(1000), 3).len(), looked_at.len()), (256, 1000));
}

async fn insert(house: &House, name: &str) -> (Position, Timestamp) {
    let Inserted { first, timestamp, .. } = house.writer.submit(publish(name, None)).await.unwrap();
    (first, timestamp)
}

fn publish(name: &str, packet: Option<(MqttSessionId, NonZeroU16)>) -> Insert {
    Insert { packet, ..publish_data(name, Payload::null()) }
}

fn publish_data(name: &str, data: Payload) -> Insert {
    let lifetime = Lifetime { transient: true, ..Lifetime::default() };
    let event = NewEvent::new(EventName::parse(name).unwrap(), data, lifetime, MAX_EVENT_BYTES).unwrap();
    Insert {
        username: Username::parse("zoe").unwrap(),
        auth_context: AuthContext::User(sign_in()),
        events: vec![event],
        is_array: false,
        condition: Condition::None,
        key: None,
        stream: None,
        packet: None,
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_inserted_once_however_often_it_comes_until_it_is_released() {
    let house = House::new();
    let (id, seven) = (house.begin_anew(connect("phone")).await, NonZeroU16::new(7).unwrap());
    let packet = Some((id, seven));
    // Three at once, in one commit.
    let all = [(); 3].map(|()| house.writer.post(publish("a", packet)).unwrap());
    let all = futures_util::future::join_all(all).await;
    let is_replayed: Vec<_> = all.iter().map(|inserted| inserted.as_ref().unwrap().is_replayed).collect();
    assert_eq!(is_replayed, [false, true, true]);
    let house = house.restart().await;
    let again = house.writer.submit(publish("a", packet)).await.unwrap();
    assert_eq!(&Inserted { is_replayed: false, ..again }, all[0].as_ref().unwrap());
    assert_eq!(house.store.mqtt_session(id).unwrap().unwrap().unreleased, [seven].into());
    assert!(house.change(id, MqttSessionChange::ReleaseInbound(seven)).await);
    assert!(!house.change(id, MqttSessionChange::ReleaseInbound(seven)).await);
    assert!(!house.writer.submit(publish("b", packet)).await.unwrap().is_replayed);
    assert_eq!(house.names(), ["a", "b"]);
    // What is refused is not noted.
    let eight = NonZeroU16::new(8).unwrap();
    let refused = Insert {
        condition: Condition::IsAt(EventId::parse("0000000000000007000042").unwrap()),
        ..publish("c", Some((id, eight)))
    };
    assert!(house.writer.submit(refused).await.is_err());
    assert_eq!(house.store.mqtt_session(id).unwrap().unwrap().unreleased, [seven].into());
    // Nor is anything of a session that was forgotten: nothing of it is left then.
    assert!(house.change(id, MqttSessionChange::Forget).await);
    assert!(!house.writer.submit(publish("d", Some((id, eight)))).await.unwrap().is_replayed);
    assert!(!house.change(id, MqttSessionChange::ReleaseInbound(eight)).await);
}

#[tokio::test]
async fn messages_to_the_client_are_known_from_before_they_are_sent_until_they_are_done() {
    let house = House::new();
    let (id, one, two) = (house.begin_anew(connect("phone")).await, NonZeroU16::MIN, NonZeroU16::new(2).unwrap());
    let message = |id, position| Outgoing {
        id,
        event: OutgoingEvent { position: Position::new(position), is_from_before: false },
        state: OutgoingState::SentOnce,
    };
    let note = MqttSessionChange::NoteOutgoing(
        vec![message(one, 3), message(two, 4)],
        (Position::new(5), MqttAsked::default()),
    );
    assert!(house.change(id, note).await);
    assert!(house.change(id, MqttSessionChange::ReleaseOutgoing(vec![one])).await);
    assert!(house.change(id, MqttSessionChange::ForgetOutgoing(vec![two])).await);
    let progress = house.store.mqtt_session(id).unwrap().unwrap().progress;
    assert_eq!(progress.exact_position, Position::new(5));
    assert_eq!(progress.outgoing, [Outgoing { state: OutgoingState::Released, ..message(one, 3) }]);
}

#[tokio::test]
async fn what_is_on_its_way_when_a_session_is_saved_or_ends_is_known_though_its_own_note_was_refused() {
    let house = House::new();
    let id = house.begin_anew(connect("phone")).await;
    let message = |packet, position, state| Outgoing {
        id: NonZeroU16::new(packet).unwrap(),
        event: OutgoingEvent { position: Position::new(position), is_from_before: false },
        state,
    };
    let once = OutgoingState::SentOnce;
    let progress = |outgoing| MqttProgress { outgoing, ..MqttProgress::at(Position::new(9)) };
    let outgoing = || house.store.mqtt_session(id).unwrap().unwrap().progress.outgoing;
    let first = vec![message(1, 3, OutgoingState::Sent), message(2, 4, once)];
    assert!(house.change(id, MqttSessionChange::Save(progress(first.clone()))).await);
    assert_eq!(outgoing(), first);
    // One that is noted is as far as that says, and one that has an identifier from before is another one.
    let packets = [2, 3].map(|packet| NonZeroU16::new(packet).unwrap());
    let note = vec![message(3, 5, once), message(4, 6, once)];
    let exact = (Position::new(6), MqttAsked::default());
    assert!(house.change(id, MqttSessionChange::NoteOutgoing(note, exact)).await);
    assert!(house.change(id, MqttSessionChange::ReleaseOutgoing(packets.into())).await);
    let next = vec![message(3, 5, once), message(4, 7, once), message(5, 8, once)];
    assert!(house.change(id, MqttSessionChange::ForgetOutgoing(vec![packets[0]])).await);
    let end = MqttSessionChange::End(progress(next), None, WillFate::AfterDelay);
    assert!(house.change(id, end).await);
    let released = message(3, 5, OutgoingState::Released);
    assert_eq!(outgoing(), [released, message(4, 7, once), message(5, 8, once)]);
}

/// A guest who may insert these.
fn guest(names: &[&str], until: Option<Timestamp>) -> Guest {
    let patterns = Patterns::new(names.iter().map(|name| Pattern::parse(name).unwrap()).collect());
    let rights = GuestRights { see: Patterns::default(), insert: GuestInsert::Of(patterns) };
    Guest::new(("mqtt", "7"), acme(), rights, until)
}
