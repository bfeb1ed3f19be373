//! Guards `/events` while it is read: it ends, and a user that may no longer see it gets no more of it.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::support::{
    Kept, RawStream, TestServer, User, by_password, in_time, move_to, one, password_of, update, within,
};

/// The names that `/events` gives, in the order in which they come. A list without end is read for a while only.
async fn listed(server: &TestServer, user: &User, query: &str) -> Vec<String> {
    let mut response = user.client.http.get(format!("{}/events?{query}", server.url));
    response = response.header("authorization", &user.authorization);
    let mut response = within("an answer", response.send()).await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = within("a chunk", response.chunk()).await.unwrap() {
        body.extend_from_slice(&chunk);
        assert!(body.len() < 8 << 20, "{query} goes on for ever");
    }
    let events: Vec<Kept> = serde_json::from_slice(&body).unwrap();
    events.into_iter().map(|event| event.event).collect()
}

#[tokio::test]
async fn events_that_fill_a_step_are_listed_once_and_the_list_ends() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let large = "x".repeat(70_000);
    let names = ["big", "bigger", "c", "d/1", "d/2"];
    for name in names {
        alice.insert_raw(one(name, large.as_str())).await.ok();
    }
    for (query, expected) in [
        ("events=big", &["big"][..]),
        ("events=d/1,big,c", &["big", "c", "d/1"]),
        ("events=big*,c,big", &["big", "bigger", "c"]),
        ("events=d/2,d/*,b*,z,a", &["big", "bigger", "d/1", "d/2"]),
        ("events=c,d/*&except=d/1,c", &["d/2"]),
        ("", &names),
    ] {
        assert_eq!(listed(&server, &alice, query).await, expected, "{query}");
    }
    let twenty: Vec<String> = (10..30).map(|number| format!("n{number}")).collect();
    for name in &twenty {
        alice.insert_raw(one(name, &large[..10_000])).await.ok();
    }
    assert_eq!(listed(&server, &alice, &format!("events={}", twenty.join(","))).await, twenty);
}

#[tokio::test]
async fn a_list_of_events_that_scopes_name_ends_too() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let scopes = json!({ "scopes": ["*:post", "big:get", "c:get", "d/*:get", "u/{username}:get", "a:get"] });
    server.client().create_user_with("alice", "acme", scopes).await.ok();
    let alice = server.client().sign_in("alice").await;
    let large = "x".repeat(70_000);
    for name in ["big", "c", "d/1", "d/2", "e", "u/alice", "u/bob", "@alice/x"] {
        alice.insert_raw(one(name, large.as_str())).await.ok();
    }
    assert_eq!(listed(&server, &alice, "").await, ["@alice/x", "big", "c", "d/1", "d/2", "u/alice"]);
}

/// More than all buffers between the server and a client that does not read.
const NAMES: usize = 360;
const LATE: &str = "what came later";

/// Fills a tenant with what takes a while to be read.
async fn fill(user: &User) {
    let large = "x".repeat(90_000);
    let names: Vec<String> = (0..NAMES).map(|number| format!("name{number:03}")).collect();
    for names in names.chunks(20) {
        let events = names.iter().map(|name| one(name, large.as_str())).collect();
        user.insert_raw(Value::Array(events)).await.ok();
    }
}

/// Has alice begin to read a long list, and go on when `change` and a later insert have been answered; what she got.
async fn slowly(server: &TestServer, alice: &User, bob: &User, change: impl AsyncFnOnce()) -> (String, bool) {
    let answer = RawStream::open_at(server, alice, "/events", Some(4096)).await;
    change().await;
    bob.insert_raw(one(&format!("name{:03}", NAMES - 1), LATE)).await.ok();
    within("the rest", answer.rest()).await
}

/// That an answer was not ended as if it were whole, and has nothing in it from after its reader's rights had changed.
fn was_cut_off((text, is_ended): &(String, bool), what: &str) {
    assert!(!text.contains(LATE), "{what}: later events were given");
    assert!(!is_ended && !text.ends_with(']'), "{what}: it was ended as if it were whole, after {} bytes", text.len());
}

