//! Guards existing clients: the unmodified broker-client 0.0.8 and the drop-in for it in Node and in headless Chromium, and Chromium's own
//! `EventSource`. The programs are in `tests/clients`.

mod middleman;
mod program;

use serde_json::{Value, json};

use crate::support::{TestServer, User, free_port, revoke, within};
use middleman::Middleman;
use program::{Host, Program, Report, Seen};

#[tokio::test]
async fn broker_client_in_node_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::Node).await;
}

#[tokio::test]
async fn the_drop_in_in_node_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::DropInNode).await;
}

#[tokio::test]
async fn broker_client_in_chromium_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::Chromium).await;
}

#[tokio::test]
async fn the_drop_in_in_chromium_gets_the_latest_event_of_each_name_and_then_every_insert() {
    the_latest_event_of_each_name_and_then_every_insert(Host::DropInChromium).await;
}

async fn the_latest_event_of_each_name_and_then_every_insert(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    server.user("mallory", "elsewhere").await.insert("null", json!("not of this tenant")).await;
    let mut latest = Vec::new();
    for (name, data) in samples() {
        bob.insert(name, json!("superseded")).await;
        latest.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }

    let mut program = Program::sign_in(host, &server, &server.url, &["emoji", "null"]).await;
    let mut snapshot = Vec::new();
    let mut named = Vec::new();
    while snapshot.len() < latest.len() {
        match program.next().await {
            Report::Read => {}
            Report::Message(seen) => snapshot.push(seen),
            Report::Listener(seen) => named.push(seen.name),
            other => panic!("{other:?}"),
        }
    }
    assert_same(&snapshot, &latest);
    assert_eq!(named, ["null", "emoji"]);

    // Somebody else's inserts.
    for (name, data) in samples() {
        let id = insert_exactly(&bob, name, data).await;
        let seen = Seen { name: name.into(), id, data: data.into() };
        assert_same(&[program.message().await], &[seen]);
    }
    // And its own.
    for (name, data) in samples() {
        let data: Value = serde_json::from_str(data).unwrap();
        program.command(&json!({ "event": name, "data": data }));
        let (seen, id) = program.message_and_insert().await;
        assert_eq!((seen.name.as_str(), &seen.id, seen.json()), (name, &id, data));
    }
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::Node).await;
}

#[tokio::test]
async fn the_drop_in_in_node_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::DropInNode).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::Chromium).await;
}

#[tokio::test]
async fn the_drop_in_in_chromium_takes_several_frames_in_one_read() {
    several_frames_in_one_read(Host::DropInChromium).await;
}

async fn several_frames_in_one_read(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut latest = Vec::new();
    for (name, data) in samples() {
        latest.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;

    let snapshot = middleman.frames(samples().len()).await.concat();
    program.reads(&middleman, &snapshot, &latest).await;

    let mut live = Vec::new();
    for (name, data) in samples() {
        live.push(Seen { name: name.into(), id: insert_exactly(&bob, name, data).await, data: data.into() });
    }
    let frames = middleman.frames(samples().len()).await;
    // One and a half, then the rest of that one and all others.
    let (beginning, rest) = (frames[..2].concat(), frames[2..].concat());
    let (one_and_a_half, half) = beginning.split_at(frames[0].len() + frames[1].len() / 2);
    program.reads(&middleman, one_and_a_half, &live[..1]).await;
    program.reads(&middleman, &[half, &rest].concat(), &live[1..]).await;
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::Node).await;
}

#[tokio::test]
async fn the_drop_in_in_node_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::DropInNode).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::Chromium).await;
}

#[tokio::test]
async fn the_drop_in_in_chromium_takes_one_frame_in_several_reads() {
    one_frame_in_several_reads(Host::DropInChromium).await;
}

