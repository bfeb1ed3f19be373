//! Guards a browser that comes back with its cookie after the last event it has seen.

use serde_json::json;

use super::{Page, ticket_of};
use crate::support::{TestServer, move_to, revoke};

#[tokio::test]
async fn a_user_that_was_moved_to_another_tenant_resumes_with_all_of_that_one() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "before").await;
    let older = server.user("bob", "after").await.insert("older", json!(1)).await;
    let mut page = Page::of(&alice).await;
    alice.insert("news", json!(1)).await;
    let last = page.stream.next().await.id;
    move_to(&alice.client, "alice", "after").await;
    // The page's stream goes on there.
    assert_eq!(page.stream.next().await.id, older);
    // And when its connection breaks, the browser comes back as it would have before.
    page.resume(&alice.client, &last).await;
    assert_eq!(page.stream.next().await.id, older);
    assert_eq!(page.comes_back().await, 200);
}

#[tokio::test]
async fn after_a_restart_the_browser_reconnects_by_itself_and_gets_exactly_the_missed_events() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut page = Page::of(&alice).await;
    let unused = ticket_of(&alice).await;
    for number in 0..3 {
        alice.insert("news", json!(number)).await;
    }
    let seen = page.stream.take(2).await;
    for kill in [true, false] {
        server = server.end_and_restart(kill).await;
        let alice = server.client().with_authorization(&alice.authorization);
        let missed = [alice.insert("news", json!("missed")).await, alice.insert("chat", json!("missed")).await];
        page.resume(&alice.client, &seen[1].id).await;
        // The third of those from before the restart, what came with the restart before this one, and what is new.
        let events = page.stream.take(if kill { 3 } else { 6 }).await;
        assert_eq!(events[0].data, "2");
        assert_eq!(events[events.len() - 2..].iter().map(|event| event.id.clone()).collect::<Vec<_>>(), missed);
        let live = alice.insert("news", json!("live")).await;
        assert_eq!(page.stream.next().await.id, live);
        // Within its half minute, used or not, a ticket of before is worth nothing by itself.
        assert_eq!(page.comes_back_bare().await, 401);
        alice.client.get(&format!("/sse?ticket={unused}")).await.refused(401, "unauthorized");
        alice.client.get("/sse").await.refused(401, "unauthorized");
    }
    // Nor is a cookie whose user was revoked meanwhile.
    revoke(&server.client(), "alice").await;
    server.kill();
    server = server.restart().await;
    page.client = server.client();
    assert_eq!(page.comes_back().await, 401);
}
