//! Guards transient events on `/sse`: they come live and to clients that resume, and not with `transient=false`.

use serde_json::{Value, json};

use super::control_events::until_sync;
use crate::support::{Event, Receipt, TestServer, User, change, one, transient, until};

/// Inserts an array, and gives the events as they come on a stream.
async fn insert(user: &User, array: &[Value]) -> Vec<Event> {
    let given: Vec<Receipt> = user.insert_raw(json!(array)).await.read();
    let event = |(receipt, insert): (Receipt, &Value)| {
        Event::new(insert["event"].as_str().unwrap(), &receipt.id, &insert["data"].to_string())
    };
    given.into_iter().zip(array).map(event).collect()
}

#[tokio::test]
async fn five_at_once_are_five_and_each_id_can_be_resumed_from() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let topic = insert(&alice, &[one("chat", "topic")]).await;
    let mut live = bob.stream().await;
    assert_eq!(live.take(1).await, topic);
    let five = insert(&alice, &[1, 2, 3, 4, 5].map(|number| transient("chat", number))).await;
    assert_eq!(live.take(5).await, five);
    for number in 0..5 {
        assert_eq!(bob.coming("/sse", Some(&five[number].id)).await, five[number + 1..]);
        // A client that has seen nothing is not told of them.
        assert_eq!(bob.coming("/sse", None).await, topic);
    }
    let mut envelope = bob.stream_of("/sse?envelope=true", Some(&five[3].id)).await;
    let object = envelope.next().await.envelope();
    assert!(object.transient && !object.removed && object.data == "5", "{object:?}");
}

#[tokio::test]
async fn a_stream_may_leave_them_out_live_and_when_it_resumes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let path = "/sse?marks=true&transient=false";
    let (mut without, id) = alice.open(path, None).await;
    until_sync(&mut without).await;
    let sent = insert(&alice, &[one("a", 1), transient("a", 2), transient("b", 3), one("b", 4)]).await;
    let of_values = [sent[0].clone(), sent[3].clone()];
    assert_eq!(without.take(2).await, of_values);
    // It goes on to do so with another filter.
    change(&alice, &id, json!({ "events": "b" })).await;
    until_sync(&mut without).await;
    let more = insert(&alice, &[transient("b", 5), one("b", 6)]).await;
    assert_eq!(without.next().await, more[1]);
    let all: Vec<_> = sent.iter().chain(&more).cloned().collect();
    let resumed = alice.coming("/sse?transient=false", Some(&sent[0].id)).await;
    assert_eq!(resumed, [sent[3].clone(), more[1].clone()]);
    assert_eq!(alice.coming("/sse?transient=true", Some(&sent[0].id)).await[..5], all[1..]);
    let answer = alice.get("/sse?transient=no").await;
    answer.refused(400, "query_invalid");
}

#[tokio::test]
async fn a_client_that_comes_back_too_late_for_them_is_told_so_or_given_what_changed() {
    let server = TestServer::start_with(&["--retain_events=10"]).await;
    let alice = server.user("alice", "acme").await;
    let first = insert(&alice, &[one("quiet", 1), one("chat", "topic"), transient("chat", 2)]).await;
    let flood: Vec<_> = (0..20).map(|number| transient("chat", number)).collect();
    let flood = insert(&alice, &flood).await;
    let shortened = async || (alice.history("event=chat&order=oldest").await.events.len() == 11).then_some(());
    until("the tail to be shortened", shortened).await;
    assert_eq!(alice.coming("/sse", Some(&flood[17].id)).await, flood[18..]);
    // Below the floor: what is the latest of a name that changed, and no transient event.
    assert_eq!(alice.coming("/sse", Some(&first[2].id)).await, []);
    assert_eq!(alice.coming("/sse", Some(&first[0].id)).await, first[1..2]);
    let mut marked = alice.stream_of("/sse?marks=true&events=quiet,chat", Some(&first[2].id)).await;
    let (mut came, _) = until_sync(&mut marked).await;
    let reset = came.remove(0);
    assert_eq!((reset.name.as_str(), reset.json()), ("$reset", json!({ "reason": "not_kept" })));
    assert_eq!(came, first[..2]);
}
