//! Guards `/verify`: the user, the scopes, and the biscuit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use biscuit_auth::builder::{AuthorizerBuilder, Fact, Policy, date, fact, string};
use biscuit_auth::macros::policy;
use biscuit_auth::{Algorithm, AuthorizerLimits, Biscuit, KeyPair, PublicKey};
use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{TestServer, User, by_password, claims, password_of, update};

fn bytes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect()
}

/// The biscuit in an answer of `/verify`, as a service hydrates it.
pub fn biscuit(verified: &Value) -> Biscuit {
    let key = PublicKey::from_bytes(&bytes(&verified["key"]), Algorithm::Ed25519).unwrap();
    Biscuit::from(bytes(&verified["token"]), key).unwrap()
}

/// Whether a service that asks for a right lets this biscuit in.
pub fn permits(biscuit: &Biscuit, resource: &str, operation: &str) -> bool {
    permits_at(biscuit, Some(SystemTime::now()), resource, operation)
}

/// The same at a time that the service gives, if it gives one.
pub fn permits_at(biscuit: &Biscuit, time: Option<SystemTime>, resource: &str, operation: &str) -> bool {
    let policy: Policy = policy!("allow if right({resource}, {operation})", resource = resource, operation = operation);
    let mut builder = AuthorizerBuilder::new().policy(policy).unwrap();
    if let Some(time) = time {
        builder = builder.fact(fact("time", &[date(&time)])).unwrap();
    }
    let mut authorizer = builder.build(biscuit).unwrap();
    // The default allows a millisecond, which a busy machine may take to wake up.
    let limits = AuthorizerLimits { max_time: Duration::from_secs(30), ..AuthorizerLimits::default() };
    authorizer.authorize_with_limits(limits).is_ok()
}

async fn user_with_scopes(server: &TestServer, username: &str, scopes: Value) -> User {
    server.client().create_user_with(username, "acme", json!({ "scopes": scopes })).await.ok();
    server.client().sign_in(username).await
}

#[tokio::test]
async fn verify_tells_expiry_key_scopes_token_and_username() {
    let server = TestServer::start_with(&["--jwt_expiry=5000"]).await;
    let before = now_millis() / 1000;
    let alice = user_with_scopes(&server, "alice", json!(["news:get", "chat:post"])).await;
    let after = now_millis() / 1000;
    let verified = alice.verify().await.ok().json();
    let mut keys: Vec<_> = verified.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["expiry", "id", "key", "scopes", "tenant_name", "token", "username"]);
    assert_eq!(verified["tenant_name"], "acme");
    let shown = server.client().admin("/get_user", json!({ "username": "alice" })).await.ok().json();
    assert_eq!(verified["id"], shown["id"]);
    assert_eq!(verified["username"], "alice");
    assert_eq!(verified["scopes"], json!(["news:get", "chat:post"]));
    assert_eq!(bytes(&verified["key"]).len(), 32);
    assert!((before + 5000..=after + 5000).contains(&verified["expiry"].as_u64().unwrap()));
}

#[tokio::test]
async fn the_expiry_is_that_of_the_token_or_of_one_that_would_be_issued_now() {
    let server = TestServer::start_with(&["--jwt_expiry=5000"]).await;
    let alice = server.user("alice", "acme").await;
    let first = alice.verify().await.ok().json()["expiry"].clone();
    assert_eq!(claims(alice.jwt())["exp"], first);
    let by_password = by_password(&alice.client, "alice", &password_of("alice"));
    let before = now_millis() / 1000;
    let expiry = by_password.verify().await.ok().json()["expiry"].as_u64().unwrap();
    assert!((before + 5000..=now_millis() / 1000 + 5000).contains(&expiry));
}

#[tokio::test]
async fn without_scopes_the_list_is_empty_and_the_rest_the_same() {
    let server = TestServer::start().await;
    let never = server.user("never", "acme").await;
    let none = user_with_scopes(&server, "none", json!([])).await;
    for user in [never, none] {
        let verified = user.verify().await.ok().json();
        assert_eq!(verified["scopes"], json!([]));
        assert_eq!(verified.as_object().unwrap().len(), 7);
        assert!(!permits(&biscuit(&verified), "news", "get"));
    }
}

#[tokio::test]
async fn each_scope_is_a_right_in_the_biscuit_and_there_are_no_others() {
    let server = TestServer::start().await;
    let alice = user_with_scopes(&server, "alice", json!(["news:get", "chat:post"])).await;
    let biscuit = biscuit(&alice.verify().await.ok().json());
    assert!(permits(&biscuit, "news", "get") && permits(&biscuit, "chat", "post"));
    for (resource, operation) in
        [("news", "post"), ("chat", "get"), ("get", "news"), ("news:get", ""), ("admin", "all")]
    {
        assert!(!permits(&biscuit, resource, operation), "{resource} {operation}");
    }
    assert_eq!(biscuit.block_count(), 1);
    let mut rights = rights(&biscuit);
    rights.sort();
    assert_eq!(rights, [("chat".to_owned(), "post".to_owned()), ("news".to_owned(), "get".to_owned())]);
}

fn rights(biscuit: &Biscuit) -> Vec<(String, String)> {
    let limits = AuthorizerLimits { max_time: Duration::from_secs(30), ..AuthorizerLimits::default() };
    let mut authorizer = AuthorizerBuilder::new().build(biscuit).unwrap();
    authorizer.query_all_with_limits("data($r, $o) <- right($r, $o)", limits).unwrap()
}

