//! Guards `/create_invite`: who may invite whom.

use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{ADMIN_TOKEN, TestServer, User, by_password, password_of};

const INVITE: [&str; 1] = ["--signup=invite"];

async fn inviter(server: &TestServer, username: &str, scopes: &[&str]) -> User {
    server.client().create_user_with(username, "acme", json!({ "scopes": scopes })).await.ok();
    server.client().sign_in(username).await
}

#[tokio::test]
async fn an_invite_lasts_a_week_unless_something_else_is_asked_for() {
    let server = TestServer::start_with(&INVITE).await;
    for (more, seconds) in
        [(json!({}), 604_800), (json!({ "expires_in": 1 }), 1), (json!({ "expires_in": 31_536_000 }), 31_536_000)]
    {
        let mut body = json!({ "tenant_name": "acme" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let before = now_millis();
        let issued = server.client().admin("/create_invite", body).await.ok().json();
        let until = issued["expires_at"].as_u64().unwrap();
        assert!((before + seconds * 1000..=now_millis() + seconds * 1000).contains(&until), "{issued}");
        let invite = issued["invite"].as_str().unwrap();
        assert!(
            invite.len() >= 32 && invite.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
            "{invite}"
        );
        assert_eq!(issued.as_object().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_invite_ends_at_its_time() {
    let server = TestServer::start_with(&INVITE).await;
    let client = server.client();
    let issued = client.admin("/create_invite", json!({ "tenant_name": "acme", "expires_in": 1 })).await.ok().json();
    let until = issued["expires_at"].as_u64().unwrap();
    crate::support::eventually("the end of the invite", || now_millis() > until).await;
    let body = json!({ "username": "alice", "password": password_of("alice"), "invite": issued["invite"] });
    client.post("/sign_up", &body).await.refused(400, "invite_invalid");
}

#[tokio::test]
async fn what_is_out_of_range_or_missing_is_refused() {
    let server = TestServer::start_with(&INVITE).await;
    let client = server.client();
    for wrong in [
        json!({ "expires_in": 0 }),
        json!({ "expires_in": 31_536_001 }),
        json!({ "uses": 0 }),
        json!({ "uses": 1001 }),
        json!({ "uses": -1 }),
        json!({ "uses": 70_000 }),
        json!({ "scopes": "a:get" }),
    ] {
        let mut body = json!({ "tenant_name": "acme" });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        client.admin("/create_invite", body).await.refused(400, "body_invalid");
    }
    client.admin("/create_invite", json!({})).await.refused(400, "body_invalid");
    client.admin("/create_invite", json!({ "tenant_name": "" })).await.refused(400, "tenant_name_invalid");
    client
        .admin("/create_invite", json!({ "tenant_name": "a", "scopes": ["no"] }))
        .await
        .refused(400, "scopes_invalid");
    client.admin("/create_invite", json!({ "tenant_name": "acme", "uses": 1000 })).await.ok();
    client.admin("/create_invite", json!({ "tenant_name": "Acme" })).await.refused(400, "tenant_name_lookalike");
}

#[tokio::test]
async fn an_invite_without_scopes_gives_on_the_default_ones_which_its_maker_must_have() {
    let server = TestServer::start_with(&["--signup=invite", "--default_scopes=news:get,chat:get"]).await;
    let dave = inviter(&server, "dave", &["invite:post", "news:get"]).await;
    let refused = dave.post("/create_invite", json!({})).await;
    assert_eq!((refused.status, refused.json()["scope"].clone()), (403, json!("chat:get")));
    dave.post("/create_invite", json!({ "scopes": ["news:get"] })).await.ok();
    let erin = inviter(&server, "erin", &["invite:post", "news:get", "chat:get"]).await;
    erin.post("/create_invite", json!({})).await.ok();
}

#[tokio::test]
async fn users_need_the_scope_for_it_and_give_on_only_scopes_that_they_have() {
    let server = TestServer::start_with(&INVITE).await;
    for (name, scopes) in [("alice", &[][..]), ("bob", &["*:post"]), ("carol", &["invite/*:post", "invite:get"])] {
        let user = inviter(&server, name, scopes).await;
        let refused = user.post("/create_invite", json!({})).await;
        assert_eq!(refused.json()["scope"], "invite:post", "{refused:?}");
        assert_eq!((refused.status, refused.code()), (403, "missing_scope".to_owned()));
    }
    let dave = inviter(&server, "dave", &["invite:post", "news:get", "*:get"]).await;
    dave.post("/create_invite", json!({})).await.ok();
    dave.post("/create_invite", json!({ "scopes": ["news:get", "invite:post"] })).await.ok();
    let refused = dave.post("/create_invite", json!({ "scopes": ["news:get", "chat:get"] })).await;
    assert_eq!((refused.status, &refused.json()["scope"]), (403, &json!("chat:get")));
    dave.post("/create_invite", json!({ "tenant_name": "globex" })).await.refused(400, "body_invalid");
    // The header decides who asks, and a password is as good as a token.
    let body = json!({ "admin_token": ADMIN_TOKEN, "scopes": ["chat:get"] });
    assert_eq!(dave.post("/create_invite", &body).await.status, 403);
    by_password(&server.client(), "dave", &password_of("dave")).post("/create_invite", json!({})).await.ok();
    server.client().post("/create_invite", &json!({})).await.refused(400, "body_invalid");
    let forged = server.client().with_authorization("Bearer nonsense");
    forged.post("/create_invite", &body).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn whoever_is_invited_by_a_user_is_in_the_users_tenant() {
    let server = TestServer::start_with(&INVITE).await;
    let alice = inviter(&server, "alice", &["invite:post", "news:get"]).await;
    let issued: Value = alice.post("/create_invite", json!({ "scopes": ["news:get"] })).await.ok().json();
    let body = json!({ "username": "bob", "password": password_of("bob"), "invite": issued["invite"] });
    server.client().post("/sign_up", &body).await.ok();
    let bob = crate::contract::user_object(&server.client(), "bob").await;
    assert_eq!((&bob["tenant_name"], &bob["scopes"]), (&json!("acme"), &json!(["news:get"])));
}

#[tokio::test]
async fn a_user_has_at_most_a_hundred_open_invites_also_if_all_are_asked_for_at_once() {
    let server = TestServer::start_with(&INVITE).await;
    let alice = inviter(&server, "alice", &["invite:post"]).await;
    let asked = (0..120).map(|_| alice.post("/create_invite", json!({ "expires_in": 3600 })));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 100);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "too_many_invites");
    }
    server.client().admin("/create_invite", json!({ "tenant_name": "acme" })).await.ok();
}
