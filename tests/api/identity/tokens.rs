//! Guards tokens: their claims, forged ones, and when they end.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Authenticator, login_with_code, other_than, reset, reset_code, revoke, step, unrevoke, update};
use crate::support::{JWT_SECRET, TestServer, User, claims, command, forge, password_of};

async fn doors(user: &User, jwt: &str) -> [u16; 3] {
    user.client.with_authorization(&format!("Bearer {jwt}")).doors().await
}

#[tokio::test]
async fn the_forger_of_these_tests_makes_tokens_that_hold_with_the_right_secret() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    assert_eq!(doors(&alice, &forge(&claims(alice.jwt()), Algorithm::HS256, JWT_SECRET)).await, [200; 3]);
}

#[tokio::test]
async fn a_token_signed_by_another_secret_is_401() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for secret in ["secret", "", "another-secret-0123456789", &JWT_SECRET[1..], &format!("{JWT_SECRET}\n")] {
        assert_eq!(doors(&alice, &forge(&claims(alice.jwt()), Algorithm::HS256, secret)).await, [401; 3], "{secret}");
    }
}

#[tokio::test]
async fn a_token_of_another_algorithm_is_401_even_with_the_right_secret() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(doors(&alice, &forge(&claims(alice.jwt()), algorithm, JWT_SECRET)).await, [401; 3], "{algorithm:?}");
    }
    // A header that lies about a signature by HS256.
    let parts: Vec<_> = alice.jwt().split('.').collect();
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"hs256"}"#, r#"{"alg":"EdDSA"}"#, "{}", "[]", r#"{"typ":"JWT"}"#] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        assert_eq!(doors(&alice, &format!("{header}.{}.{}", parts[1], parts[2])).await, [401; 3]);
    }
}

#[tokio::test]
async fn an_unsigned_token_is_401() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let parts: Vec<_> = alice.jwt().split('.').collect();
    for algorithm in ["none", "None", "NONE", ""] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm, "typ": "JWT" }).to_string());
        for signature in ["", parts[2]] {
            assert_eq!(doors(&alice, &format!("{header}.{}.{signature}", parts[1])).await, [401; 3], "{algorithm}");
        }
    }
    for cut in [format!("{}.{}.", parts[0], parts[1]), format!("{}.{}", parts[0], parts[1])] {
        assert_eq!(doors(&alice, &cut).await, [401; 3]);
    }
}

#[tokio::test]
async fn a_token_that_was_changed_is_401() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.user("bob", "acme").await;
    let parts: Vec<_> = alice.jwt().split('.').map(str::to_owned).collect();
    for (name, value) in [("sub", json!("bob")), ("exp", json!(u64::from(u32::MAX))), ("aud", json!("admin:all"))] {
        let mut changed = claims(alice.jwt());
        changed[name] = value;
        let changed = BASE64_URL_SAFE_NO_PAD.encode(changed.to_string());
        assert_eq!(doors(&alice, &format!("{}.{changed}.{}", parts[0], parts[2])).await, [401; 3], "{name}");
    }
    let other = if parts[2].starts_with('A') { "B" } else { "A" };
    assert_eq!(doors(&alice, &format!("{}.{}.{other}{}", parts[0], parts[1], &parts[2][1..])).await, [401; 3]);
}

#[tokio::test]
async fn a_foreign_or_incomplete_token_is_401_even_with_the_right_secret() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let right = claims(alice.jwt());
    for (name, value) in [
        ("iss", json!("Somebody")),
        ("iss", json!("broker")),
        ("sub", json!("nobody")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("exp", right["iat"].clone()),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value;
        assert_eq!(doors(&alice, &forge(&wrong, Algorithm::HS256, JWT_SECRET)).await, [401; 3], "{wrong}");
    }
    for name in ["iss", "sub", "exp"] {
        let mut wrong = right.clone();
        wrong.as_object_mut().unwrap().remove(name);
        assert_eq!(doors(&alice, &forge(&wrong, Algorithm::HS256, JWT_SECRET)).await, [401; 3], "{name}");
    }
}

#[tokio::test]
async fn scopes_claimed_by_a_token_are_not_believed() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["news:get"] })).await.ok();
    let alice = client.sign_in("alice").await;
    let mut more = claims(alice.jwt());
    more["aud"] = json!("admin:all");
    let forged = client.with_authorization(&format!("Bearer {}", forge(&more, Algorithm::HS256, JWT_SECRET)));
    assert_eq!(forged.verify().await.ok().json()["scopes"], json!(["news:get"]));
}

