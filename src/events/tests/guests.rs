//! Guards guests, who have no account: what their token permits is all that they see and insert, and it ends with the token.

use super::*;
use crate::domain::{AuthContext, Guest, GuestInsert, GuestRights, Pattern, Patterns};
use crate::error::Error;
use crate::writer::{self, Writer};

fn patterns(names: &[&str]) -> Patterns {
    Patterns::new(names.iter().map(|name| Pattern::parse(name).unwrap()).collect())
}

/// A guest of the tenant t who may see and insert these.
fn guest(names: &[&str], expires_at: Option<Timestamp>) -> Guest {
    let rights = GuestRights { see: patterns(names), insert: GuestInsert::Of(patterns(names)) };
    Guest::new(("test", "u"), tenant("t"), rights, expires_at)
}

/// Opens a stream of a guest on a house whose users see everything of their tenant.
fn open(house: &House, guest: &Guest, filter: &str) -> Rc<Line> {
    house.open_with(0, "u", filter, usize::MAX, |request| {
        let user_streams = house.hub.registry().user_streams(guest.username());
        request.changes = user_streams.changes();
        let lease = Lease { expires_at: guest.expires_at(), ..Lease::default() };
        request.presence_guard =
            user_streams.arrive_by(lease, &tenant("t"), GoesOnFor::None, Timestamp::from_millis(1));
        let (rights, own) = guest.account().scopes.to_see(Authorize::Open, guest.username());
        request.view = View { filter: EventFilter::parse(filter).unwrap(), rights, own };
    })
}

#[test]
fn a_guest_is_given_what_is_permitted_and_what_more_is_permitted_later() {
    run(async {
        let mut house = House::holding(&["a", "b", "@u/x"]);
        let line = open(&house, &guest(&["a", "@u/*", "@test:u/*"], None), "*");
        settle(|| !line.came().is_empty()).await;
        house.insert(&["b", "@u/x", "a"], &[]);
        settle(|| line.came().len() == 2).await;

        // Users' streams are not ended with those of a guest called like them, and the other way round.
        let of_user = house.open(0, "u", "a", 0, usize::MAX);
        let more = guest(&["a", "b"], None);
        let rights = more.account().scopes.to_see(Authorize::Open, more.username());
        let id = house.hub.registry().only(more.username());
        house.hub.change_filter(more.username(), id, replace("*"), Some(rights)).unwrap().await.unwrap();
        let given = |name: &str| line.names().iter().filter(|given| *given == name).count();
        settle(|| given("b") == 1).await;
        house.insert(&["b"], &["u"]);
        settle(|| of_user.is_finished() && given("b") == 2).await;
        assert!(!line.is_finished() && line.names().iter().all(|name| ["a", "b"].contains(&name.as_str())));
        let by_user = house.hub.change_filter(&Username::parse("u").unwrap(), id, replace("*"), None);
        assert_eq!(by_user.err(), Some(Error::StreamUnknown));
    });
}

#[test]
fn a_stream_without_backfill_is_given_what_comes_after_a_change_and_nothing_before() {
    run(async {
        let mut house = House::holding(&["a", "b"]);
        let line = house.open_with(0, "u", "a", usize::MAX, |request| {
            request.start = Start::now(house.hub.store().head(), None);
            request.options.backfill = false;
        });
        let username = Username::parse("u").unwrap();
        let id = house.hub.registry().only(&username);
        house.hub.change_filter(&username, id, replace("a,b"), None).unwrap().await.unwrap();
        house.insert(&["b", "a"], &[]);
        settle(|| line.came().len() == 2).await;
        assert_eq!(line.positions(), [3, 4]);
    });
}

#[test]
fn the_stream_of_a_guest_ends_when_the_token_does() {
    run(async {
        let house = House::holding(&["a"]);
        let line = open(&house, &guest(&["a"], Some(Clock::from_local().now() + Duration::from_millis(300))), "*");
        settle(|| line.came().len() == 1).await;
        settle(|| line.is_finished()).await;
        settle(|| house.hub.registry().is_gone(&Username::of_guest("test", "u"))).await;
    });
}

/// An insert by a guest.
fn insert(guest: &Guest, name: &str) -> Insert {
    let (name, data) = (EventName::parse(name).unwrap(), Payload::null());
    Insert {
        username: guest.username().clone(),
        auth_context: AuthContext::Guest(guest.clone()),
        events: vec![NewEvent::new(name, data, Lifetime::default(), 1000).unwrap()],
        is_array: false,
        condition: Condition::None,
        key: None,
        stream: None,
        packet: None,
    }
}

#[tokio::test]
async fn a_guest_inserts_what_is_permitted_until_the_token_ends_and_is_named_by_it_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    transaction.put_user(&user("bob", &[]));
    drop(transaction.commit().unwrap().reveal());
    let clock = Clock::from_local();
    let (writer, failure) =
        Writer::start(committer, clock.clone(), writer::Rules::example(), |committed| drop(committed.reveal()))
            .unwrap();
    let permitted = guest(&["a", "@*"], Some(clock.now() + Duration::from_secs(3600)));
    let first = writer.submit(insert(&permitted, "a")).await.unwrap().first;
    for (refused, name) in [(&permitted, "b"), (&permitted, "@bob/x"), (&permitted, "@test:u/x")] {
        let scope = format!("{name}:post");
        assert_eq!(writer.submit(insert(refused, name)).await, Err(Error::MissingScope(scope)));
    }
    assert_eq!(writer.submit(insert(&guest(&["a"], Some(clock.now())), "a")).await, Err(Error::Unauthorized));
    // Neither is a user one of these, nor are they a user: a guest's context is no sign-in of anybody.
    let taken = Insert { username: Username::parse("bob").unwrap(), ..insert(&permitted, "a") };
    assert_eq!(writer.submit(taken).await, Err(Error::Unauthorized));

    writer.stop().await;
    failure.ended().await;
    drop((store, writer));
    let (_store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
    let event = transaction.event(&tenant("t"), first).unwrap().unwrap();
    assert_eq!(event.username.as_str(), "test:u");
}
