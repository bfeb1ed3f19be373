//! Guards `Idempotency-Key`: a repeated request is done once.

mod at_once;
mod restarts;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Body, Receipt, TestServer, User, after_kill, bad_request, current, move_to, names, one};

const KEY: &str = "idempotency-key";

async fn keyed(user: &User, key: &str, body: impl Body) -> Answer {
    user.insert_with(&[(KEY, key)], body).await
}

/// Whether a success is said to be the answer of an earlier request.
#[track_caller]
fn is_replay(answer: &Answer) -> bool {
    let header = answer.header("idempotency-replayed");
    assert!(answer.status == 200 && matches!(header, None | Some("true")), "{answer:?}");
    header.is_some()
}

/// That the first was done, and the second is its answer once more.
#[track_caller]
fn assert_replay(first: &Answer, second: &Answer) {
    assert!(!is_replay(first) && is_replay(second), "{first:?} {second:?}");
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn the_same_again_is_answered_as_before_and_inserts_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let first = keyed(&alice, "k", one("news", 1)).await;
    for _ in 0..3 {
        let second = keyed(&alice, "k", one("news", 1)).await;
        assert_replay(&first, &second);
        assert_eq!(second.header("content-type"), Some("application/json"));
    }
    let first: Receipt = first.read();
    let mark = alice.insert("mark", json!(null)).await;
    let came = stream.take(2).await;
    assert_eq!([&came[0].id, &came[1].id], [&first.id, &mark]);
    assert_eq!(alice.history("event=news").await.ids(), [first.id]);
}

#[tokio::test]
async fn without_a_key_or_with_another_one_the_same_is_inserted_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut ids = Vec::new();
    for key in [Some("k"), Some("K"), Some("k2"), None, None] {
        let answer = match key {
            Some(key) => keyed(&alice, key, one("news", 1)).await,
            None => alice.insert_raw(one("news", 1)).await,
        };
        assert!(!is_replay(&answer), "{answer:?}");
        ids.push(answer.read::<Receipt>().id);
    }
    assert_eq!(alice.history("event=news&order=oldest").await.ids(), ids);
}

#[tokio::test]
async fn the_same_insert_written_otherwise_is_the_same() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", r#"{"event":"news","data":{"b":1.0,"a":[2,3]},"expires_in":1000}"#).await;
    for body in [
        " { \"event\" : \"news\",\r\n\t\"data\" : { \"b\" : 1.0, \"a\" : [ 2, 3 ] }, \"expires_in\" : 1000 } \n",
        r#"{"expires_in":1000,"data":{"b":1.0,"a":[2,3]},"event":"news"}"#,
        r#"{"event":"n\u0065ws","data":{"b":1.0,"a":[2,3]},"expires_in":1000}"#,
        r#"{"event":"news","data":{"b":1.0,"a":[2,3]},"expires_in":1000,"unknown":[1]}"#,
    ] {
        assert_replay(&first, &keyed(&alice, "k", body).await);
    }
}

#[tokio::test]
async fn a_key_that_comes_with_another_insert_is_422_and_inserts_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", r#"{"event":"news","data":{"b":1,"a":2}}"#).await;
    for body in [
        r#"{"event":"news","data":{"b":1,"a":3}}"#,
        r#"{"event":"news","data":{"a":2,"b":1}}"#,
        r#"{"event":"news","data":{"b":1.0,"a":2}}"#,
        r#"{"event":"news","data":null}"#,
        r#"{"event":"other","data":{"b":1,"a":2}}"#,
        r#"{"event":"news","data":{"b":1,"a":2},"expires_in":1000}"#,
        r#"[{"event":"news","data":{"b":1,"a":2}}]"#,
        r#"[{"event":"news","data":{"b":1,"a":2}},{"event":"news","data":{"b":1,"a":2}}]"#,
    ] {
        keyed(&alice, "k", body).await.refused(422, "idempotency_key_reused");
    }
    let body = r#"{"event":"news","data":{"b":1,"a":2}}"#;
    let id = keyed(&alice, "another", one("x", 1)).await.read::<Receipt>().id;
    for precondition in [("if-none-match", "*"), ("if-match", id.as_str())] {
        let answer = alice.insert_with(&[(KEY, "k"), precondition], body).await;
        answer.refused(422, "idempotency_key_reused");
    }
    // And the key is still that of the first.
    assert_replay(&first, &keyed(&alice, "k", body).await);
    assert_eq!(names(&alice.latest("/events").await), ["news", "x"]);
    assert_eq!(alice.history("event=news").await.events.len(), 1);
}

