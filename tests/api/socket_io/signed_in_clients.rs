//! Guards users with clients that nobody here wrote: by each transport, through the upgrade, over kills, and with recovery.

use serde_json::{Value, json};

use crate::support::{Saying, TestServer, User, free_port, revoke};

/// A client of a library, and a transport to begin with and one to end with.
struct Case {
    file: &'static str,
    package: &'static [&'static str],
    transports: &'static [&'static str],
}

const JS_4: &[&str] = &["socket.io-client"];
const JS_3: &[&str] = &["socket.io-client-3"];
const BOTH: &[&str] = &["polling", "websocket"];

impl Case {
    fn js(package: &'static [&'static str], transports: &'static [&'static str]) -> Self {
        Self { file: "signed-in.mjs", package, transports }
    }

    fn python(transports: &'static [&'static str]) -> Self {
        Self { file: "signed_in.py", package: &[], transports }
    }

    fn start(&self, server: &TestServer, user: &User, options: Value) -> Saying {
        let auth = super::signed_in::auth(user, options).to_string();
        Saying::start(self.file, &[self.package, &[server.url.as_str(), &auth], self.transports].concat())
    }
}

async fn line(program: &mut Saying) -> Value {
    serde_json::from_str(&program.next().await).unwrap()
}

/// The next event has this name and this data.
async fn gets(program: &mut Saying, name: &str, data: Value) -> Value {
    let event = line(program).await;
    assert_eq!((&event[0], &event[1], &event[2]), (&json!("event"), &json!(name), &data), "{event}");
    event
}

/// The answer to a command.
async fn ask(program: &mut Saying, command: Value) -> Value {
    program.tell(&command.to_string());
    let answer = line(program).await;
    assert_eq!(answer[0], "answer", "{answer}");
    answer[1].clone()
}

/// It has connected; before that it may have been told of a lost connection.
async fn connects(program: &mut Saying) -> bool {
    loop {
        let line = line(program).await;
        if line[0] == "connect" {
            return line[1] == true;
        }
        assert_eq!(line[0], "disconnect", "{line}");
    }
}

/// Everything that a client does, also after the server was killed and started anew.
async fn is_served(case: Case) {
    let port = format!("--port={}", free_port());
    let server = TestServer::start_with(&[&port]).await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    alice.insert("chat/1", json!({ "text": "before" })).await;
    let mut program = case.start(&server, &alice, json!({ "events": "chat/*" }));
    assert!(!connects(&mut program).await);
    let event = gets(&mut program, "chat/1", json!({ "text": "before" })).await;
    assert_eq!(event[3]["username"], "alice", "{event}");
    bob.insert("chat/2", json!("grün \u{1f600}")).await;
    let event = gets(&mut program, "chat/2", json!("grün \u{1f600}")).await;
    assert_eq!(event[3]["username"], "bob");
    let answer = ask(&mut program, json!(["insert", { "event": "other", "data": 1 }])).await;
    assert!(answer["ok"]["id"].is_string(), "{answer}");
    let answer = ask(&mut program, json!(["insert", { "event": "other", "data": 2, "if_none_match": "*" }])).await;
    assert_eq!((&answer["code"], &answer["current"]["data"]), (&json!("precondition_failed"), &json!(1)));
    assert_eq!(ask(&mut program, json!(["subscribe", "cursors"])).await["ok"]["change"], 1);
    bob.insert_raw(json!({ "event": "cursors", "data": [1, 2], "transient": true })).await.ok();
    assert_eq!(gets(&mut program, "cursors", json!([1, 2])).await[3]["transient"], true);
    // What has a meaning of its own in a library does nothing there.
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let rights = ask(&mut program, json!(["subscribe", name])).await;
        assert!(rights["ok"].is_object(), "{rights}");
        bob.insert(name, json!("hello")).await;
        gets(&mut program, &format!("$event/{name}"), json!("hello")).await;
    }
    program.tell("[\"transport\"]");
    assert_eq!(line(&mut program).await, json!(["transport", case.transports.last()]));
    let server = server.end_and_restart(true).await;
    assert!(!connects(&mut program).await);
    let mut again = vec![line(&mut program).await[1].clone(), line(&mut program).await[1].clone()];
    again.sort_by_key(Value::to_string);
    assert_eq!(again, ["chat/1", "chat/2"]);
    revoke(&server.client(), "alice").await;
    let mut last = vec![line(&mut program).await, line(&mut program).await];
    last.sort_by_key(Value::to_string);
    let is_told = last[1][0] == "event" && last[1][2] == json!({ "reason": "sign_in_over" });
    assert!(is_told && last[0][0] == "disconnect", "{last:?}");
}