async fn one_frame_in_several_reads(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;
    for (name, data) in samples() {
        let id = insert_exactly(&bob, name, data).await;
        let frame = middleman.frames(1).await.concat();
        // Byte by byte; only the two line breaks at the end stay together, since the client breaks on them.
        let (pieces, end) = frame.split_at(frame.len() - 2);
        for piece in pieces.chunks(1) {
            program.reads(&middleman, piece, &[]).await;
        }
        let seen = Seen { name: name.into(), id, data: data.into() };
        program.reads(&middleman, end, &[seen]).await;
    }
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::Node).await;
}

#[tokio::test]
async fn the_drop_in_in_node_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::DropInNode).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::Chromium).await;
}

#[tokio::test]
async fn the_drop_in_in_chromium_takes_events_of_a_mebibyte() {
    events_of_a_mebibyte(Host::DropInChromium).await;
}

async fn events_of_a_mebibyte(host: Host) {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let bob = server.user("bob", "acme").await;
    let large = ['x', '日'].map(|letter| json!(letter.to_string().repeat((1_048_000 - 2) / letter.len_utf8())));
    let insert = async |data: &Value| {
        let id = bob.insert("large", data.clone()).await;
        Seen { name: "large".into(), id, data: data.to_string() }
    };
    let first = insert(&large[0]).await;
    let mut program = Program::sign_in(host, &server, &server.url, &[]).await;
    assert!(program.message().await == first, "the latest event is another");
    for data in &large {
        let sent = insert(data).await;
        let seen = program.message().await;
        assert!(seen.id == sent.id && seen.json() == sent.json(), "{} is another", seen.id);
    }
    // What is small comes as before.
    let sent = insert_number(&bob, 7).await;
    assert_same(&[program.message().await], &[sent]);
    program.finish().await;
}

#[tokio::test]
async fn broker_client_in_node_takes_events_in_envelopes() {
    events_in_envelopes(Host::Node).await;
}

#[tokio::test]
async fn the_drop_in_in_node_takes_events_in_envelopes() {
    events_in_envelopes(Host::DropInNode).await;
}

#[tokio::test]
async fn broker_client_in_chromium_takes_events_in_envelopes() {
    events_in_envelopes(Host::Chromium).await;
}

#[tokio::test]
async fn the_drop_in_in_chromium_takes_events_in_envelopes() {
    events_in_envelopes(Host::DropInChromium).await;
}

async fn events_in_envelopes(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("zoë", "acme").await;
    // The program puts its own `/sse` behind this: as the value of a parameter that is ignored.
    let stream = format!("{}/sse?envelope=true&ignored=", server.url);
    let mut program = Program::sign_in(host, &server, &stream, &[]).await;
    for (name, data) in samples() {
        let id = insert_exactly(&bob, name, data).await;
        let seen = program.message().await;
        assert_eq!((seen.name.as_str(), &seen.id), (name, &id));
        let listed = bob.get("/events").await.ok().json();
        assert!(listed.as_array().unwrap().contains(&seen.json()), "{seen:?} is not in {listed}");
    }
    program.finish().await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_broker_client_in_node_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::Node).await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_the_drop_in_in_node_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::DropInNode).await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_broker_client_in_chromium_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::Chromium).await;
}

#[tokio::test]
async fn a_heartbeat_is_no_event_to_the_drop_in_in_chromium_and_spoils_none() {
    a_heartbeat_is_no_event_and_spoils_none(Host::DropInChromium).await;
}

