//! Guards the form of frames: each that can be read is answered by its number, and a wrong one spoils no other.

use serde_json::{Value, json};

use crate::support::{Socket, TestServer};

async fn of_alice(server: &TestServer) -> Socket {
    server.user("alice", "acme").await.socket(json!({ "events": "" })).await
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_told_so_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut socket = of_alice(&server).await;
    for (text, reference, code, why) in [
        ("", Value::Null, "body_invalid", "not a JSON object"),
        ("[1]", Value::Null, "body_invalid", "not a JSON object"),
        ("\"insert\"", Value::Null, "body_invalid", "not a JSON object"),
        ("{", Value::Null, "body_invalid", "ends too early"),
        ("{\"do\":\"ping\" \"ref\":1}", Value::Null, "body_invalid", "not JSON at line 1"),
        ("{\"do\":\"ping\"}", Value::Null, "body_invalid", "missing field `ref`"),
        ("{\"do\":\"ping\",\"ref\":\"1\"}", Value::Null, "body_invalid", "wrong type"),
        ("{\"do\":\"ping\",\"ref\":-1}", Value::Null, "body_invalid", "wrong type"),
        ("{\"ref\":91}", json!(91), "body_invalid", "missing field `do`"),
        ("{\"ref\":92,\"do\":\"dance\"}", json!(92), "command_unknown", "the command must be"),
        ("{\"ref\":93,\"do\":\"insert\"}", json!(93), "body_invalid", "missing field `event`"),
        ("{\"ref\":94,\"do\":\"insert\",\"event\":\"a\"}", json!(94), "body_invalid", "missing field `data`"),
        ("{\"ref\":95,\"do\":\"insert\",\"events\":{}}", json!(95), "body_invalid", "not an array"),
        ("{\"ref\":96,\"do\":\"insert\",\"events\":[]}", json!(96), "body_invalid", "1 to 1000"),
        ("{\"ref\":97,\"do\":\"subscribe\"}", json!(97), "body_invalid", "missing field `events`"),
        ("{\"ref\":98,\"do\":\"subscribe\",\"events\":[\"a\"]}", json!(98), "body_invalid", "wrong type"),
        ("{\"ref\":99,\"do\":\"subscribe\",\"event\":\"a\"}", json!(99), "parameter_unknown", "there is no event"),
        ("{\"ref\":100,\"do\":\"renew\"}", json!(100), "body_invalid", "missing field `token`"),
        ("{\"ref\":101,\"do\":\"remove\"}", json!(101), "body_invalid", "missing field `event`"),
    ] {
        socket.send_text(text).await;
        let answer = socket.answer_to(&reference).await;
        assert_eq!((&answer["code"], &answer["ref"]), (&json!(code), &reference), "{text}");
        assert!(answer["error"].as_str().unwrap().contains(why), "{text}: {answer}");
    }
    assert_eq!(socket.ok("ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn a_number_is_the_clients_own_and_fields_that_nobody_knows_are_ignored() {
    let server = TestServer::start().await;
    let mut socket = of_alice(&server).await;
    for reference in [0, 7, 7, (1 << 53) - 1] {
        let frame = json!({ "ref": reference, "do": "ping", "of": "no account", "x": [{}] });
        socket.send_text(&frame.to_string()).await;
        assert_eq!(socket.answer(reference).await, json!({ "ref": reference, "ok": {} }));
    }
    // Escapes are read as such.
    socket.send_text("{\"\\u0064o\":\"p\\u0069ng\",\"ref\":1}").await;
    assert_eq!(socket.answer(1).await["ok"], json!({}));
}

#[tokio::test]
async fn a_binary_message_closes_the_connection_before_and_after_the_sign_in() {
    let server = TestServer::start().await;
    for signed_in in [false, true] {
        let mut socket = if signed_in { of_alice(&server).await } else { Socket::connect(&server.url).await };
        socket.send_binary(b"{\"do\":\"ping\",\"ref\":1}").await;
        assert_eq!(socket.closed().await, Some(1003));
    }
}

#[tokio::test]
async fn a_frame_may_be_as_large_as_the_body_of_an_insert_and_before_the_sign_in_as_a_head() {
    let server = TestServer::start().await;
    let mut socket = of_alice(&server).await;
    let blanks = |bytes: usize| {
        let frame = "{\"do\":\"ping\",\"ref\":1}";
        format!("{frame}{}", " ".repeat(bytes - frame.len()))
    };
    socket.send_text(&blanks(2 << 20)).await;
    assert_eq!(socket.answer(1).await["ok"], json!({}));
    socket.send_text(&blanks((2 << 20) + 1)).await;
    assert_eq!(socket.closed().await, Some(1009));

    let mut socket = Socket::connect(&server.url).await;
    socket.send_text(&blanks(32 << 10)).await;
    assert_eq!(socket.answer(1).await["ok"], json!({}));
    socket.send_text(&blanks((32 << 10) + 1)).await;
    assert_eq!(socket.closed().await, Some(1009));
}