#[tokio::test]
async fn two_users_may_have_the_same_key() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "other").await;
    let of_alice = keyed(&alice, "k", one("news", 1)).await;
    let of_bob = keyed(&bob, "k", one("news", 1)).await;
    let of_carol = keyed(&carol, "k", one("news", "of carol")).await;
    assert!([&of_bob, &of_carol].into_iter().all(|answer| !is_replay(answer)));
    assert_replay(&of_alice, &keyed(&alice, "k", one("news", 1)).await);
    assert_replay(&of_bob, &keyed(&bob, "k", one("news", 1)).await);
    assert_replay(&of_carol, &keyed(&carol, "k", one("news", "of carol")).await);
    let ids = [of_alice, of_bob].map(|answer| answer.read::<Receipt>().id);
    assert_eq!(alice.history("event=news&order=oldest").await.ids(), ids);
}

#[tokio::test]
async fn a_key_belongs_to_the_user_and_not_to_the_sign_in() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", one("news", 1)).await;
    let elsewhere = server.client().sign_in("alice").await;
    assert_replay(&first, &keyed(&elsewhere, "k", one("news", 1)).await);
}

#[tokio::test]
async fn a_key_from_another_tenant_is_refused_and_good_again_back_there() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", one("news", 1)).await;
    move_to(&server.client(), "alice", "other").await;
    for _ in 0..2 {
        keyed(&alice, "k", one("news", 1)).await.refused(409, "tenant_changed");
    }
    keyed(&alice, "k", one("news", 2)).await.refused(422, "idempotency_key_reused");
    assert_eq!(alice.latest("/events").await, []);
    let there = keyed(&alice, "k2", one("news", 1)).await;
    assert_replay(&there, &keyed(&alice, "k2", one("news", 1)).await);
    move_to(&server.client(), "alice", "acme").await;
    assert_replay(&first, &keyed(&alice, "k", one("news", 1)).await);
    keyed(&alice, "k2", one("news", 1)).await.refused(409, "tenant_changed");
    assert_eq!(alice.history("event=news").await.events.len(), 1);
}

