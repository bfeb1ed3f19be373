//! Guards `If-Match` and `If-None-Match`: an insert is only done if nobody else was faster.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Answer, Body, Event, Kept, Receipt, TestServer, User, after_kill, current, foreign, names, one, until,
};

async fn if_match(user: &User, id: &str, body: impl Body) -> Answer {
    user.insert_with(&[("if-match", id)], body).await
}

async fn if_none_match(user: &User, body: impl Body) -> Answer {
    user.insert_with(&[("if-none-match", "*")], body).await
}

#[tokio::test]
async fn if_match_lets_an_insert_through_while_that_is_the_latest_with_or_without_quotes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = alice.stream().await;
    let first = alice.insert("doc", json!(1)).await;
    let second: Receipt = if_match(&bob, &first, one("doc", 2)).await.read();
    // What happens to other names does not matter.
    alice.insert("other", json!(1)).await;
    let third: Receipt = if_match(&alice, &format!("\"{}\"", second.id), one("doc", 3)).await.read();
    let came: Vec<_> = stream.take(4).await.into_iter().filter(|event| event.name == "doc").collect();
    assert_eq!(
        came,
        [Event::new("doc", &first, "1"), Event::new("doc", &second.id, "2"), Event::new("doc", &third.id, "3")]
    );
}

#[tokio::test]
async fn an_insert_that_was_too_late_is_told_the_latest_event_and_has_changed_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = alice.stream().await;
    let first = alice.insert("doc", json!(1)).await;
    let second: Receipt = bob.insert_raw(r#"{"event":"doc","data":{"z": 1.0, "a": [ ]}}"#).await.read();
    let expected = Kept {
        event: "doc".to_owned(),
        data: r#"{"z":1.0,"a":[]}"#.to_owned(),
        id: second.id.clone(),
        timestamp: second.timestamp,
        username: "bob".to_owned(),
        removed: false,
        transient: false,
    };
    for id in [first.clone(), format!("\"{first}\"")] {
        assert_eq!(current(&if_match(&alice, &id, one("doc", 3)).await), Some(expected.clone()));
    }
    assert_eq!(current(&if_none_match(&alice, one("doc", 3)).await), Some(expected));
    let mark = alice.insert("mark", json!(null)).await;
    let ids: Vec<_> = stream.take(3).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, [first, second.id, mark]);
}

#[tokio::test]
async fn an_id_that_is_not_of_the_latest_of_this_name_does_not_match() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let theirs = mallory.insert("doc", json!("secret of other")).await;
    let other = alice.insert("other", json!(1)).await;
    let later = format!("{:022}", other.parse::<u128>().unwrap() + 1_000_000_000);
    // Where there is none of the name, whatever another tenant has.
    for id in [theirs.as_str(), &other, &later, &foreign(&other), "0000000000000000000000"] {
        assert_eq!(current(&if_match(&alice, id, one("doc", 1)).await), None, "{id}");
    }
    let doc = alice.insert("doc", json!(1)).await;
    for id in [&theirs, &other, &later, &foreign(&doc), &foreign(&other)] {
        let current = current(&if_match(&alice, id, one("doc", 2)).await);
        assert_eq!(current.map(|event| (event.id, event.data)), Some((doc.clone(), "1".to_owned())), "{id}");
    }
    if_match(&alice, &doc, one("doc", 2)).await.ok();
}

#[tokio::test]
async fn if_none_match_lets_only_the_first_of_a_name_through() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mallory = server.user("mallory", "other").await;
    mallory.insert("lock", json!("theirs")).await;
    let first: Receipt = if_none_match(&alice, one("lock", 1)).await.read();
    let there = current(&if_none_match(&alice, one("lock", 2)).await).unwrap();
    assert_eq!((there.id, there.timestamp, there.data.as_str()), (first.id, first.timestamp, "1"));
    // An event without a value is an event.
    if_none_match(&alice, one("empty", json!(null))).await.ok();
    let there = current(&if_none_match(&alice, one("empty", 1)).await).unwrap();
    assert_eq!(there.data, "null");
}

#[tokio::test]
async fn a_name_that_was_removed_is_new_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("doc", json!(1)).await;
    let removal: Receipt = alice.remove("doc").await.read();
    for id in [&first, &removal.id] {
        assert_eq!(current(&if_match(&alice, id, one("doc", 2)).await), None, "{id}");
    }
    let second: Receipt = if_none_match(&alice, one("doc", 2)).await.read();
    assert_eq!(current(&if_none_match(&alice, one("doc", 3)).await).unwrap().id, second.id);
    if_match(&alice, &second.id, one("doc", 3)).await.ok();
}

#[tokio::test]
async fn a_name_that_has_expired_is_new_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let lock = json!({ "event": "lock", "data": 1, "expires_in": 6 });
    let first: Receipt = if_none_match(&alice, &lock).await.read();
    assert_eq!(current(&if_none_match(&alice, &lock).await).unwrap().id, first.id);
    // A client that waits for a lock asks again and again.
    let second: Receipt = until("the lock to be free", async || {
        let answer = if_none_match(&alice, one("lock", 2)).await;
        if answer.status == 200 {
            return Some(answer.read());
        }
        current(&answer);
        None
    })
    .await;
    assert!(second.timestamp >= first.timestamp + 6000, "{first:?} {second:?}");
    assert_eq!(current(&if_match(&alice, &first.id, one("lock", 3)).await).unwrap().id, second.id);
}

#[tokio::test]
async fn of_50_inserts_at_once_with_if_none_match_one_is_the_first() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["lock/1", "lock/2", "lock/3"] {
        let answers = join_all((0..50).map(|number| if_none_match(&alice, one(name, number)))).await;
        assert_one_won(&alice, name, answers, 1).await;
    }
}