#[tokio::test]
async fn knowing_the_default_secret_is_not_enough_to_make_a_token() {
    let server = TestServer::start_with(&["--jwt_secret=secret"]).await;
    let alice = server.user("alice", "acme").await;
    let right = claims(alice.jwt());
    let iat = right["iat"].as_u64().unwrap();
    let forged = json!({ "iss": "Broker", "sub": "alice", "aud": "admin:all", "iat": iat, "exp": iat + 86_400 });
    assert_eq!(doors(&alice, &forge(&forged, Algorithm::HS256, "secret")).await, [401; 3]);
    assert_eq!(doors(&alice, &forge(&right, Algorithm::HS256, "secret")).await, [200; 3], "but it is the secret");
}

#[tokio::test]
async fn an_expired_token_is_401_and_its_stream_ends() {
    let server = TestServer::start_with(&["--jwt_expiry=11"]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    alice.verify().await.ok();
    stream.rest().await;
    assert_eq!(alice.doors().await, [401; 3]);
    assert_eq!(stream.heartbeats, 0, "it ended long before the next heartbeat");
    server.client().sign_in("alice").await.verify().await.ok();
}

#[tokio::test]
async fn a_token_lasts_over_a_restart() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.kill();
    let server = server.restart().await;
    assert_eq!(server.client().with_authorization(&alice.authorization).doors().await, [200; 3]);
}

#[tokio::test]
async fn a_token_of_one_database_is_worth_nothing_at_another_with_the_same_secret() {
    let (one, other) = (TestServer::start().await, TestServer::start().await);
    let alice = one.user("alice", "acme").await;
    other.user("alice", "acme").await;
    assert_eq!(other.client().with_authorization(&alice.authorization).doors().await, [401; 3]);
}

#[tokio::test]
async fn a_new_password_ends_tokens_and_streams_from_before_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    update(&alice.client, "alice", json!({ "password": password_of("new") })).await;
    assert_eq!(alice.doors().await, [401; 3]);
    stream.ends_now().await;
    let jwt = alice.client.login("alice", &password_of("new")).await.jwt();
    assert_eq!(doors(&alice, &jwt).await, [200; 3]);
}

#[tokio::test]
async fn the_same_password_set_anew_ends_tokens_too() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    update(&alice.client, "alice", json!({ "password": password_of("alice") })).await;
    assert_eq!(alice.doors().await, [401; 3]);
}

#[tokio::test]
async fn a_change_that_has_nothing_to_do_with_signing_in_leaves_tokens_and_streams() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    update(&alice.client, "alice", json!({ "data": 1, "email": "a@example.com", "scopes": ["news:get"] })).await;
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
}

#[tokio::test]
async fn after_a_move_to_another_tenant_nothing_of_the_old_one_is_seen() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let mut stream = alice.stream().await;
    update(&alice.client, "alice", json!({ "tenant_name": "other" })).await;
    bob.insert("news", json!("of acme")).await;
    let id = mallory.insert("news", json!("of other")).await;
    // The stream goes on there, and the token is as good as before.
    assert_eq!(stream.next().await.id, id);
    for user in [alice.clone(), alice.client.sign_in("alice").await] {
        let mut seen = user.everything().await;
        seen.remove("mark");
        assert!(seen.values().map(|event| &event.id).eq([&id]), "{seen:?}");
    }
}

#[tokio::test]
async fn a_user_as_large_as_may_be_is_revoked_signs_in_and_resets_every_time() {
    let server = TestServer::start().await;
    let client = server.client();
    // The largest that is taken, to the byte: a user's record ends with what the server writes.
    let (mut fits, mut too_large) = (90 << 10, 100 << 10);
    while fits + 1 < too_large {
        let size = usize::midpoint(fits, too_large);
        let data = json!({ "data": "x".repeat(size), "two_factor": true });
        let answer = client.create_user_with(&format!("u{size:06}"), "acme", data).await;
        match answer.status {
            200 => fits = size,
            _ => too_large = size,
        }
    }
    let username = &format!("u{fits:06}");
    let app = Authenticator::scan(&client, username, "Acme").await;
    for _ in 0..50 {
        revoke(&client, username).await;
        unrevoke(&client, username).await;
    }
    login_with_code(&client, username, &app.code(step())).await.ok();
    let code = reset_code(&client, username).await;
    reset(&client, username, &password_of("new"), &other_than(&code)).await.refused(401, "unauthorized");
    reset(&client, username, &password_of("new"), &code).await.ok();
    update(&client, username, json!({ "two_factor": false, "password": password_of("newer") })).await;
    client.login(username, &password_of("newer")).await.ok();
}