#[tokio::test]
async fn of_more_keys_than_max_idempotency_keys_the_oldest_is_forgotten_first() {
    let server = TestServer::start_with(&["--max_idempotency_keys=3"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let of_bob = keyed(&bob, "0", one("bob", 0)).await;
    let mut firsts = Vec::new();
    for number in 0..5 {
        firsts.push(keyed(&alice, &number.to_string(), one("news", number)).await);
    }
    for number in [4, 2, 3] {
        assert_replay(&firsts[number], &keyed(&alice, &number.to_string(), one("news", number)).await);
    }
    // Not by a client that asks again, and not by another user.
    assert_replay(&of_bob, &keyed(&bob, "0", one("bob", 0)).await);
    let (_server, alice) = after_kill(server, &alice).await;
    assert_replay(&firsts[2], &keyed(&alice, "2", one("news", 2)).await);
    // A forgotten one may be used for anything, and is the newest then.
    let anew = keyed(&alice, "1", one("news", "anew")).await;
    assert!(!is_replay(&anew));
    assert_replay(&anew, &keyed(&alice, "1", one("news", "anew")).await);
    assert!(!is_replay(&keyed(&alice, "2", one("news", 2)).await));
    assert_eq!(alice.history("event=news").await.events.len(), 7);
}

#[tokio::test]
async fn a_refused_insert_does_not_use_its_key_up() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    keyed(&alice, "k", one("", 1)).await.refused(400, "event_name_invalid");
    keyed(&alice, "k", one("$x", 1)).await.refused(400, "event_name_reserved");
    keyed(&alice, "k", one("news", "x".repeat(100 << 10))).await.refused(413, "event_too_large");
    keyed(&alice, "k", "{").await.refused(400, "body_invalid");
    keyed(&alice, "k", json!([one("news", 1), one("$x", 1)])).await.refused(400, "event_name_reserved");
    alice.remove_with(&[(KEY, "k")], "nothing").await.refused(404, "event_unknown");
    let first = keyed(&alice, "k", one("news", 1)).await;
    assert_replay(&first, &keyed(&alice, "k", one("news", 1)).await);
}

#[tokio::test]
async fn an_insert_with_a_failed_precondition_is_decided_anew_and_one_that_held_is_not() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("lock", json!("of another")).await;
    let headers = [(KEY, "k"), ("if-none-match", "*")];
    for _ in 0..2 {
        assert!(current(&alice.insert_with(&headers, one("lock", 1)).await).is_some());
    }
    alice.remove("lock").await.ok();
    let first = alice.insert_with(&headers, one("lock", 1)).await;
    // There is a lock now: its own.
    assert_replay(&first, &alice.insert_with(&headers, one("lock", 1)).await);
    let first: Receipt = first.read();
    let headers = [(KEY, "k2"), ("if-match", first.id.as_str())];
    let second = alice.insert_with(&headers, one("lock", 2)).await;
    assert_replay(&second, &alice.insert_with(&headers, one("lock", 2)).await);
    // Without the precondition it is another request.
    keyed(&alice, "k2", one("lock", 2)).await.refused(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_replay_does_not_bring_back_events_that_have_changed_since() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", one("news", 1)).await;
    let second = alice.insert("news", json!(2)).await;
    assert_replay(&first, &keyed(&alice, "k", one("news", 1)).await);
    assert_eq!(alice.latest("/events").await[0].id, second);
    alice.remove("news").await.ok();
    assert_replay(&first, &keyed(&alice, "k", one("news", 1)).await);
    assert_eq!(alice.latest("/events").await, []);
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_ascii_characters() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let longest = "x".repeat(255);
    let too_long = "x".repeat(256);
    for bad in ["", &too_long, "a b", "a\tb", "\u{fc}", "k\u{e9}y", "日本"] {
        keyed(&alice, bad, one("news", 1)).await.refused(400, "idempotency_key_invalid");
        keyed(&alice, bad, json!([one("news", 1)])).await.refused(400, "idempotency_key_invalid");
    }
    assert_eq!(alice.latest("/events").await, []);
    for good in ["x", "0", "!", "~", &longest, r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, "a,b;c={}[]<>@:/?\\"] {
        let first = keyed(&alice, good, one("news", 1)).await;
        assert_replay(&first, &keyed(&alice, good, one("news", 1)).await);
    }
    let id = alice.insert("news", json!(2)).await;
    for bad in ["", &too_long, "a b"] {
        alice.remove_with(&[(KEY, bad)], "news").await.refused(400, "idempotency_key_invalid");
    }
    assert_eq!(alice.latest("/events").await[0].id, id);
}

#[tokio::test]
async fn an_array_is_done_once_too() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let array = json!([one("a", 1), one("b", 2), one("a", 3)]);
    let answers = join_all((0..20).map(|_| keyed(&alice, "k", &array))).await;
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    let given: Vec<Receipt> = serde_json::from_str(&answers[0].body).unwrap();
    let ids = alice.history("event=a&order=oldest").await.ids();
    assert_eq!(ids, [given[0].id.as_str(), &given[2].id]);
    assert_eq!(alice.history("event=b").await.ids(), [given[1].id.as_str()]);
    for other in [json!([one("a", 1), one("b", 2)]), json!([one("b", 2), one("a", 1), one("a", 3)]), one("a", 1)] {
        keyed(&alice, "k", other).await.refused(422, "idempotency_key_reused");
    }
}

#[tokio::test]
async fn a_removal_is_done_once_too() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    alice.insert("other", json!(1)).await;
    let first = alice.remove_with(&[(KEY, "k")], "news").await;
    assert_replay(&first, &alice.remove_with(&[(KEY, "k")], "news").await);
    // It was removed then, not ever after.
    let back = alice.insert("news", json!(2)).await;
    assert_replay(&first, &alice.remove_with(&[(KEY, "k")], "news").await);
    assert_eq!(alice.latest("/events?events=news").await[0].id, back);
    alice.remove_with(&[(KEY, "k")], "other").await.refused(422, "idempotency_key_reused");
    // One key is one request, whichever it was.
    keyed(&alice, "k", one("news", Value::Null)).await.refused(422, "idempotency_key_reused");
    assert_eq!(names(&alice.latest("/events").await), ["other", "news"]);
    let answers = join_all((0..20).map(|_| alice.remove_with(&[(KEY, "k2")], "news"))).await;
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
}

#[tokio::test]
async fn a_key_of_somebody_without_credentials_is_401_and_not_used_up() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = keyed(&alice, "k", one("news", 1)).await;
    let nobody = server.client().with_authorization("Bearer x");
    for body in [one("news", 1), one("news", 2)] {
        keyed(&nobody, "k", body).await.refused(401, "unauthorized");
    }
    bad_request(keyed(&alice, "k2", "[").await);
    assert_replay(&first, &keyed(&alice, "k", one("news", 1)).await);
}