#[tokio::test]
async fn the_biscuit_names_its_user_and_permits_nothing_after_its_end() {
    let server = TestServer::start_with(&["--jwt_expiry=5000"]).await;
    // Text that is none of datalog's.
    let tenant = r#"ac"me"); allow if true"#;
    let more = json!({ "scopes": ["news:get"] });
    server.client().create_user_with("o'neil \"x\"", tenant, more).await.ok();
    let verified = server.client().sign_in("o'neil \"x\"").await.verify().await.ok().json();
    assert_eq!(verified["tenant_name"], tenant);
    let biscuit = biscuit(&verified);
    let expiry = UNIX_EPOCH + Duration::from_secs(verified["expiry"].as_u64().unwrap());
    let second = Duration::from_secs(1);
    assert!(permits_at(&biscuit, Some(expiry - second), "news", "get"));
    for late in [Some(expiry), Some(expiry + second), None] {
        assert!(!permits_at(&biscuit, late, "news", "get"), "{late:?}");
    }
    let limits = AuthorizerLimits { max_time: Duration::from_secs(30), ..AuthorizerLimits::default() };
    let mut authorizer = AuthorizerBuilder::new().build(&biscuit).unwrap();
    let rule = "data($user, $tenant, $expiry) <- user($user), tenant($tenant), expiry($expiry)";
    let facts: Vec<(String, String, SystemTime)> = authorizer.query_all_with_limits(rule, limits).unwrap();
    assert_eq!(facts, [("o'neil \"x\"".to_owned(), tenant.to_owned(), expiry)]);
}

#[tokio::test]
async fn a_service_needs_the_key_to_be_the_right_one() {
    let server = TestServer::start().await;
    let alice = user_with_scopes(&server, "alice", json!(["news:get"])).await;
    let token = bytes(&alice.verify().await.ok().json()["token"]);
    assert!(Biscuit::from(&token, KeyPair::new().public()).is_err());
}

#[tokio::test]
async fn the_key_is_the_same_for_everybody_at_every_sign_in_and_after_a_restart() {
    let mut server = TestServer::start().await;
    let alice = user_with_scopes(&server, "alice", json!(["news:get"])).await;
    let first = alice.verify().await.ok().json();
    let again = server.client().sign_in("alice").await.verify().await.ok().json();
    let bob = server.user("bob", "other").await.verify().await.ok().json();
    server.kill();
    let server = server.restart().await;
    let restarted = server.client().sign_in("alice").await.verify().await.ok().json();
    for other in [&again, &bob, &restarted] {
        assert_eq!(other["key"], first["key"]);
    }
    let key = PublicKey::from_bytes(&bytes(&first["key"]), Algorithm::Ed25519).unwrap();
    assert!(permits(&Biscuit::from(bytes(&restarted["token"]), key).unwrap(), "news", "get"));
}

#[tokio::test]
async fn every_database_has_a_key_of_its_own() {
    let (one, other) = (TestServer::start().await, TestServer::start().await);
    let of = async |server: &TestServer| server.user("alice", "acme").await.verify().await.ok().json()["key"].clone();
    assert_ne!(of(&one).await, of(&other).await);
}

#[tokio::test]
async fn a_scope_is_text_in_the_biscuit_and_never_datalog() {
    let server = TestServer::start().await;
    let odd = [
        (r#"x"); allow if true; //"#, "y"),
        ("news", r#"get"); right("admin"#),
        ("{resource}", "{operation}"),
        ("$0", "$1"),
        ("a\\", "b\\\""),
        ("日本", "😀"),
        ("a b", "c d"),
    ];
    let scopes: Vec<_> = odd.iter().map(|(resource, operation)| format!("{resource}:{operation}")).collect();
    let alice = user_with_scopes(&server, "alice", json!(scopes)).await;
    let verified = alice.verify().await.ok().json();
    assert_eq!(verified["scopes"], json!(scopes));
    let biscuit = biscuit(&verified);
    for (resource, operation) in odd {
        assert!(permits(&biscuit, resource, operation), "{resource} {operation}");
    }
    assert!(!permits(&biscuit, "admin", "all") && !permits(&biscuit, "admin", "") && !permits(&biscuit, "x", "y"));
    let exactly: Fact = fact("right", &[string(odd[0].0), string(odd[0].1)]);
    assert!(biscuit.print_block_source(0).unwrap().contains(&exactly.to_string()));
    assert_eq!(rights(&biscuit).len(), odd.len());
}

#[tokio::test]
async fn the_reply_is_built_from_the_store_and_not_from_the_token() {
    let server = TestServer::start().await;
    let alice = user_with_scopes(&server, "alice", json!(["admin:all"])).await;
    update(&alice.client, "alice", json!({ "scopes": ["news:get"] })).await;
    let verified = alice.verify().await.ok().json();
    assert_eq!(verified["scopes"], json!(["news:get"]));
    assert!(!permits(&biscuit(&verified), "admin", "all"));
}

#[tokio::test]
async fn verify_without_valid_credentials_is_401() {
    let server = TestServer::start().await;
    server.client().get("/verify").await.refused(401, "unauthorized");
    server.client().with_authorization("Bearer x").verify().await.refused(401, "unauthorized");
}
