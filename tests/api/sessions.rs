//! Guards `/sessions`: the list of a user's sessions, and how many there may be.

use reqwest::Method;
use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{Client, Session, TestServer, User, by_password, password_of, revoke, unrevoke};

async fn list(user: &User) -> Vec<Value> {
    user.get("/sessions").await.read()
}

fn names(list: &[Value]) -> Vec<&str> {
    list.iter().map(|session| session["session"].as_str().unwrap()).collect()
}

/// Signs in as this program does.
async fn begin_as(client: &Client, username: &str, program: &[u8]) -> Session {
    let body = json!({ "username": username, "password": password_of(username), "refresh": true }).to_string();
    let request = client.http.post(format!("{}/login", client.url)).header("user-agent", program).body(body);
    Session::of(client, crate::support::Answer::of(request.send().await.unwrap()).await)
}

#[tokio::test]
async fn each_session_is_listed_with_when_from_where_and_by_what_the_newest_first() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    client.create_user("bob", "acme").await;
    client.begin_session("bob").await;
    let before = now_millis();
    let phone = begin_as(&client, "alice", "Phone/1.0 (é)".as_bytes()).await;
    let long = format!("{}ü{}", "x".repeat(255), "y".repeat(100));
    let laptop = begin_as(&client, "alice", long.as_bytes()).await;
    let nameless = client.begin_session("alice").await;
    let seen = list(&laptop.user).await;
    assert_eq!(names(&seen), [&nameless.id, &laptop.id, &phone.id].map(|id| id.as_str()));
    assert_eq!(seen[2]["client"], "Phone/1.0 (é)");
    assert_eq!(seen[1]["client"], "x".repeat(255), "cut, but not within a character");
    assert_eq!(seen[0]["client"], Value::Null);
    assert_eq!(seen.iter().map(|session| session["current"] == true).collect::<Vec<_>>(), [false, true, false]);
    for session in &seen {
        let time = |field: &str| session[field].as_u64().unwrap();
        assert!(before <= time("created") && time("created") == time("used") && time("used") <= now_millis());
        assert_eq!(session["address"], "127.0.0.1");
        let mut fields: Vec<_> = session.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["address", "client", "created", "current", "session", "used"]);
    }

    let laptop = laptop.refreshed().await;
    let renewed = list(&laptop.user).await;
    assert_eq!(names(&renewed), names(&seen));
    assert_eq!(renewed[1]["created"], seen[1]["created"]);
    assert!(renewed[1]["used"].as_u64() > seen[1]["used"].as_u64());
    assert_eq!(renewed[1]["client"], Value::Null, "it was renewed by a program without a name");
    // Who has signed in without a session sees them, too.
    for user in [client.sign_in("alice").await, by_password(&client, "alice", &password_of("alice"))] {
        assert!(list(&user).await.iter().all(|session| session["current"] == false));
    }
}

#[tokio::test]
async fn only_sessions_that_live_are_listed_and_only_to_their_user() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, ended) = (client.begin_session("alice").await, client.begin_session("alice").await);
    ended.user.post("/logout", json!({})).await.ok();
    assert_eq!(names(&list(&session.user).await), [&session.id]);
    assert_eq!(list(&server.user("bob", "acme").await).await, [] as [Value; 0]);
    revoke(&client, "alice").await;
    session.user.get("/sessions").await.refused(401, "unauthorized");
    unrevoke(&client, "alice").await;
    assert_eq!(list(&client.sign_in("alice").await).await, [] as [Value; 0]);
    client.get("/sessions").await.refused(401, "unauthorized");
    let head = client.sign_in("alice").await.send(Method::HEAD, "/sessions", &[], None).await.ok();
    assert_eq!(head.body, "");
}

#[tokio::test]
async fn one_session_more_than_a_user_may_have_ends_the_one_that_was_used_longest_ago() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(client.begin_session("alice").await);
    }
    // The oldest is used again.
    let oldest = sessions[0].refreshed().await;
    let mut streams = [sessions[1].user.stream().await, sessions[2].user.stream().await];
    let newest = client.begin_session("alice").await;
    assert_eq!(streams[0].ends_now().await, []);
    sessions[1].refresh().await.refused(401, "session_ended");
    sessions[1].user.verify().await.refused(401, "unauthorized");
    let id = oldest.user.insert("news", json!(1)).await;
    assert_eq!(streams[1].next().await.id, id);
    let list = list(&newest.user).await;
    assert_eq!(list.len(), 100);
    assert!(names(&list).contains(&oldest.id.as_str()) && !names(&list).contains(&sessions[1].id.as_str()));
}
