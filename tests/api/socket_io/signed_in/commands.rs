//! Guards what users do on a socket: inserts with everything that HTTP has, changes of the stream, and later tokens.

use serde_json::{Value, json};

use super::Sio;
use crate::support::{TestServer, until};

#[tokio::test]
async fn an_insert_is_answered_as_over_http_when_it_is_on_disk() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for is_websocket in [false, true] {
        let mut client = Sio::of(&server, &alice, is_websocket, json!({ "events": "" })).await;
        let name = format!("a/{is_websocket}");
        let first = client.ask("insert", json!({ "event": name, "data": 1, "idempotency_key": name })).await;
        let id = first["ok"]["id"].clone();
        assert!(first["ok"]["timestamp"].is_u64() && first["replayed"].is_null(), "{first}");
        let again = client.ask("insert", json!({ "event": name, "data": 1, "idempotency_key": name })).await;
        assert_eq!((&again["ok"]["id"], &again["replayed"]), (&id, &json!(true)));
        let refused = client.ask("insert", json!({ "event": name, "data": 2, "if_none_match": "*" })).await;
        assert_eq!((&refused["code"], &refused["current"]["id"]), (&json!("precondition_failed"), &id), "{refused}");
        let changed = client.ask("insert", json!({ "event": name, "data": 2, "if_match": id })).await;
        assert!(changed["ok"]["id"].is_string());
        let several =
            json!({ "events": [{ "event": "b", "data": 1 }, { "event": "c", "data": 2, "transient": true }] });
        assert_eq!(client.ask("insert", several).await["ok"].as_array().unwrap().len(), 2);
        assert!(client.ask("remove", json!({ "event": name })).await["ok"]["id"].is_string());
        assert_eq!(client.ask("remove", json!({ "event": name })).await["code"], "event_unknown");
        assert_eq!(client.ask("ping", json!({})).await, json!({ "ok": {} }));
    }
    let listed = alice.get("/events").await.ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn a_command_that_is_wrong_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut client = Sio::of(&server, &alice, true, json!({ "events": "" })).await;
    for (command, argument, code) in [
        ("insert", json!(null), "body_invalid"),
        ("insert", json!([{ "event": "a", "data": 1 }]), "body_invalid"),
        ("insert", json!({ "event": "$a", "data": 1 }), "event_name_reserved"),
        ("insert", json!({ "event": "a", "data": 1, "expires_in": 0 }), "expires_in_invalid"),
        ("insert", json!({ "event": "a", "data": "x".repeat(200_000) }), "event_too_large"),
        ("insert", json!({ "event": "a", "data": 1, "if_match": "x" }), "precondition_invalid"),
        ("subscribe", json!({}), "body_invalid"),
        ("subscribe", json!({ "event": "a" }), "parameter_unknown"),
        ("subscribe", json!(""), "filter_invalid"),
        ("subscribe", json!(["a"]), "body_invalid"),
        ("renew", json!({ "token": "abc" }), "unauthorized"),
        ("sign_in", json!({ "token": alice.jwt() }), "signed_in_already"),
        ("dance", json!({}), "command_unknown"),
    ] {
        let answer = client.ask(command, argument).await;
        assert_eq!(answer["code"], code, "{command}: {answer}");
        assert!(answer["error"].is_string());
    }
    let bob = server.user("bob", "acme").await;
    assert_eq!(client.ask("renew", json!({ "token": bob.jwt() })).await["code"], "unauthorized");
    // A client that waits for no answer is told of a refusal all the same.
    client.send(r#"42["insert",{"event":"a"}]"#).await;
    let event = client.event().await;
    assert_eq!((&event[0], &event[1]["code"]), (&json!("$error"), &json!("body_invalid")));
    // Bytes are no JSON.
    client.send(r#"451-9["insert",{"event":"a","data":{"_placeholder":true,"num":0}}]"#).await;
    client.websocket.as_mut().unwrap().send_binary(&[1]).await;
    assert!(client.next().await.starts_with(r#"439[{"error":"#));
    assert_eq!(alice.get("/events").await.ok().json(), json!([]));
}

#[tokio::test]
async fn names_are_added_and_taken_out_in_the_order_in_which_that_is_asked_for() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!("a before")).await;
    for is_websocket in [false, true] {
        alice.insert("b/1", json!("b before")).await;
        let mut client = Sio::of(&server, &alice, is_websocket, json!({ "events": "" })).await;
        assert_eq!(client.ask("subscribe", json!("b/*")).await, json!({ "ok": { "change": 1 } }));
        client.gets("b/1", json!("b before")).await;
        for (command, argument) in [
            ("unsubscribe", json!({ "events": "b/*" })),
            ("subscribe", json!({ "events": "a" })),
            ("unsubscribe", json!("a")),
            ("subscribe", json!("c")),
        ] {
            client.emit(command, argument).await;
        }
        assert_eq!(client.ask("subscribe", json!("c")).await["ok"]["change"], 6);
        for name in ["a", "b/1", "c"] {
            alice.insert(name, json!(format!("{name} before"))).await;
        }
        // What came of `a` meanwhile may be among it.
        let mut event = client.event().await;
        while event[0] == "a" {
            event = client.event().await;
        }
        while event[0] != "c" {
            event = client.event().await;
        }
        alice.insert("a", json!("a before")).await;
        alice.insert("c", json!("last")).await;
        client.gets("c", json!("last")).await;
        alice.remove("c").await.ok();
    }
}

#[tokio::test]
async fn what_is_sent_with_the_sign_in_is_carried_out_after_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(1)).await;
    let mut client = Sio::polling(&server).await;
    let auth = super::auth(&alice, json!({ "events": "" }));
    client
        .send(&format!("40{auth}\u{1e}421[\"subscribe\",\"a\"]\u{1e}422[\"insert\",{{\"event\":\"b\",\"data\":2}}]"))
        .await;
    let mut said = Vec::new();
    while said.len() < 4 {
        said.push(client.next().await);
    }
    said.sort();
    assert!(said[0].starts_with("40{") && said[1].starts_with(r#"42["a",1,"#), "{said:?}");
    assert!(
        said[2].starts_with(r#"431[{"ok":{"change":1}}]"#) && said[3].starts_with(r#"432[{"ok":{"id":"#),
        "{said:?}"
    );
}

#[tokio::test]
async fn events_that_last_while_connected_go_when_the_client_does_and_not_by_an_upgrade() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut client = Sio::of(&server, &alice, false, json!({ "events": "x" })).await;
    let here = json!({ "event": "here", "data": 1, "while_connected": true });
    assert!(client.ask("insert", here.clone()).await["ok"]["id"].is_string());
    client.upgrade(&server).await;
    alice.insert("x", json!(1)).await;
    client.gets("x", json!(1)).await;
    let there = json!({ "event": "there", "data": 1, "while_connected": true });
    assert!(client.ask("insert", there).await["ok"]["id"].is_string());
    assert_eq!(alice.get("/events?events=here").await.ok().json()[0]["event"], "here");
    drop(client);
    until("both to go", async || {
        let listed: Value = alice.get("/events?events=here,there").await.ok().json();
        (listed == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn inserts_beyond_those_in_flight_wait_and_all_are_done_in_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut client = Sio::of(&server, &alice, true, json!({ "events": "n" })).await;
    for number in 0..1000 {
        client.emit("insert", json!({ "event": "n", "data": number, "transient": true })).await;
    }
    let (mut number, mut answers) = (0, 0);
    while number < 1000 || answers < 1000 {
        let packet = client.next().await;
        if packet.starts_with("43") {
            answers += 1;
        } else {
            assert!(packet.starts_with(&format!(r#"42["n",{number},"#)), "{packet}");
            number += 1;
        }
    }
}

#[tokio::test]
async fn refusals_with_large_events_do_not_pile_up() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("large", json!("x".repeat(100_000))).await;
    let mut client = Sio::of(&server, &alice, true, json!({ "events": "" })).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    for number in 0..200 {
        client.emit("insert", json!({ "event": "large", "data": number, "if_none_match": "*" })).await;
    }
    for _ in 0..200 {
        assert!(client.next().await.contains("precondition_failed"));
    }
    let taken = server.peak_above(before);
    assert!(taken < 32, "{taken} MiB");
}

#[tokio::test]
async fn commands_that_are_sent_at_once_are_carried_out_in_their_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for is_websocket in [false, true] {
        let ticket = alice.post("/sse_ticket", "").await.ok().json()["ticket"].clone();
        let mut client = if is_websocket { Sio::websocket(&server).await } else { Sio::polling(&server).await };
        // The insert is allowed by the token before it, which waits for the stream to open.
        let packets = [
            format!("40{}", json!({ "ticket": ticket, "events": "" })),
            format!("421{}", json!(["subscribe", "a"])),
            format!("422{}", json!(["renew", { "token": alice.jwt() }])),
            format!("423{}", json!(["insert", { "event": "a", "data": 1, "transient": true }])),
        ];
        if is_websocket {
            for packet in packets {
                client.send(&packet).await;
            }
        } else {
            client.send(&packets.join("\x1e")).await;
        }
        let (mut inserted, mut event) = (false, false);
        while !(inserted && event) {
            let packet = client.next().await;
            inserted |= packet.starts_with("433[{\"ok\":");
            event |= packet.starts_with("42[\"a\",1,");
            assert!(!packet.contains("ticket_reads_only"), "{packet}");
        }
    }
}
