//! Guards `/create_user`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::contract::{bodies, user_object};
use crate::support::{ADMIN_TOKEN, TestServer, command, password_of, reset_code};

const STRONG: &str = "pw-secret-quiet-Osprey-71-lantern";

#[tokio::test]
async fn a_created_user_signs_in() {
    let server = TestServer::start().await;
    let client = server.client();
    assert_eq!(client.create_user("alice", "acme").await.body, "");
    assert_eq!(client.sign_in("alice").await.verify().await.ok().json()["username"], "alice");
}

#[tokio::test]
async fn of_several_errors_the_first_in_the_contract_is_told() {
    let server = TestServer::start_with(&["--password_checker=true"]).await;
    let client = server.client();
    let all_wrong = json!({
        "admin_token": "wrong", "email": "no address", "username": "taken", "password": "password",
        "scopes": ["no scope"], "tenant_name": "acme",
    });
    client.create_user_with("taken", "acme", json!({ "password": STRONG })).await.ok();

    let mut body = all_wrong;
    let first = client.post("/create_user", &body).await.refused(400, "admin_token_incorrect");
    assert_eq!(first.error(), "admin_token is incorrect");
    body["admin_token"] = json!(ADMIN_TOKEN);
    let second = client.post("/create_user", &body).await.refused(400, "email_invalid");
    assert_eq!(second.error(), "email is invalid");
    body["email"] = json!("somebody@example.com");
    let third = client.post("/create_user", &body).await.refused(400, "username_taken");
    assert_eq!(third.error(), "username already taken");
    body["username"] = json!("free");
    let fourth = client.post("/create_user", &body).await.refused(400, "password_weak");
    assert!(fourth.error().starts_with("password is too weak because "), "{fourth:?}");
    body["password"] = json!(STRONG);
    let fifth = client.post("/create_user", &body).await.refused(400, "scopes_invalid");
    assert_eq!(fifth.error(), "scopes are invalid");

    let users = client.admin("/list_users", json!({})).await.ok().json();
    assert_eq!(users.as_array().unwrap().len(), 1, "a refusal makes nobody");
    body["scopes"] = json!(["news:get"]);
    client.post("/create_user", &body).await.ok();
}

#[tokio::test]
async fn a_weak_password_is_refused_with_the_reason_where_there_is_one() {
    let server = TestServer::start_with(&["--password_checker"]).await;
    let of = async |password: &str| {
        let answer = server.client().create_user_with("wintermelon", "acme", json!({ "password": password })).await;
        answer.refused(400, "password_weak").error()
    };
    assert!(of("password").await.starts_with("password is too weak because "));
    assert!(of("wintermelon").await.starts_with("password is too weak"), "it knows the username");
    assert_eq!(of("q7#Vzk2!").await, "password is too weak");
    // Long, and random to look at: but many people have it.
    let common = of("1Q2w3e4r5t6y7u8i9o").await;
    assert_eq!(common, "password is too weak because This is a very common password.");
}

#[tokio::test]
async fn any_password_of_eight_characters_will_do_without_the_checker() {
    let server = TestServer::start().await;
    for (username, password) in
        [("a", "12345678"), ("b", "password1"), ("c", "        "), ("d", "пароль 🔑"), ("e", "pw:with:colons")]
    {
        server.client().create_user_with(username, "acme", json!({ "password": password })).await.ok();
        server.client().login(username, password).await.ok();
    }
}

#[tokio::test]
async fn a_new_password_has_as_many_characters_as_password_min_says_wherever_it_comes_from() {
    for (flag, min) in [(None, 8), (Some("--password_min=1"), 1), (Some("--password_min=64"), 64)] {
        let server = TestServer::start_with(flag.as_slice()).await;
        let client = server.client();
        let long = "é".repeat(min);
        client.create_user_with("alice", "acme", json!({ "password": long })).await.ok();
        client.login("alice", &long).await.ok();
        if min == 1 {
            continue;
        }
        let short = "é".repeat(min - 1);
        let create = client.create_user_with("bob", "acme", json!({ "password": short })).await;
        let update = client.admin("/update_user", json!({ "username": "alice", "password": short })).await;
        let code = reset_code(&client, "alice").await;
        let mut body = json!({ "username": "alice", "password": short, "totp": code });
        let reset = client.post("/password_reset", &body).await;
        for answer in [create, update, reset] {
            let sentence = answer.refused(400, "password_too_short").error();
            assert_eq!(sentence, format!("password must be at least {min} characters"));
        }
        body["password"] = json!(long);
        client.post("/password_reset", &body).await.ok();
    }
}

#[tokio::test]
async fn a_user_with_a_shorter_password_from_before_still_signs_in() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let with = |flag: &'static str| move |directory: &Path| command(&[flag.to_owned()], directory);
    let mut server = TestServer::try_start(Arc::clone(&directory), with("--password_min=1")).await.unwrap();
    server.client().create_user_with("alice", "acme", json!({ "password": "x" })).await.ok();
    server.kill();
    drop(server);
    let server = TestServer::try_start(directory, with("--password_min=8")).await.unwrap();
    server.client().login("alice", "x").await.ok();
}

