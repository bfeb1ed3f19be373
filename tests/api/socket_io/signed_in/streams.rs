//! Guards the stream of a user's socket: what it gives and in which form, also through an upgrade, to slow readers, and to its end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Sio, auth};
use crate::support::{TestServer, revoke, until, within};

#[tokio::test]
async fn an_event_is_an_event_of_its_name_with_its_data_and_what_is_known_of_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("chat/1", json!({ "text": "before" })).await;
    for is_websocket in [false, true] {
        let mut client = Sio::of(&server, &alice, is_websocket, json!({})).await;
        let event = client.event().await;
        assert_eq!((&event[0], &event[1]), (&json!("chat/1"), &json!({ "text": "before" })));
        let known = event[2].as_object().unwrap();
        assert!(
            known["id"].is_string() && known["timestamp"].is_u64() && known["username"] == "alice" && known.len() == 3
        );
        alice.insert_raw(r#"{"event": "cursor", "data": [1.50], "transient": true}"#).await.ok();
        let packet = client.next().await;
        assert!(
            packet.starts_with(r#"42["cursor",[1.50],{"#) && packet.ends_with(r#","transient":true}]"#),
            "{packet}"
        );
        alice.insert("gone", json!(1)).await;
        client.gets("gone", json!(1)).await;
        alice.remove("gone").await.ok();
        let event = client.event().await;
        assert_eq!((&event[1], &event[2]["removed"]), (&Value::Null, &json!(true)));
        // Names of the libraries come as others.
        alice.insert("disconnect", json!("you")).await;
        client.gets("$event/disconnect", json!("you")).await;
        alice.remove("disconnect").await.ok();
        client.gets("$event/disconnect", Value::Null).await;
    }
}

#[tokio::test]
async fn marks_presence_filters_and_resuming_are_as_on_other_streams() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("a/1", json!(1)).await;
    alice.insert("a/2", json!(2)).await;
    alice.insert("b", json!(3)).await;
    let options = json!({ "events": "a/*", "except": "a/2", "marks": true, "presence": true });
    let mut client = Sio::of(&server, &alice, true, options).await;
    let mut seen = BTreeMap::new();
    while !seen.contains_key("$synced") || !seen.contains_key("$presence/alice") {
        let event = client.event().await;
        assert!(event[2]["id"].is_string(), "{event}");
        seen.insert(event[0].as_str().unwrap().to_owned(), event);
    }
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["$presence/alice", "$synced", "a/1"]);
    let mut client = Sio::of(&server, &alice, true, json!({ "after": first })).await;
    client.gets("a/2", json!(2)).await;
    client.gets("b", json!(3)).await;
}

