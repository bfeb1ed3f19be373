//! Guards requests with one key that come at the same time.

use futures_util::future::join_all;
use serde_json::json;

use super::{is_replay, keyed};
use crate::support::{TestServer, one};

#[tokio::test]
async fn many_at_once_with_one_key_are_one_event_and_have_one_answer() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let body = one("news", 1);
    let answers = join_all((0..50).map(|_| keyed(&alice, "k", &body))).await;
    let done = answers.iter().filter(|answer| !is_replay(answer)).count();
    assert_eq!(done, 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    let id = stream.next().await.id;
    assert_eq!(answers[0].json()["id"], id);
    let mark = alice.insert("mark", json!(null)).await;
    assert_eq!(stream.next().await.id, mark);
    assert_eq!(alice.history("event=news").await.ids(), [id]);
}

#[tokio::test]
async fn of_many_at_once_with_one_key_and_different_data_one_is_done() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let answers = join_all((0..30).map(|number| keyed(&alice, "k", one("news", number)))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), refused.len()), (1, 29));
    assert!(!is_replay(&done[0]));
    for answer in refused {
        answer.refused(422, "idempotency_key_reused");
    }
    let kept = alice.history("event=news").await.ids();
    assert_eq!(kept, [done[0].json()["id"].as_str().unwrap()]);
}
