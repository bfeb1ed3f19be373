//! Guards events that end with a connection.

use std::collections::BTreeMap;

use serde_json::json;

use crate::presence::{
    GRACE, LATE, after_the_grace, bind, bound, free, insert_by, left, machine_time, past_the_grace, removal, there,
    time,
};
use crate::support::{Event, Receipt, TestServer, again, in_time, within_the_grace};

#[tokio::test]
async fn an_insert_that_names_no_stream_of_its_user_is_404_and_inserts_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let (_own, own) = alice.open("/sse", None).await;
    let (_of_bob, of_bob) = bob.open("/sse", None).await;
    let (_of_mallory, of_mallory) = mallory.open("/sse", None).await;
    let array = json!([free("before"), bound("seat"), free("after")]);
    for body in [&bound("seat"), &array] {
        alice.insert_raw(body).await.refused(404, "stream_unknown");
        let longer = format!("{own}0");
        let malformed = ["", "x", "0", &own[1..], &longer, "zzzzzzzzzzzzzzzz", "-000000000000001"];
        for bad in malformed.into_iter().chain(["0123456789abcdef", &of_bob, &of_mallory]) {
            insert_by(&alice, bad, body).await.refused(404, "stream_unknown");
        }
    }
    for bad in [json!("true"), json!(1), json!([true])] {
        let mut body = bound("seat");
        body["while_connected"] = bad;
        let answer = insert_by(&alice, &own, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(left(&alice, "*").await, [""; 0]);
    // Where nothing is to last as long as a stream, none need be named.
    alice.insert_raw(json!({ "event": "free", "data": 1, "while_connected": false })).await.ok();
    insert_by(&alice, &of_bob, free("free")).await.ok();
    insert_by(&alice, &own, &array).await.ok();
    assert_eq!(left(&alice, "*").await, ["after", "before", "free", "seat"]);
}

#[tokio::test]
async fn events_bound_to_a_stream_go_5_seconds_after_its_end() {
    in_time("an insert within the grace", bound_events_go).await;
}

/// Nothing where the stream could not be named in time.
async fn bound_events_go() -> Option<()> {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut reading = bob.stream_of("/sse?events=seat/*", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    bind(&alice, &leaving_id, &["seat/leaving"]).await;
    bind(&alice, &staying_id, &["seat/staying"]).await;
    alice.insert("seat/free", json!(1)).await;
    let closed = time(&alice).await;
    drop(leaving);
    let late = within_the_grace(async {
        there(&alice, &[("alice", 1), ("bob", 1)]).await;
        insert_by(&alice, &leaving_id, bound("seat/late")).await
    });
    // It can still be named, for as long as it may be taken over.
    late.await?.ok();
    reading.take(4).await;
    let mut came = reading.take(2).await;
    came.sort_by(|one, other| one.name.cmp(&other.name));
    for (name, came) in ["seat/late", "seat/leaving"].into_iter().zip(came) {
        let removal = removal(&bob, name).await;
        after_the_grace(closed, removal.timestamp);
        // As if she had removed it.
        assert_eq!((removal.event.as_str(), removal.username.as_str()), (name, "alice"));
        assert_eq!(came, Event { name: removal.event, id: removal.id, data: "null".to_owned() });
        assert_eq!(bob.history(&format!("event={name}")).await.events.len(), 2);
    }
    assert_eq!(left(&bob, "seat/*").await, ["seat/free", "seat/staying"]);
    // There is no such stream any more.
    insert_by(&alice, &leaving_id, bound("seat/x")).await.refused(404, "stream_unknown");
    let (_new, new_id) = alice.open("/sse", Some(&leaving_id)).await;
    assert_ne!(new_id, leaving_id);
    bind(&alice, &staying_id, &["seat/staying"]).await;
    Some(())
}

#[tokio::test]
async fn events_bound_to_a_stream_that_is_taken_over_stay() {
    in_time("streams to be taken over", those_of_streams_taken_over_stay).await;
}

/// Nothing where they could not be taken over in time.
async fn those_of_streams_taken_over_stay() -> Option<()> {
    let server = TestServer::start().await;
    let (mut users, mut streams, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["alice", "bob", "carol", "dave"] {
        let user = server.user(name, "acme").await;
        let (stream, id) = user.open("/sse", None).await;
        bind(&user, &id, &[&format!("seat/{name}")]).await;
        users.push(user);
        streams.push(stream);
        ids.push(id);
    }
    let [alice, bob, carol, dave] = &users[..] else { unreachable!() };
    let closed = time(dave).await;
    drop(streams);
    let back = within_the_grace(async {
        there(dave, &[("alice", 0), ("bob", 0), ("carol", 0), ("dave", 0)]).await;
        [
            alice.open("/sse", Some(&ids[0])).await,
            bob.open(&format!("/sse?stream={}", ids[1]), None).await,
            carol.open("/sse?events=news", None).await,
        ]
    });
    let back = back.await?;
    for ((_, id), before) in back.iter().zip(&ids) {
        assert_eq!(id, before);
    }
    // A client that stays away shows that the grace is over.
    after_the_grace(closed, removal(dave, "seat/dave").await.timestamp);
    past_the_grace(dave).await;
    assert_eq!(left(dave, "seat/*").await, ["seat/alice", "seat/bob", "seat/carol"]);
    there(dave, &[("alice", 1), ("bob", 1), ("carol", 1)]).await;
    bind(alice, &ids[0], &["seat/again"]).await;
    Some(())
}

/// Ends the server while streams are open, and starts it anew; nothing where its clients did not come back in time.
async fn the_grace_begins_with_the_start(kill: bool) -> Option<()> {
    // So short a journal that it is moved into the database on the way.
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let (mut users, mut streams, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["alice", "bob", "carol", "dave"] {
        let user = server.user(name, "acme").await;
        let (stream, id) = user.open("/sse?events=none", None).await;
        bind(&user, &id, &[&format!("seat/{name}")]).await;
        users.push(user);
        streams.push(stream);
        ids.push(id);
    }
    bind(&users[0], &ids[0], &["seat/taken"]).await;
    for _ in 0..20 {
        users[0].insert("filler", json!("x".repeat(10_000))).await;
    }
    bind(&users[0], &ids[0], &["seat/late"]).await;
    users[1].insert("seat/taken", json!(1)).await;

    let mut from = machine_time();
    if kill {
        server.kill();
        from = machine_time();
    } else {
        server.signal("TERM");
        assert!(server.ended().await.success());
    }
    let started_again = within_the_grace(async {
        let server = server.restart().await;
        let started = machine_time();
        // The tokens are as good as before.
        let [alice, bob, carol, dave] = [0, 1, 2, 3].map(|number| again(&server, &users[number]));
        let back = [
            bob.open("/sse", Some(&ids[1])).await,
            carol.open(&format!("/sse?stream={}", ids[2]), None).await,
            dave.open("/sse", None).await,
        ];
        let there = left(&bob, "seat/*").await;
        (server, started, [alice, bob, dave], back, there)
    });
    let (_server, started, [alice, bob, dave], back, there) = started_again.await?;
    for ((_, id), before) in back.iter().zip(&ids[1..]) {
        assert_eq!(id, before);
    }
    let all = ["seat/alice", "seat/bob", "seat/carol", "seat/dave", "seat/late", "seat/taken"];
    assert_eq!(there, all);
    // Alice does not come back.
    for name in ["seat/alice", "seat/late"] {
        let removal = removal(&bob, name).await;
        let due = from + GRACE..=started + GRACE + LATE;
        assert!(due.contains(&removal.timestamp), "{removal:?} {due:?}");
        assert_eq!(removal.username, "alice");
    }
    insert_by(&alice, &ids[0], bound("seat/x")).await.refused(404, "stream_unknown");
    // Whatever goes, goes together.
    assert_eq!(left(&bob, "seat/*").await, ["seat/bob", "seat/carol", "seat/dave", "seat/taken"]);
    bind(&dave, &ids[3], &["seat/again"]).await;
    Some(())
}

#[tokio::test]
async fn after_a_kill_the_grace_begins_with_the_start() {
    in_time("streams to be taken over", async || the_grace_begins_with_the_start(true).await).await;
}

#[tokio::test]
async fn after_a_stop_a_client_that_reconnects_in_time_keeps_its_bound_events() {
    in_time("streams to be taken over", async || the_grace_begins_with_the_start(false).await).await;
}

#[tokio::test]
async fn a_later_insert_under_the_name_stays() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let (_of_bob, of_bob) = bob.open("/sse", None).await;
    alice.insert("x/bound_later", json!(1)).await;
    let all = [
        "x/first",
        "x/bound_later",
        "x/free",
        "x/of_bob",
        "x/of_bobs_stream",
        "x/of_other_stream",
        "x/removed",
        "x/back",
        "x/late",
        "x/last",
    ];
    bind(&alice, &leaving_id, &all).await;
    alice.insert("x/free", json!(1)).await;
    bob.insert("x/of_bob", json!(1)).await;
    bind(&bob, &of_bob, &["x/of_bobs_stream"]).await;
    bind(&alice, &staying_id, &["x/of_other_stream"]).await;
    alice.remove("x/removed").await;
    bob.remove("x/back").await;
    bob.insert("x/back", json!(1)).await;
    let closed = time(&alice).await;
    drop(leaving);
    there(&alice, &[("alice", 1), ("bob", 1)]).await;
    // Within the grace as well.
    alice.insert("x/late", json!(1)).await;
    // Whatever goes, goes together: the first, the last, and one that lasted before.
    for name in ["x/first", "x/last", "x/bound_later"] {
        after_the_grace(closed, removal(&bob, name).await.timestamp);
    }
    let stayed = ["x/back", "x/free", "x/late", "x/of_bob", "x/of_bobs_stream", "x/of_other_stream"];
    assert_eq!(left(&bob, "x/*").await, stayed);
    assert_eq!(bob.history("event=x/removed").await.events.len(), 2, "it was removed once");
}

#[tokio::test]
async fn each_element_of_an_array_lasts_for_itself() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (leaving, id) = alice.open("/sse", None).await;
    let array = json!([
        bound("x/1"),
        free("x/2"),
        bound("x/3"),
        free("x/bound_last"),
        bound("x/bound_last"),
        bound("x/free_last"),
        free("x/free_last"),
    ]);
    let given: Vec<Receipt> = insert_by(&alice, &id, array).await.read();
    assert!(given.len() == 7 && given.is_sorted_by(|one, other| one.id < other.id), "{given:?}");
    let closed = time(&alice).await;
    drop(leaving);
    for (name, count) in [("x/1", 2), ("x/3", 2), ("x/bound_last", 3)] {
        after_the_grace(closed, removal(&alice, name).await.timestamp);
        assert_eq!(alice.history(&format!("event={name}")).await.events.len(), count, "{name}");
    }
    assert_eq!(left(&alice, "x/*").await, ["x/2", "x/free_last"]);
}

#[tokio::test]
async fn an_event_that_expires_and_is_bound_goes_with_whichever_comes_first() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let mut given = BTreeMap::new();
    for (name, stream, seconds) in [
        ("x/open", &staying_id, 1),
        ("x/lasting", &staying_id, 1000),
        ("x/expires_first", &leaving_id, 2),
        ("x/leaves_first", &leaving_id, 1000),
    ] {
        let mut body = bound(name);
        body["expires_in"] = json!(seconds);
        given.insert(name, insert_by(&alice, stream, body).await.read::<Receipt>().timestamp);
    }
    let closed = time(&alice).await;
    drop(leaving);
    let before_it_leaves = closed + GRACE - given["x/expires_first"];
    for (name, due) in [("x/open", 1000..=6000), ("x/expires_first", 2000..=before_it_leaves)] {
        let lived = removal(&alice, name).await.timestamp - given[name];
        assert!(due.contains(&lived), "{name} lived for {lived} ms");
    }
    after_the_grace(closed, removal(&alice, "x/leaves_first").await.timestamp);
    assert_eq!(left(&alice, "x/*").await, ["x/lasting"]);
    for name in ["x/open", "x/expires_first", "x/leaves_first"] {
        assert_eq!(alice.history(&format!("event={name}")).await.events.len(), 2, "{name} was removed once");
    }
}
