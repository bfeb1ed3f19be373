//! Guards arrays of inserts: all of them or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Event, Receipt, TestServer, User, again, bad_request, eventually, names, one, within};

/// So many inserts, each of a name of its own.
fn numbered(prefix: &str, count: usize) -> Value {
    Value::Array((0..count).map(|number| one(&format!("{prefix}{number}"), number)).collect())
}

#[tokio::test]
async fn an_array_is_answered_with_an_array_and_comes_in_its_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = alice.insert("before", json!(0)).await;
    let mut stream = alice.stream_of("/sse", Some(&before)).await;
    let elements = [("b", "1"), ("a", "2"), ("b", "3"), ("c", "4")];
    let body = elements.map(|(event, data)| format!(r#"{{"event":"{event}","data":{data}}}"#)).join(",");
    let given: Vec<Receipt> = alice.insert_raw(format!("[{body}]")).await.read();
    assert_eq!(given.len(), elements.len());
    assert!(given[0].id > before && given.is_sorted_by(|a, b| a.id < b.id), "{given:?}");
    assert!(given.iter().all(|each| each.timestamp == given[0].timestamp), "{given:?}");
    let expected: Vec<_> =
        elements.into_iter().zip(&given).map(|((name, data), each)| Event::new(name, &each.id, data)).collect();
    assert_eq!(stream.take(elements.len()).await, expected);
    // A new client gets the latest event of each name, and a client that resumes within the array gets the rest of
    // it.
    let latest = alice.latest("/events").await;
    let seen: Vec<_> = latest.iter().map(|event| (event.event.as_str(), event.data.as_str())).collect();
    assert_eq!(seen, [("before", "0"), ("a", "2"), ("b", "3"), ("c", "4")]);
    assert!(latest[1..].iter().all(|event| event.timestamp == given[0].timestamp), "{latest:?}");
    assert_eq!(alice.coming("/sse", Some(&given[1].id)).await, expected[2..]);
}

#[tokio::test]
async fn an_array_of_one_is_answered_with_an_array_of_one() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let given: Vec<Receipt> = alice.insert_raw(json!([one("news", 1)])).await.read();
    let latest = alice.latest("/events").await;
    assert_eq!((given.len(), latest.len()), (1, 1));
    assert_eq!((&given[0].id, given[0].timestamp), (&latest[0].id, latest[0].timestamp));
}