#[tokio::test]
async fn an_e_mail_address_that_is_malformed_or_disposable_is_refused() {
    let server = TestServer::start().await;
    let create = async |email: &str| server.client().create_user_with("alice", "acme", json!({ "email": email })).await;
    for bad in ["", "alice", "alice@", "@example.com", "a b@example.com", "alice@example.com\n"] {
        let answer = create(bad).await.refused(400, "email_invalid");
        assert_eq!(answer.error(), "email is invalid", "{bad:?}");
    }
    for bad in ["alice@mailinator.com", "alice@x.mailinator.com", "älice@ｍailinator.com"] {
        let answer = create(bad).await.refused(400, "email_disposable");
        assert_eq!(answer.error(), "email is invalid", "{bad:?}");
    }
    create("alice.b+c@mail.example.com").await.ok();
    for (name, relay) in [("bob", "bob@duck.com"), ("carol", "x.y@mozmail.com"), ("dave", "dave@simplelogin.com")] {
        server.client().create_user_with(name, "acme", json!({ "email": relay })).await.ok();
    }
}

#[tokio::test]
async fn an_international_e_mail_address_is_taken_as_it_is_given() {
    let server = TestServer::start().await;
    for (name, email) in [("alice", "user@münchen.de"), ("bob", "用户@例子.中国"), ("carol", "user@xn--mnchen-3ya.de")]
    {
        server.client().create_user_with(name, "acme", json!({ "email": email })).await.ok();
        let user = server.client().admin("/get_user", json!({ "username": name })).await.ok().json();
        assert_eq!(user["email"], email);
    }
}

#[tokio::test]
async fn a_scope_is_two_parts_with_one_colon_between() {
    let server = TestServer::start().await;
    let create =
        async |scopes: Value| server.client().create_user_with("alice", "acme", json!({ "scopes": scopes })).await;
    for bad in ["", ":", "news", "news:", ":get", "news:get:all", "::", "a::b"] {
        for scopes in [json!([bad]), json!(["news:get", bad]), json!([bad, "news:get"])] {
            let answer = create(scopes.clone()).await.refused(400, "scopes_invalid");
            assert_eq!(answer.error(), "scopes are invalid", "{scopes}");
        }
    }
    let good = json!(["news:get", "news:*", "a b:ünï", "\"q\":'q'"]);
    create(good.clone()).await.ok();
    assert_eq!(user_object(&server.client(), "alice").await["scopes"], good);
}

#[tokio::test]
async fn names_and_passwords_that_cannot_be_used_are_refused() {
    let server = TestServer::start().await;
    let create = async |field: &str, value: &str| {
        let mut more = json!({});
        more[field] = json!(value);
        server.client().create_user_with("alice", "acme", more).await
    };
    let long = "x".repeat(257);
    for bad in ["", "a\nb", "a\u{0}b", "a:b", "a/b", &long] {
        create("username", bad).await.refused(400, "username_invalid");
    }
    for bad in ["", "a\nb", "a\u{0}b", &long] {
        create("tenant_name", bad).await.refused(400, "tenant_name_invalid");
    }
    for bad in ["", &"x".repeat(1025)] {
        create("password", bad).await.refused(400, "password_invalid");
    }
    assert_eq!(server.client().admin("/list_users", json!({})).await.ok().json(), json!([]));
}

#[tokio::test]
async fn data_of_a_user_that_is_too_deep_or_too_large_is_refused() {
    let server = TestServer::start().await;
    let create = async |data: &str| {
        let body = format!(
            r#"{{"admin_token":"{ADMIN_TOKEN}","username":"alice","password":"{}","tenant_name":"acme","data":{data}}}"#,
            password_of("alice")
        );
        server.client().request(reqwest::Method::POST, "/create_user", &[], Some(body.into())).await
    };
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    create(&nested(129)).await.refused(400, "data_too_deep");
    create(&format!("\"{}\"", "x".repeat(100 << 10))).await.refused(413, "user_too_large");
    create(&nested(128)).await.ok();
    let shown = server.client().admin("/get_user", json!({ "username": "alice" })).await.ok().body;
    assert!(shown.contains(&nested(128)), "{shown}");
}

#[tokio::test]
async fn nothing_that_create_user_does_needs_more_than_its_required_fields() {
    let server = TestServer::start().await;
    let (_, body) = bodies().into_iter().find(|(path, _)| *path == "/create_user").unwrap();
    let fields: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    let optional: Vec<_> =
        fields.iter().filter(|field| ["email", "data", "scopes", "two_factor"].contains(&field.as_str())).collect();
    assert_eq!(optional.len(), 4);
    for (n, field) in optional.into_iter().enumerate() {
        let mut body = body.clone();
        body["username"] = json!(format!("user{n}"));
        body.as_object_mut().unwrap().remove(field);
        server.client().post("/create_user", &body).await.ok();
        assert_eq!(user_object(&server.client(), &format!("user{n}")).await[field], Value::Null);
    }
}