async fn a_heartbeat_is_no_event_and_spoils_none(host: Host) {
    let server = TestServer::start().await;
    let bob = server.user("bob", "acme").await;
    let mut middleman = Middleman::start(&server).await;
    let mut program = Program::sign_in(host, &server, &middleman.url, &[]).await;

    let heartbeat: &[u8] = &middleman.some_bytes().await;
    assert_eq!(String::from_utf8_lossy(heartbeat), ":\n");
    program.reads(&middleman, heartbeat, &[]).await;
    // What the server sent once may come at any time, and in any company.
    let mut seen = Vec::new();
    let mut frames = Vec::new();
    for (name, data) in &samples()[..5] {
        seen.push(Seen { name: (*name).into(), id: insert_exactly(&bob, name, data).await, data: (*data).into() });
        frames.extend(middleman.frames(1).await);
    }
    program.reads(&middleman, &frames[0], &seen[..1]).await;
    program.reads(&middleman, &[heartbeat, heartbeat, &frames[1]].concat(), &seen[1..2]).await;
    program.reads(&middleman, &[&frames[2], heartbeat].concat(), &seen[2..3]).await;
    program.reads(&middleman, &heartbeat[..1], &[]).await;
    program.reads(&middleman, &heartbeat[1..], &[]).await;
    program.reads(&middleman, &[&frames[3], heartbeat, &frames[4]].concat(), &seen[3..]).await;
    program.finish().await;
}

#[tokio::test]
async fn chromium_keeps_a_page_of_another_origin_from_signing_in() {
    let server = TestServer::start_with(&["--origin=https://page.example"]).await;
    server.client().create_user("alice", "acme").await;
    let mut program = Program::start(Host::Chromium, &server, &server.url, &[]);
    let report = program.next().await;
    assert!(matches!(&report, Report::Failed { error } if error.contains("Failed to fetch")), "{report:?}");
    program.finish().await;
}

#[tokio::test]
async fn chromiums_own_event_source_gets_every_event_once_and_in_order_through_a_kill_and_a_stop() {
    let (port, page) = (free_port(), free_port());
    let flags = [format!("--port={port}"), format!("--origin=http://127.0.0.1:{page}")];
    let mut server = TestServer::start_with(&flags.each_ref().map(String::as_str)).await;
    let mut bob = server.user("bob", "acme").await;
    let mut sent = vec![insert_number(&bob, 0).await];
    let mut program = Program::sign_in(Host::EventSource { page }, &server, &server.url, &["news"]).await;
    assert_eq!(program.next().await, Report::Opened);
    let mut seen = vec![program.message().await];
    for signal in ["KILL", "TERM"] {
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
            seen.push(program.message().await);
        }
        server.signal(signal);
        server.ended().await;
        assert_eq!(program.next().await, Report::Reconnecting);
        server = server.restart().await;
        bob = server.client().with_authorization(&bob.authorization);
        // The browser waits for some seconds before it comes back.
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
        }
        program.opened_again().await;
        while seen.len() < sent.len() {
            seen.push(program.message().await);
        }
        assert_same(&seen, &sent);
    }
    // A revoked user is not let in again, and the browser gives up.
    revoke(&server.client(), "alice").await;
    assert_eq!([program.next().await, program.next().await], [Report::Reconnecting, Report::Closed]);
    program.finish().await;
}

#[tokio::test]
async fn ws_of_npm_gets_every_event_once_and_in_order_through_a_kill_and_a_stop() {
    every_event_over_a_socket_through_a_kill_and_a_stop(Host::Ws).await;
}

#[tokio::test]
async fn chromiums_own_websocket_gets_every_event_once_and_in_order_through_a_kill_and_a_stop() {
    every_event_over_a_socket_through_a_kill_and_a_stop(Host::WebSocket).await;
}