#[tokio::test]
async fn of_50_inserts_at_once_with_the_same_if_match_one_is_the_next() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["doc/1", "doc/2", "doc/3"] {
        let seen = alice.insert(name, json!("seen")).await;
        let answers = join_all((0..50).map(|number| if_match(&alice, &seen, one(name, number)))).await;
        assert_one_won(&alice, name, answers, 2).await;
    }
}

/// That one was let through and all others were told which; and how many events of the name there are then.
async fn assert_one_won(user: &User, name: &str, answers: Vec<Answer>, events: usize) {
    let (mut won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1, "{name}: {won:?}");
    let won: Receipt = won.remove(0).read();
    for answer in lost {
        let there = current(&answer).unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!((there.id, there.timestamp), (won.id.clone(), won.timestamp), "{name}");
    }
    let kept = user.history(&format!("event={name}")).await;
    assert_eq!((kept.events.len(), &kept.events[0].id), (events, &won.id), "{name}");
}

#[tokio::test]
async fn a_counter_that_many_count_up_loses_nothing() {
    const TASKS: u64 = 8;
    const EACH: u64 = 20;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("counter", json!(0)).await;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(count_up(alice.clone(), EACH))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(alice.latest("/events").await[0].data, (TASKS * EACH).to_string());
    let kept = alice.history("event=counter&order=oldest&limit=1000").await;
    let counts: Vec<u64> = kept.events.iter().map(|event| event.data.parse().unwrap()).collect();
    assert_eq!(counts, (0..=TASKS * EACH).collect::<Vec<_>>());
}

/// Adds one so many times: to what it read, or after a refusal to what it was told.
async fn count_up(user: User, times: u64) {
    for _ in 0..times {
        let mut seen = user.latest("/events?events=counter").await.remove(0);
        loop {
            let count: u64 = seen.data.parse().unwrap();
            let answer = if_match(&user, &seen.id, one("counter", count + 1)).await;
            if answer.status == 200 {
                break;
            }
            seen = current(&answer).unwrap();
        }
    }
}

#[tokio::test]
async fn a_precondition_that_is_none_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("doc", json!(1)).await;
    let quoted = format!("\"{id}\"");
    for bad in [
        "",
        "*",
        "1",
        "abc",
        "null",
        "\"\"",
        "\"",
        "\"*\"",
        "\u{fc}",
        &format!("\"{id}"),
        &format!("{id}\""),
        &format!("'{id}'"),
        &format!("\"\"{id}\"\""),
        &format!("{id}0"),
        &format!("-{}", &id[1..]),
        &id[1..],
        &format!("W/{quoted}"),
        &format!("{quoted}, {quoted}"),
    ] {
        if_match(&alice, bad, one("doc", 2)).await.refused(400, "precondition_invalid");
    }
    for bad in ["", "**", "\"*\"", "x", &id, &quoted] {
        let answer = alice.insert_with(&[("if-none-match", bad)], one("new", 2)).await;
        answer.refused(400, "precondition_invalid");
    }
    let both = [("if-match", id.as_str()), ("if-none-match", "*")];
    for name in ["doc", "new"] {
        alice.insert_with(&both, one(name, 2)).await.refused(400, "precondition_invalid");
    }
    let latest = alice.latest("/events").await;
    assert_eq!((names(&latest), &latest[0].id), (vec!["doc"], &id));
}

#[tokio::test]
async fn an_array_takes_no_precondition() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("doc", json!(1)).await;
    for array in [json!([one("doc", 2)]), json!([one("doc", 2), one("new", 3)])] {
        if_match(&alice, &id, &array).await.refused(400, "precondition_invalid");
        if_none_match(&alice, &array).await.refused(400, "precondition_invalid");
    }
    assert_eq!(alice.history("event=doc").await.ids(), [id]);
}

#[tokio::test]
async fn a_removal_takes_if_match() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let first = alice.insert("doc", json!(1)).await;
    let second = alice.insert("doc", json!(2)).await;
    let there = current(&alice.remove_with(&[("if-match", &first)], "doc").await).unwrap();
    assert_eq!((there.event.as_str(), there.data.as_str(), &there.id), ("doc", "2", &second));
    assert_eq!((there.username.as_str(), alice.latest("/events").await), ("alice", vec![there.clone()]));
    alice.remove_with(&[("if-match", "x")], "doc").await.refused(400, "precondition_invalid");
    let quoted = format!("\"{second}\"");
    let removal: Receipt = alice.remove_with(&[("if-match", &quoted)], "doc").await.read();
    let came = stream.take(3).await;
    assert_eq!(
        came,
        [Event::new("doc", &first, "1"), Event::new("doc", &second, "2"), Event::new("doc", &removal.id, "null")]
    );
    // Of many clients that saw the same event, one removes it.
    let seen = alice.insert("doc", json!(3)).await;
    let answers = join_all((0..20).map(|_| {
        let (alice, seen) = (&alice, &seen);
        async move { alice.remove_with(&[("if-match", seen)], "doc").await }
    }));
    assert_eq!(answers.await.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn preconditions_hold_over_a_kill() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("doc", json!(1)).await;
    let second = alice.insert("doc", json!(2)).await;
    alice.insert("gone", json!(1)).await;
    alice.remove("gone").await.ok();
    let (_server, alice) = after_kill(server, &alice).await;
    assert_eq!(current(&if_match(&alice, &first, one("doc", 3)).await).unwrap().id, second);
    assert_eq!(current(&if_none_match(&alice, one("doc", 3)).await).unwrap().id, second);
    if_match(&alice, &second, one("doc", 3)).await.ok();
    if_none_match(&alice, one("gone", 2)).await.ok();
}
