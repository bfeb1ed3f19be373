//! Guards that a stream over HTTP/2 says why it ends, as over HTTP/1.1.

use reqwest::Version;
use serde_json::json;

use super::Secure;
use crate::support::{User, revoke};

async fn marked(user: &User) -> crate::support::Stream {
    let mut stream = user.stream_of("/sse?marks=true", None).await;
    while stream.next().await.name != "$synced" {}
    stream
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_over_http_2_and_an_open_one_is_taken_over() {
    let mut secure = Secure::start().await;
    let client = secure.client();
    let answer = client.http.get(&client.url).send().await.unwrap();
    assert!(answer.version() == Version::HTTP_2 && answer.headers().contains_key("date"), "{answer:?}");
    for name in ["alice", "bob"] {
        client.create_user(name, "acme").await;
    }
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    let mut first = marked(&alice).await;
    let (mut second, id) = alice.open("/sse?marks=true", Some(&first.id())).await;
    assert_eq!(id, first.id());
    let end = &first.rest().await[0];
    assert_eq!((end.name.as_str(), end.json()), ("$end", json!({ "reason": "replaced", "retry": null })));

    let last = bob.insert("news", json!(1)).await;
    while second.next().await.id != last {}
    revoke(&client, "alice").await;
    bob.insert("news", json!(2)).await;
    let rest = second.rest().await;
    let revoked = json!({ "reason": "revoked", "retry": null });
    assert_eq!(rest.iter().map(|end| (&end.id, end.json())).collect::<Vec<_>>(), [(&last, revoked)]);

    let mut stopped = marked(&bob).await;
    let (rest, ()) = tokio::join!(stopped.rest(), secure.server.stop());
    assert_eq!(rest.iter().map(|end| end.json()["reason"].clone()).collect::<Vec<_>>(), ["stopping"]);
}