#[tokio::test]
async fn an_upgrade_in_the_middle_of_a_snapshot_loses_nothing_and_gives_nothing_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let large = "x".repeat(3000);
    let of =
        |name: &str, number: usize| json!({ "event": format!("{name}/{number}"), "data": format!("{number} {large}") });
    // What a snapshot leaves out of `a` would come with every event, and `b` is behind where it is when `b` is added.
    for name in ["b", "a", "a"] {
        for part in 0..4 {
            let events: Vec<Value> = (part * 50..part * 50 + 50).map(|number| of(name, number)).collect();
            alice.insert_raw(json!(events)).await.ok();
        }
    }
    let mut client = Sio::of(&server, &alice, false, json!({ "events": "a/*" })).await;
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..10 {
        *given.entry(client.event().await[0].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // Added while the other names are being given, and the transport changes.
    client.emit("subscribe", json!("b/*")).await;
    client.upgrade(&server).await;
    for number in 0..100 {
        alice.insert("a/live", json!(number)).await;
    }
    let mut live = 0;
    while live < 100 || given.len() < 401 {
        let packet = client.next().await;
        let Some(event) = packet.strip_prefix("42") else {
            assert!(packet.starts_with("431["), "{packet}");
            continue;
        };
        let event: Value = serde_json::from_str(event).unwrap();
        let name = event[0].as_str().unwrap();
        if name == "a/live" {
            // Of those that came before it was in sync, the last one may be given alone.
            let number = usize::try_from(event[1].as_u64().unwrap()).unwrap();
            assert!(number >= live, "{number} after {live}");
            live = number + 1;
            given.entry(name.to_owned()).or_default();
        } else {
            *given.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(given.iter().all(|(name, times)| *times == 1 || name == "a/live"), "{given:?}");
    // The changes are counted on.
    assert_eq!(client.ask("unsubscribe", json!("b/*")).await["ok"]["change"], 2);
}

#[tokio::test]
async fn a_stream_that_is_live_goes_on_through_an_upgrade() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for _ in 0..5 {
        let mut client = Sio::of(&server, &alice, false, json!({ "events": "n", "snapshot": false })).await;
        let inserting = async {
            for number in 0..60 {
                alice.insert("n", json!(number)).await;
            }
        };
        let reading = async {
            for number in 0..60 {
                if number == 20 {
                    client.upgrade(&server).await;
                }
                client.gets("n", json!(number)).await;
            }
        };
        tokio::join!(inserting, reading);
    }
}

#[tokio::test]
async fn a_revocation_ends_the_stream_before_the_next_event_and_the_client_is_told() {
    let server = TestServer::start().await;
    for (number, (is_websocket, upgrades)) in [(false, false), (true, false), (false, true)].into_iter().enumerate() {
        let name = format!("eve{number}");
        let eve = server.user(&name, "acme").await;
        let other = server.user(&format!("other{number}"), "acme").await;
        let mut client = Sio::of(&server, &eve, is_websocket, json!({ "events": "a", "snapshot": false })).await;
        if upgrades {
            client.upgrade(&server).await;
        }
        other.insert("a", json!("before")).await;
        client.gets("a", json!("before")).await;
        revoke(&server.client(), &name).await;
        other.insert("a", json!("after")).await;
        client.gets("$end", json!({ "reason": "sign_in_over" })).await;
        assert_eq!(client.next().await, "41");
        // By what is left of the session nobody is present, and another user may go on with it.
        until("eve to go", async || {
            let present = other.get("/presence").await.ok().body;
            (!present.contains(&name)).then_some(())
        })
        .await;
        client.send(&format!("40{}", auth(&other, json!({ "events": "a", "snapshot": false })))).await;
        assert!(client.next().await.starts_with("40{"));
        other.insert("a", json!("again")).await;
        client.gets("a", json!("again")).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_gets_nothing_more_and_may_come_back_on_the_same_connection() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    for is_websocket in [false, true] {
        let mut client = Sio::of(&server, &alice, is_websocket, json!({ "snapshot": false })).await;
        alice.insert("a", json!(1)).await;
        client.gets("a", json!(1)).await;
        client.send("41").await;
        until("alice to go", async || {
            let present = alice.get("/presence").await.ok().body;
            (!present.contains("alice")).then_some(())
        })
        .await;
        alice.insert("a", json!(2)).await;
        client.send(&format!("40{}", auth(&bob, json!({ "snapshot": false })))).await;
        assert!(client.next().await.starts_with("40{"));
        alice.insert("a", json!(3)).await;
        client.gets("a", json!(3)).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_given_everything_and_takes_no_memory() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let large = "x".repeat(90_000);
    let mut slow = Vec::new();
    for is_websocket in [false, true, false, true] {
        slow.push(Sio::of(&server, &alice, is_websocket, json!({ "events": "n", "snapshot": false })).await);
    }
    server.forget_peak();
    let before = server.resident_mebibytes();
    let mut next = 0;
    for number in 0..300 {
        let event = json!({ "event": "n", "data": format!("{number} {large}"), "transient": true });
        alice.insert_raw(event).await.ok();
        // A tenth of it, or all that is left.
        while number % 10 == 9 && (next <= number / 10 || number == 299 && next < 300) {
            for client in &mut slow {
                let event = within("an event", client.event()).await;
                assert!(event[1].as_str().unwrap().starts_with(&format!("{next} ")));
            }
            next += 1;
        }
    }
    // The database has its own memory, which grows by what is inserted.
    let taken = server.peak_above(before);
    assert!(taken < 128, "{taken} MiB");
}

#[tokio::test]
async fn of_too_many_streams_the_oldest_is_ended_for_good() {
    let server = TestServer::start_with(&["--streams_per_user=2"]).await;
    let alice = server.user("alice", "acme").await;
    let mut first = Sio::of(&server, &alice, true, json!({})).await;
    let _second = Sio::of(&server, &alice, false, json!({})).await;
    let _third = Sio::of(&server, &alice, true, json!({})).await;
    first.gets("$end", json!({ "reason": "too_many_streams" })).await;
    assert_eq!(first.next().await, "41");
}