#[tokio::test]
async fn white_space_in_and_around_an_array_does_not_matter() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let body = "\r\n\t [ { \"data\" : [ 1 , 2 ] ,\n\"event\" : \"a\" }\n,\t{\"event\":\"b\",\"data\":\" x \"} ] \n";
    let given: Vec<Receipt> = alice.insert_raw(body).await.read();
    let latest = alice.latest("/events").await;
    let seen: Vec<_> = latest.iter().map(|event| (event.event.as_str(), event.data.as_str(), &event.id)).collect();
    assert_eq!(seen, [("a", "[1,2]", &given[0].id), ("b", r#"" x ""#, &given[1].id)]);
}

#[tokio::test]
async fn an_array_has_1_to_1000_inserts() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for body in ["[]", " [ \n ] "] {
        alice.insert_raw(body).await.refused(400, "body_invalid");
    }
    alice.insert_raw(numbered("name", 1001)).await.refused(400, "body_invalid");
    let given: Vec<Receipt> = alice.insert_raw(numbered("name", 1000)).await.read();
    let expected: Vec<_> = given
        .iter()
        .enumerate()
        .map(|(number, each)| Event::new(&format!("name{number}"), &each.id, &number.to_string()))
        .collect();
    assert_eq!(expected.len(), 1000);
    // The first that comes is of this array: nothing was inserted of the one that was too long.
    assert!(stream.take(1000).await == expected, "the events came otherwise than they were inserted");
}

#[tokio::test]
async fn a_bad_element_anywhere_refuses_the_whole_array() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let good = one("good", 1);
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (bad, status, code) in [
        (one("", 1).to_string(), 400, "event_name_invalid"),
        (one("a\nb", 1).to_string(), 400, "event_name_invalid"),
        (one("data:", 1).to_string(), 400, "event_name_invalid"),
        (one("$bad", 1).to_string(), 400, "event_name_reserved"),
        (one("bad", "x".repeat(100 << 10)).to_string(), 413, "event_too_large"),
        (format!(r#"{{"event":"bad","data":{deep}}}"#), 400, "data_too_deep"),
        (r#"{"event":"bad"}"#.to_owned(), 400, "body_invalid"),
        (r#"{"data":1}"#.to_owned(), 400, "body_invalid"),
        (r#"{"event":7,"data":1}"#.to_owned(), 400, "body_invalid"),
        ("7".to_owned(), 400, "body_invalid"),
        ("null".to_owned(), 400, "body_invalid"),
        (json!([good]).to_string(), 400, "body_invalid"),
        (r#"["bad",1]"#.to_owned(), 400, "body_invalid"),
        (String::new(), 400, "body_invalid"),
    ] {
        for body in
            [format!("[{bad},{good},{good}]"), format!("[{good},{bad},{good}]"), format!("[{good},{good},{bad}]")]
        {
            alice.insert_raw(body).await.refused(status, code);
        }
    }
    bad_request(alice.insert_raw(json!([good, { "event": "bad", "data": 1, "expires_in": 0 }])).await);
    for cut_off in [format!("[{good},{good}"), format!("[{good},{good}]]"), format!("[{good}{good}]")] {
        alice.insert_raw(cut_off).await.refused(400, "body_invalid");
    }
    assert_eq!(alice.latest("/events").await, []);
    let id = alice.insert("after", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
}

#[tokio::test]
async fn the_refusal_is_that_of_the_first_bad_element() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let large = one("large", "x".repeat(100 << 10));
    let (invalid, reserved) = (one("a\tb", 1), one("$x", 1));
    alice.insert_raw(json!([large, invalid, reserved])).await.refused(413, "event_too_large");
    alice.insert_raw(json!([invalid, reserved, large])).await.refused(400, "event_name_invalid");
    alice.insert_raw(json!([reserved, large, invalid])).await.refused(400, "event_name_reserved");
}

#[tokio::test]
async fn an_array_with_more_new_names_than_there_is_room_for_inserts_none() {
    let server = TestServer::start_with(&["--max_names=3"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(0)).await;
    alice.insert("b", json!(0)).await;
    alice.insert_raw(json!([one("a", 1), one("c", 1), one("d", 1)])).await.refused(409, "too_many_names");
    let before = alice.latest("/events").await;
    assert_eq!(names(&before), ["a", "b"]);
    assert!(before.iter().all(|event| event.data == "0"), "{before:?}");
    // A new name counts once, however often it is inserted.
    alice.insert_raw(json!([one("c", 1), one("a", 1), one("c", 2)])).await.ok();
    assert_eq!(names(&alice.latest("/events").await), ["b", "a", "c"]);
}

#[tokio::test]
async fn a_subscriber_with_a_filter_gets_its_part_of_an_array_and_another_tenant_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let mut filtered = alice.stream_of("/sse?events=chat/*", None).await;
    let mut elsewhere = mallory.stream().await;
    let array = json!([one("news", 1), one("chat/1", 2), one("news", 3), one("chat/2", 4), one("chat/1", 5)]);
    let given: Vec<Receipt> = alice.insert_raw(array).await.read();
    let expected = [("chat/1", 1, "2"), ("chat/2", 3, "4"), ("chat/1", 4, "5")];
    let expected = expected.map(|(name, at, data)| Event::new(name, &given[at].id, data));
    assert_eq!(filtered.take(3).await, expected);
    let own = mallory.insert("own", json!(1)).await;
    assert_eq!(elsewhere.next().await.id, own);
    assert_eq!(mallory.history("event=news").await.events, []);
}

#[tokio::test]
async fn an_array_may_be_2_mib_and_no_larger() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let text = "x".repeat(95_000);
    let array = |count: usize| Value::Array((0..count).map(|n| one(&format!("large/{n}"), text.as_str())).collect());
    alice.insert_raw(array(100)).await.refused(413, "body_too_large");
    assert_eq!(alice.latest("/events").await, []);
    let given: Vec<Receipt> = alice.insert_raw(array(20)).await.read();
    let latest = alice.latest("/events").await;
    assert_eq!((given.len(), latest.len()), (20, 20));
    assert!(latest.iter().all(|event| event.data.len() == text.len() + 2));
}

#[tokio::test]
async fn credentials_are_looked_at_before_an_array() {
    let server = TestServer::start().await;
    let nobody = server.client().with_authorization("Bearer x");
    for body in ["[]", r#"[{"event":"news","data":1}]"#, "[{"] {
        nobody.insert_raw(body).await.refused(401, "unauthorized");
    }
}

/// How many inserts are in each array that the next test sends.
const SIZE: usize = 20;

#[tokio::test]
async fn a_kill_leaves_each_array_whole_or_not_at_all() {
    const WRITERS: usize = 4;
    const ROUNDS: u64 = 5;
    // So short a journal that kills meet checkpoints too.
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let mut alice = server.user("alice", "acme").await;
    let mut promised = Vec::new();
    let any = Arc::new(AtomicBool::new(false));
    for round in 0..ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(insert_arrays(alice.clone(), format!("{round}.{writer}"), Arc::clone(&any))))
            .collect();
        // What counts is that no two rounds are alike.
        tokio::time::sleep(Duration::from_millis(20 + (round * 37) % 90)).await;
        if round == ROUNDS - 1 {
            eventually("something to lose", || any.load(Ordering::Relaxed)).await;
        }
        server.kill();
        for writer in writers {
            promised.extend(within("a writer to notice", writer).await.unwrap());
        }
        server = server.restart().await;
        alice = again(&server, &alice);
    }
    let mut sizes: HashMap<String, usize> = HashMap::new();
    for event in alice.latest("/events").await {
        let (array, _) = event.event.split_once('/').unwrap();
        *sizes.entry(array.to_owned()).or_default() += 1;
    }
    for (array, size) in &sizes {
        assert_eq!(*size, SIZE, "{array} is there in part");
    }
    for array in &promised {
        assert!(sizes.contains_key(array), "{array} is lost");
    }
    assert!(!promised.is_empty(), "there was nothing to lose");
}

/// Inserts one array after the other until the server is gone; gives those that it has answered, and says at once that
/// there are any.
async fn insert_arrays(user: User, prefix: String, any: Arc<AtomicBool>) -> Vec<String> {
    let mut answered = Vec::new();
    for number in 0_u64.. {
        let array = format!("{prefix}.{number}");
        let Some(answer) = user.insert_if_there(&[], numbered(&format!("{array}/"), SIZE)).await else { break };
        answer.ok();
        answered.push(array);
        any.store(true, Ordering::Relaxed);
    }
    answered
}
