//! Guards the names of users and tenants: which are valid, which look like another, and those of earlier versions.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestServer, User, earlier_password, move_to, revoke, unrevoke, update};

/// What nobody sees, and what looks like something else than it is.
const UNSEEN: [&str; 10] = [
    "bo\u{200b}b",
    "\u{feff}bob",
    "bob\u{202e}",
    "bob\u{200e}",
    " bob",
    "bob ",
    "\u{3000}",
    " ",
    "bo\u{2028}b",
    "jose\u{301}",
];

async fn create(client: &Client, username: &str, tenant: &str) -> Answer {
    client.create_user_with(username, tenant, json!({})).await
}

async fn sign_in_as_earlier(server: &TestServer, username: &str) -> User {
    let jwt = server.client().login(username, &earlier_password()).await.jwt();
    server.client().with_authorization(&format!("Bearer {jwt}"))
}

#[tokio::test]
async fn a_new_name_is_judged_by_its_appearance() {
    let server = TestServer::start().await;
    let client = server.client();
    for bad in UNSEEN {
        create(&client, bad, "acme").await.refused(400, "username_invalid");
        create(&client, "alice", bad).await.refused(400, "tenant_name_invalid");
    }
    create(&client, "alice/theme", "acme").await.refused(400, "username_invalid");
    for good in ["alice", "Bob Smith", "josé", "日本", "o'neil", "a@b.example"] {
        create(&client, good, "acme/emea").await.ok();
        client.sign_in(good).await.verify().await.ok();
    }
    let body = json!({ "username": "alice", "tenant_name": "acme\u{200b}" });
    client.admin("/update_user", body).await.refused(400, "tenant_name_invalid");
}

#[tokio::test]
async fn a_new_username_looks_like_no_other() {
    let server = TestServer::start().await;
    let client = server.client();
    for name in ["alice", "Ian", "josé", "straße"] {
        create(&client, name, "acme").await.ok();
    }
    // Of another tenant as well: names are unique in the whole database.
    for tenant in ["acme", "other"] {
        for lookalike in ["Alice", "ALICE", "ａlice", "аlice", "aIice", "ian", "lan", "JOSÉ", "STRASSE"] {
            let answer = create(&client, lookalike, tenant).await.refused(400, "username_lookalike");
            assert!(!answer.body.contains("acme"), "{answer:?}");
        }
        create(&client, "alice", tenant).await.refused(400, "username_taken");
    }
    create(&client, "alicia", "acme").await.ok();
    // Over a restart and a kill too.
    for kill in [false, true] {
        let other = TestServer::start().await;
        create(&other.client(), "zoe", "acme").await.ok();
        let other = other.end_and_restart(kill).await;
        create(&other.client(), "ZOE", "acme").await.refused(400, "username_lookalike");
        create(&other.client(), "anna", "ACME").await.refused(400, "tenant_name_lookalike");
    }
}

