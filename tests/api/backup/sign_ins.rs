//! Guards that nothing that lets somebody in works after a restore: it may have been used or revoked since the backup.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{backed_up, restored_with};
use crate::identity::{login_with_code, step, with_two_factor};
use crate::sse_ticket::ticket_of;
use crate::support::{Client, TestServer, again, password_of, reset, reset_code};
use crate::two_factor_begin::begin;
use crate::verify::{biscuit, permits, permits_at};

const FLAGS: [&str; 3] = ["--signup=invite", "--auth_key=test-auth-key-0123456789", "--channel_tenant=acme"];
const OTHER_PASSWORD: &str = "another Heron 22 basket";

async fn sign_up(client: &Client, invite: &Value) -> crate::support::Answer {
    client.post("/sign_up", &json!({ "username": "carol", "password": password_of("carol"), "invite": invite })).await
}

#[tokio::test]
async fn no_token_session_ticket_code_or_invite_of_before_lets_anybody_in() {
    let server = TestServer::start_with(&FLAGS).await;
    let (client, alice) = (server.client(), server.user("alice", "acme").await);
    let sign_in = json!({ "username": "alice", "password": password_of("alice"), "refresh": true });
    let session = client.post("/login", &sign_in).await.ok().json();
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let code = reset_code(&client, "alice").await;
    let invite = client.admin("/create_invite", json!({ "tenant_name": "acme" })).await.ok().json()["invite"].clone();
    let channel = crate::channel::token(&server, "room").await;
    let app = with_two_factor(&client, "bob").await;
    let begun = begin(&alice, "alice").await;
    // Both are made before the backup, and each is good for once.
    let tickets = [ticket_of(&alice).await, ticket_of(&alice).await];
    let backup = backed_up(&server, "backup").await;
    let now = step();

    let restored = restored_with(&backup, &FLAGS).await;
    // Whatever is refused below is good where nothing was restored.
    let (here, there) = (&client, &restored.client());
    let alice_there = again(&restored, &alice);
    assert_eq!((alice.doors().await, alice_there.doors().await), ([200; 3], [401; 3]));
    let by_session =
        |client: &Client| client.with_authorization(&format!("Bearer {}", session["jwt"].as_str().unwrap()));
    assert_eq!((by_session(here).verify().await.status, by_session(there).verify().await.status), (200, 401));
    there.post("/refresh", &refresh).await.refused(401, "session_ended");
    here.post("/refresh", &refresh).await.ok();
    for ticket in tickets {
        there.get(&format!("/sse?ticket={ticket}")).await.refused(401, "unauthorized");
    }
    sign_up(there, &invite).await.refused(400, "invite_invalid");
    sign_up(here, &invite).await.ok();
    assert_ne!(crate::channel::token(&restored, "room").await, channel);
    assert_eq!(crate::channel::token(&server, "room").await, channel);
    login_with_code(there, "bob", &app.code(now)).await.refused(401, "unauthorized");
    login_with_code(here, "bob", &app.code(now)).await.ok();
    // A second factor that was not confirmed is none.
    let alice_there = there.sign_in("alice").await;
    let confirmed = alice_there.post("/two_factor_confirm", &json!({ "totp": begun.code(step()) })).await;
    assert_ne!(confirmed.status, 200, "{confirmed:?}");
    reset(there, "alice", OTHER_PASSWORD, &code).await.refused(401, "unauthorized");
    there.login("alice", &password_of("alice")).await.ok();
    reset(here, "alice", OTHER_PASSWORD, &code).await.ok();
}

#[tokio::test]
async fn services_check_biscuits_of_before_and_after_a_restore_by_one_key_until_they_expire() {
    let server = TestServer::start_with(&["--jwt_expiry=5000"]).await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["news:get"] })).await.ok();
    let before = client.sign_in("alice").await.verify().await.ok().json();
    let backup = backed_up(&server, "backup").await;
    let restored = restored_with(&backup, &[]).await;
    let after = restored.client().sign_in("alice").await.verify().await.ok().json();
    assert_eq!(before["key"], after["key"]);
    // The token of before, and the key that the restored server tells.
    let mixed = biscuit(&json!({ "token": before["token"], "key": after["key"] }));
    assert!(permits(&mixed, "news", "get") && !permits(&mixed, "news", "post"));
    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(before["expiry"].as_u64().unwrap());
    assert!(!permits_at(&mixed, Some(expiry), "news", "get"));
}