async fn every_event_over_a_socket_through_a_kill_and_a_stop(host: Host) {
    let port = free_port();
    let mut server = TestServer::start_with(&[&format!("--port={port}")]).await;
    let mut bob = server.user("bob", "acme").await;
    let mut sent = vec![insert_number(&bob, 0).await];
    let mut program = Program::sign_in(host, &server, &server.url, &["news", "other"]).await;
    let mut seen = Vec::new();
    let mut is_open = false;
    while seen.is_empty() || !is_open {
        match program.next().await {
            Report::Opened => is_open = true,
            Report::Message(message) => seen.push(message),
            other => panic!("{other:?}"),
        }
    }
    for signal in ["KILL", "TERM"] {
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
            seen.push(program.message().await);
        }
        // Its own insert, over the same connection.
        program.command(&json!({ "event": "news", "data": sent.len() }));
        let (own, id) = program.message_and_insert().await;
        assert_eq!((own.id.as_str(), own.json()), (id.as_str(), json!(sent.len())));
        sent.push(own.clone());
        seen.push(own);
        server.signal(signal);
        server.ended().await;
        assert_eq!(program.next().await, Report::Reconnecting);
        server = server.restart().await;
        bob = server.client().with_authorization(&bob.authorization);
        for _ in 0..5 {
            sent.push(insert_number(&bob, sent.len()).await);
        }
        let mut is_open = false;
        while seen.len() < sent.len() || !is_open {
            match program.next().await {
                Report::Opened => is_open = true,
                Report::Reconnecting => {}
                Report::Message(message) => seen.push(message),
                other => panic!("{other:?}"),
            }
        }
        assert_same(&seen, &sent);
    }
    revoke(&server.client(), "alice").await;
    assert_eq!(program.next().await, Report::Closed);
    program.finish().await;
}

#[tokio::test]
async fn websockets_of_pypi_inserts_and_receives_over_one_connection() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = tokio::process::Command::new(root.join("target/python/bin/python"));
    command.current_dir(root.join("tests/clients")).arg("broker_v1.py").arg(format!("ws://{}/ws", server.address()));
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("tests/run.sh installs all that the tests need");
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{}\n", alice.jwt()).as_bytes()).await.unwrap();
    drop(stdin);
    let output = within("the program", child.wait_with_output()).await.unwrap();
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(said, "100 events, 1000\n", "{complained}");
}

/// Event names, and data as it must arrive but for the form of its non-ASCII characters.
fn samples() -> [(&'static str, &'static str); 11] {
    [
        ("null", "null"),
        ("umlauts", r#"{"Grüße":"aus Köln, süß & ähnlich"}"#),
        ("emoji", r#"{"text":"😀 👩‍👩‍👧 🇨🇭"}"#),
        ("japanese", r#"["日本語","テスト"]"#),
        ("fields", r#"{"event:":"id: data: retry: x","retry:":["event:a","id:b","data:c","retry:retry:"]}"#),
        ("array", r#"[1,[],{},"two",null,false]"#),
        ("number", "-12.5e-3"),
        ("big number", "123456789012345678901234567890.10"),
        ("chat/room 1", r#"{"z":1,"a":{"y":2,"b":3}}"#),
        ("lines", r#""one\ntwo\r\n\u0000 \"three\" \\ ""#),
        ("empty", r#""""#),
    ]
}

/// Inserts data just as it is written here, which serde_json might not keep; gives the id.
async fn insert_exactly(user: &User, event: &str, data: &str) -> String {
    let answer = user.insert_raw(format!(r#"{{"event":{},"data":{data}}}"#, json!(event))).await.ok();
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Inserts a number, always by the same name.
async fn insert_number(user: &User, number: usize) -> Seen {
    let data = number.to_string();
    Seen { name: "news".to_owned(), id: insert_exactly(user, "news", &data).await, data }
}

/// The same names and ids, and data that means the same and, where it is written in ASCII, is written the same.
#[track_caller]
pub fn assert_same(seen: &[Seen], sent: &[Seen]) {
    let essence = |seen: &Seen| (seen.name.clone(), seen.id.clone(), seen.json());
    assert_eq!(seen.iter().map(essence).collect::<Vec<_>>(), sent.iter().map(essence).collect::<Vec<_>>());
    for (seen, sent) in seen.iter().zip(sent) {
        assert!(seen.data.is_ascii(), "{seen:?}");
        // `retry:` needs an escape, for the sake of this client.
        if sent.data.is_ascii() && !sent.data.contains("retry:") {
            assert_eq!(seen.data, sent.data);
        }
    }
}