#[tokio::test]
async fn of_many_that_look_alike_and_are_created_at_once_one_is() {
    let server = TestServer::start().await;
    let client = server.client();
    let usernames = ["zoe", "Zoe", "ZOE", "zOe", "zоe", "ｚoe"];
    let answers = join_all(usernames.map(|username| create(&client, username, "acme"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    let tenants = ["initech", "Initech", "INITECH", "іnitech"];
    let usernames = ["a", "b", "d", "e"];
    let creating = usernames.into_iter().zip(tenants).map(|(username, tenant)| create(&client, username, tenant));
    let answers = join_all(creating).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_new_tenant_looks_like_no_other_and_an_old_one_is_as_it_is() {
    let server = TestServer::start().await;
    let client = server.client();
    create(&client, "alice", "Acme").await.ok();
    create(&client, "bob", "Acme").await.ok();
    create(&client, "carol", "acme").await.refused(400, "tenant_name_lookalike");
    let to =
        async |tenant: &str| client.admin("/update_user", json!({ "username": "bob", "tenant_name": tenant })).await;
    to("acme").await.refused(400, "tenant_name_lookalike");
    to("globex").await.ok();
    to("GLOBEX").await.refused(400, "tenant_name_lookalike");
    to("Acme").await.ok();
    to("globex").await.ok();
    // A tenant may be called like a user.
    create(&client, "dave", "alice").await.ok();
}

#[tokio::test]
async fn users_and_tenants_of_before_keep_their_names() {
    let many: Vec<_> = (0..600).map(|number| format!("member{number}")).collect();
    let mut users = vec![
        ("alice", "acme"),
        ("Alice", "ACME"),
        ("alice ", "acme\u{200b}"),
        ("alice/theme", "acme"),
        ("bo\u{200b}b", "acme"),
        ("jose\u{301}", "acme"),
        ("josé", "acme"),
    ];
    let odd = users.clone();
    users.extend(many.iter().map(|name| (name.as_str(), "acme")));
    let server = TestServer::start().await.with_earlier_users(&users).await;
    let client = server.client();
    for (username, tenant) in odd.iter().chain([&("member599", "acme")]) {
        let user = sign_in_as_earlier(&server, username).await;
        user.verify().await.ok();
        let shown = client.admin("/get_user", json!({ "username": username })).await.ok().json();
        assert_eq!(shown["tenant_name"], *tenant);
        // Its own tenant, by whatever name, is no new one.
        let change = json!({ "username": username, "tenant_name": tenant, "data": 1, "scopes": ["a:get"] });
        client.admin("/update_user", change).await.ok();
        revoke(&client, username).await;
        assert_eq!(user.verify().await.status, 401);
        unrevoke(&client, username).await;
        sign_in_as_earlier(&server, username).await;
    }
    for lookalike in ["ALICE", "Bob", "JOSÉ", "Member599", "ｍember0"] {
        create(&client, lookalike, "acme").await.refused(400, "username_lookalike");
    }
    create(&client, "new", "Acme").await.refused(400, "tenant_name_lookalike");
    for (username, tenant) in [("one", "acme"), ("two", "ACME"), ("three", "acme\u{200b}")] {
        create(&client, username, tenant).await.ok();
    }
}

#[tokio::test]
async fn users_with_a_slash_are_warned_of_in_one_line_at_every_start() {
    let users = [("alice/theme", "acme"), ("a/b", "acme"), ("c/d/e", "acme"), ("alice", "acme")];
    let server = TestServer::start().await;
    assert!(!server.log().contains("in their names"));
    let server = server.with_earlier_users(&users).await;
    let server = server.restart().await;
    let log = server.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_names = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains("a / in their names"));
    let warned: Vec<_> = lines.iter().filter(of_names).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    let line = warned[0];
    assert_eq!((&line["level"], &line["users"], &line["example"]), (&json!("WARN"), &json!(3), &json!("a/b")));
}

#[tokio::test]
async fn a_name_of_several_segments_gets_nothing_by_a_scope_with_the_own_name() {
    let scopes =
        json!(["user/{username}:get", "user/{username}:post", "user/{username}/*:get", "user/{username}/*:post"]);
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let server = server.with_earlier_users(&[("alice/theme", "acme")]).await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": scopes })).await.ok();
    update(&client, "alice/theme", json!({ "scopes": scopes })).await;
    let (alice, other) = (client.sign_in("alice").await, sign_in_as_earlier(&server, "alice/theme").await);
    alice.insert("user/alice/theme", json!("dark")).await;
    alice.insert("user/alice/theme/x", json!("dark")).await;
    for name in ["user/alice/theme", "user/alice/theme/x"] {
        let answer = other.try_insert(name, json!("light")).await;
        assert_eq!((answer.status, answer.code()), (403, "missing_scope".to_owned()));
    }
    assert_eq!(other.get("/events").await.ok().json(), json!([]));
    assert_eq!(alice.get("/events").await.ok().json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_inbox_of_nobody_in_the_tenant_is_404() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.client().create_user("bob", "acme").await;
    server.client().create_user("zoe", "other").await;
    // Somebody of another tenant is as unknown as nobody.
    for inbox in ["@Bob/x", "@BOB/x", "@bob\u{200b}/x", "@zoe/x", "@nobody/x", "@/x", "@bob /x"] {
        alice.try_insert(inbox, json!(1)).await.refused(404, "inbox_unknown");
        let array = json!([{ "event": "news", "data": 1 }, { "event": inbox, "data": 1 }]).to_string();
        alice.insert_raw(array).await.refused(404, "inbox_unknown");
    }
    assert_eq!(alice.get("/events").await.ok().json(), json!([]), "of an array with such a one nothing is inserted");
    for inbox in ["@bob/x", "@bob/x/y", "@alice/x"] {
        alice.insert(inbox, json!(1)).await;
    }
    // Where its owner has gone nobody would see it any more; what is there can be removed.
    move_to(&server.client(), "bob", "other").await;
    alice.try_insert("@bob/x", json!(2)).await.refused(404, "inbox_unknown");
    alice.remove("@bob/x").await.ok();
    server.client().create_user("carol", "acme").await;
    revoke(&server.client(), "carol").await;
    alice.insert("@carol/x", json!(1)).await;
}