#[tokio::test]
async fn socket_io_client_4_is_served_over_polling() {
    is_served(Case::js(JS_4, &["polling"])).await;
}

#[tokio::test]
async fn socket_io_client_4_is_served_over_websocket() {
    is_served(Case::js(JS_4, &["websocket"])).await;
}

#[tokio::test]
async fn socket_io_client_4_is_served_through_the_upgrade() {
    is_served(Case::js(JS_4, BOTH)).await;
}

#[tokio::test]
async fn socket_io_client_3_is_served_over_polling() {
    is_served(Case::js(JS_3, &["polling"])).await;
}

#[tokio::test]
async fn socket_io_client_3_is_served_through_the_upgrade() {
    is_served(Case::js(JS_3, BOTH)).await;
}

#[tokio::test]
async fn python_socketio_is_served_over_polling() {
    is_served(Case::python(&["polling"])).await;
}

#[tokio::test]
async fn python_socketio_is_served_over_websocket() {
    is_served(Case::python(&["websocket"])).await;
}

#[tokio::test]
async fn python_socketio_is_served_through_the_upgrade() {
    is_served(Case::python(BOTH)).await;
}

#[tokio::test]
async fn a_wrong_token_is_a_connect_error_with_a_code() {
    let server = TestServer::start().await;
    let arguments = ["socket.io-client", &server.url, r#"{"token":"abc"}"#, "websocket"];
    let mut program = Saying::start("signed-in.mjs", &arguments);
    let error = line(&mut program).await;
    assert_eq!((&error[0], &error[2]), (&json!("connect_error"), &json!({ "code": "unauthorized" })), "{error}");
}

/// A client that was away while events were inserted, the server was killed and started anew, and more were inserted.
async fn is_recovered(transports: &'static [&'static str]) {
    let port = format!("--port={}", free_port());
    let server = TestServer::start_with(&[&port]).await;
    let alice = server.user("alice", "acme").await;
    let mut program = Case::js(JS_4, transports).start(&server, &alice, json!({ "recovery": true, "snapshot": false }));
    assert!(!connects(&mut program).await);
    let mut next = 0;
    // Of one name, and some with a text as their data: nothing but the id may be taken for the offset.
    let insert = async |user: &User, number: usize| {
        user.insert("n", if number.is_multiple_of(2) { json!(number) } else { json!(number.to_string()) }).await;
    };
    let mut server = server;
    let mut user = alice.clone();
    for round in 0..3 {
        for _ in 0..20 {
            insert(&user, next).await;
            let data = if next.is_multiple_of(2) { json!(next) } else { json!(next.to_string()) };
            let event = gets(&mut program, "n", data).await;
            assert_eq!(event[4], event[3]["id"]);
            next += 1;
        }
        let missed = next..next + 40;
        program.pause();
        for number in missed.clone() {
            if number == next + 20 {
                server = server.end_and_restart(round != 1).await;
                user = server.client().sign_in("alice").await;
            }
            insert(&user, number).await;
        }
        program.go_on();
        // What was on its way came before the end of the connection.
        let mut is_back = false;
        while next < missed.end {
            let line = line(&mut program).await;
            match line[0].as_str() {
                Some("event") => {
                    let data = if next.is_multiple_of(2) { json!(next) } else { json!(next.to_string()) };
                    assert_eq!(line[2], data, "{line}");
                    next += 1;
                }
                Some("connect") => {
                    assert_eq!(line[1], true, "it is recovered");
                    is_back = true;
                }
                _ => assert_eq!(line[0], "disconnect", "{line}"),
            }
        }
        assert!(is_back);
    }
}

#[tokio::test]
async fn a_client_over_polling_is_recovered_over_kills_without_a_loss() {
    is_recovered(&["polling"]).await;
}

#[tokio::test]
async fn a_client_over_websocket_is_recovered_over_kills_without_a_loss() {
    is_recovered(&["websocket"]).await;
}

#[tokio::test]
async fn a_client_that_upgrades_is_recovered_over_kills_without_a_loss() {
    is_recovered(BOTH).await;
}