#[tokio::test]
async fn a_list_is_cut_off_where_its_readers_rights_end_while_it_is_read() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    fill(&bob).await;
    // Whose rights stay gets all of it, as it is when it is come to.
    let (text, is_ended) = slowly(&server, &alice, &bob, async || ()).await;
    let whole: Vec<Kept> = serde_json::from_str(&text).unwrap();
    assert!(is_ended && whole.len() == NAMES && text.contains(LATE));
    fill(&bob).await;

    let client = server.client();
    let alice_is = |path: &'static str, more: Value| {
        let client = client.clone();
        async move || {
            let mut body = json!({ "username": "alice" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            client.admin(path, body).await.ok();
        }
    };
    let basic = by_password(&alice.client, "alice", &password_of("alice"));
    let password = format!("{}-2", password_of("alice"));
    let got = slowly(&server, &basic, &bob, alice_is("/update_user", json!({ "password": password }))).await;
    was_cut_off(&got, "another password, with Basic");
    update(&client, "alice", json!({ "password": password_of("alice") })).await;

    let alice = client.sign_in("alice").await;
    let got = slowly(&server, &alice, &bob, alice_is("/update_user", json!({ "tenant_name": "other" }))).await;
    was_cut_off(&got, "another tenant");
    move_to(&client, "alice", "acme").await;

    let got = slowly(&server, &alice, &bob, alice_is("/revoke_user", json!({}))).await;
    was_cut_off(&got, "revoked");
    alice.get("/events").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_list_is_cut_off_where_its_readers_scopes_change_while_it_is_read() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["name*:get"] })).await.ok();
    client.create_user_with("bob", "acme", json!({ "scopes": ["*:post"] })).await.ok();
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    fill(&bob).await;
    for scopes in [json!(["name00*:get"]), json!(["*:get"]), json!([])] {
        let change = async || {
            update(&client, "alice", json!({ "scopes": scopes.clone() })).await;
        };
        was_cut_off(&slowly(&server, &alice, &bob, change).await, &scopes.to_string());
        update(&client, "alice", json!({ "scopes": ["name*:get"] })).await;
        fill(&bob).await;
    }
    // Scopes that let see the same change nothing.
    let change = async || {
        let scopes = json!(["name*:get", "other:post"]);
        update(&client, "alice", json!({ "scopes": scopes })).await;
    };
    let (text, is_ended) = slowly(&server, &alice, &bob, change).await;
    assert!(is_ended && text.contains(LATE));
}

#[tokio::test]
async fn a_list_is_cut_off_where_its_readers_token_expires_while_it_is_read() {
    let server = TestServer::start_with(&["--jwt_expiry=12"]).await;
    let bob = server.user("bob", "acme").await;
    let basic = by_password(&bob.client, "bob", &password_of("bob"));
    fill(&basic).await;
    let alice = server.user("alice", "acme").await;
    let got = slowly(&server, &alice, &basic, async || {
        // It ends when the token does.
        alice.stream_of("/sse?events=none", None).await.rest().await;
    });
    was_cut_off(&got.await, "expired");
}

/// The reader waits for a thread behind many others that read much.
#[tokio::test]
async fn a_reader_with_rights_that_changed_meanwhile_gets_the_answer_to_a_new_request() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let client = server.client();
    client.create_user_with("bob", "acme", json!({ "scopes": ["*:post", "*:get"] })).await.ok();
    let bob = client.sign_in("bob").await;
    bob.insert_raw(one("rare", 1)).await.ok();
    for _ in 0..19 {
        bob.insert_raw((0..1000).map(|number| one("filler", number)).collect::<Value>()).await.ok();
    }
    bob.insert_raw(one("rare", 2)).await.ok();
    let changes = [
        ("scopes", "/update_user", json!({ "scopes": ["other:get"] }), 200),
        ("tenant", "/update_user", json!({ "tenant_name": "other" }), 200),
        ("revoked", "/revoke_user", json!({}), 401),
    ];
    for (name, path, mut change, status) in changes {
        let mut tries = 0;
        in_time("a change before all had been read", async || {
            tries += 1;
            let username = &*format!("{name}{tries}");
            client.create_user_with(username, "acme", json!({ "scopes": ["news:get"] })).await.ok();
            let user = client.sign_in(username).await;
            bob.insert_raw(one("news", "what came before")).await.ok();
            let mut waiting: FuturesUnordered<_> = (0..200)
                .map(|number| match number % 4 {
                    0 => user.get("/history?event=news"),
                    1 => user.get("/events?events=news"),
                    _ => bob.get("/history?event=rare&order=oldest"),
                })
                .collect();
            // One has been answered: the others wait in the server, or soon will.
            waiting.next().await.unwrap().ok();
            change["username"] = json!(username);
            client.admin(path, change.clone()).await.ok();
            let late = format!("{LATE} to {username}");
            bob.insert_raw(one("news", late.as_str())).await.ok();
            let mut refused = 0;
            while let Some(answer) = waiting.next().await {
                assert!(!answer.body.contains(&late), "{username}: {answer:?}");
                assert!(answer.status == 200 || answer.status == status, "{username}: {answer:?}");
                refused += usize::from(answer.status == 401);
            }
            (status == 200 || refused > 0).then_some(())
        })
        .await;
    }
}