#[tokio::test]
async fn a_token_counts_from_its_nbf_on_and_not_where_it_has_a_crit() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let iat = claims(alice.jwt())["iat"].as_u64().unwrap();
    for (nbf, expected) in [(json!(iat - 1), 200), (json!(iat + 3600), 401), (json!("soon"), 401)] {
        let mut claims = claims(alice.jwt());
        claims["nbf"] = nbf;
        let jwt = forge(&claims, Algorithm::HS256, JWT_SECRET);
        // Twice, since what is right is remembered.
        for _ in 0..2 {
            assert_eq!(doors(&alice, &jwt).await, [expected; 3], "{claims}");
        }
    }
    for crit in [vec!["b64".to_owned()], vec!["exp".to_owned()], Vec::new()] {
        let header = Header { crit: Some(crit), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
        let jwt = jsonwebtoken::encode(&header, &claims(alice.jwt()), &key).unwrap();
        assert_eq!(doors(&alice, &jwt).await, [401; 3], "{header:?}");
    }
}

#[tokio::test]
async fn a_token_tells_tenant_and_id_and_the_scopes_in_aud() {
    let server = TestServer::start().await;
    let more = json!({ "scopes": ["news:get", "a b:c"] });
    server.client().create_user_with("alice", "acme", more).await.ok();
    let shown = server.client().admin("/get_user", json!({ "username": "alice" })).await.ok().json();
    let said = claims(server.client().sign_in("alice").await.jwt());
    assert_eq!((&said["tenant_name"], &said["id"]), (&json!("acme"), &shown["id"]));
    assert_eq!((&said["aud"], &said["scope"]), (&json!("news:get,a b:c"), &Value::Null));
}

#[tokio::test]
async fn with_an_audience_the_scopes_are_in_scope_and_earlier_tokens_hold() {
    let server = TestServer::start().await;
    let more = json!({ "scopes": ["news:get", "a b:c", "chat:post"] });
    server.client().create_user_with("alice", "acme", more).await.ok();
    server.client().create_user("bob", "acme").await;
    let before = server.client().sign_in("alice").await;
    let server = server
        .end_and_restart_with(|directory| command(&["--jwt_audience=https://api.example".to_owned()], directory))
        .await;
    let (alice, bob) = (server.client().sign_in("alice").await, server.client().sign_in("bob").await);
    let (of_alice, of_bob) = (claims(alice.jwt()), claims(bob.jwt()));
    assert_eq!(of_alice["aud"], "https://api.example");
    // What has a blank in it would be read as two others.
    assert_eq!(of_alice["scope"], "news:get chat:post");
    assert_eq!((&of_bob["aud"], &of_bob["scope"]), (&json!("https://api.example"), &Value::Null));
    // As a service would that uses a library as it comes.
    let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
    validation.set_audience(&["https://api.example"]);
    let key = jsonwebtoken::DecodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::decode::<Value>(alice.jwt(), &key, &validation).unwrap();
    assert_eq!(alice.verify().await.ok().json()["scopes"], json!(["news:get", "a b:c", "chat:post"]));
    assert_eq!(doors(&alice, before.jwt()).await, [200; 3]);
}

#[tokio::test]
async fn scopes_that_would_make_a_token_too_long_for_a_header_are_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    let scopes = |count: usize| -> Vec<_> { (0..count).map(|number| format!("news/{number:090}:get")).collect() };
    let create =
        async |count: usize| client.create_user_with("alice", "acme", json!({ "scopes": scopes(count) })).await;
    create(950).await.refused(400, "scopes_too_large");
    create(10).await.ok();
    // What was let in can be sent by whatever takes lines of 8 KiB.
    let most = {
        let update = async |count: usize| {
            client.admin("/update_user", json!({ "username": "alice", "scopes": scopes(count) })).await
        };
        let mut most = 10;
        while update(most + 1).await.status == 200 {
            most += 1;
        }
        update(most + 1).await.refused(400, "scopes_too_large");
        update(950).await.refused(400, "scopes_too_large");
        most
    };
    let alice = client.sign_in("alice").await;
    let line = format!("authorization: {}\r\n", alice.authorization);
    assert!(line.len() < (8 << 10) && line.len() > (5 << 10), "{most} scopes make {} bytes", line.len());
    assert_eq!(alice.doors().await, [200; 3]);
    let shown = client.admin("/get_user", json!({ "username": "alice" })).await.ok().json();
    assert_eq!(shown["scopes"].as_array().unwrap().len(), most);
}
