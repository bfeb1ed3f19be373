//! Guards the fields of `/insert`, and its answer.

use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{Answer, TestServer, User};

/// Posts JSON text as the data of an event.
async fn insert_text(user: &User, event: &str, data: &str) -> Answer {
    user.insert_raw(format!(r#"{{"event":{},"data":{data}}}"#, json!(event))).await
}

#[tokio::test]
async fn an_insert_answers_with_the_id_that_subscribers_see_and_the_time() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let before = now_millis();
    let answer = alice.try_insert("news", json!(1)).await.ok();
    let after = now_millis();
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    assert_eq!(body["id"], stream.next().await.id);
    let timestamp = body["timestamp"].as_u64().unwrap();
    // The server's clock and this one's are read to the millisecond.
    assert!((before - 2..=after + 2).contains(&timestamp), "{before} {timestamp} {after}");
}

#[tokio::test]
async fn data_is_any_json() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for data in
        ["null", "true", "false", "0", "-1.5e-7", "\"\"", "\"text\"", "[]", "{}", "[null,[[]]]", r#"{"":{"":null}}"#]
    {
        insert_text(&alice, "news", data).await.ok();
        assert_eq!(stream.next().await.data, data);
    }
}

#[tokio::test]
async fn null_is_data_and_no_data_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert_raw(r#"{"event":"news","data":null}"#).await.ok();
    for bad in [r#"{"event":"news"}"#, r#"{"data":1}"#, r#"{"event":null,"data":1}"#, r#"{"event":"news","Data":1}"#] {
        alice.insert_raw(bad).await.refused(400, "body_invalid");
    }
}

#[tokio::test]
async fn data_goes_through_as_it_came() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for data in [
        r#"{"z":1,"a":2,"m":{"y":1,"b":2},"z":3}"#,
        "[123456789012345678901234567890,-0,0.0,1.10,1E+2,1e-400,1e400,18446744073709551616]",
        r#"["\u0041\/\b\f\n\r\t\"\\","\u00e9\ud83d\ude00","\uD83D\uDE00","\u0000"]"#,
        r#"{"\u0061":"a","data:":"event:id:"," a ":" b  c "}"#,
        r#""\\\" [ { : , ""#,
    ] {
        insert_text(&alice, "news", data).await.ok();
        assert_eq!(stream.next().await.data, data);
    }
}

#[tokio::test]
async fn only_white_space_and_non_ascii_characters_are_rewritten() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for (sent, seen) in [
        ("{ \"b\" :\r\n\t[ 1 , 2 ] , \"a\" : \" x  y \" }", r#"{"b":[1,2],"a":" x  y "}"#),
        (r#"["Grüße","日本","😀","\u00fc"]"#, r#"["Gr\u00fc\u00dfe","\u65e5\u672c","\ud83d\ude00","\u00fc"]"#),
        (r#"{"é":"\\é"}"#, r#"{"\u00e9":"\\\u00e9"}"#),
        ("\"\u{7f}\u{2028}\u{feff}\"", "\"\u{7f}\\u2028\\ufeff\""),
    ] {
        insert_text(&alice, "news", sent).await.ok();
        let event = stream.next().await;
        assert_eq!(event.data, seen);
        assert_eq!(event.json(), serde_json::from_str::<Value>(sent).unwrap());
    }
}

#[tokio::test]
async fn data_may_be_nested_to_128_and_no_deeper() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for data in
        [arrays(128), objects(128), format!("[{},{}]", arrays(127), objects(127)), format!("\"{}\"", "[".repeat(500))]
    {
        insert_text(&alice, "news", &data).await.ok();
        assert_eq!(stream.next().await.data, data);
    }
    for data in [arrays(129), objects(129), format!("[{}]", objects(128)), arrays(50_000)] {
        insert_text(&alice, "news", &data).await.refused(400, "data_too_deep");
    }
    insert_text(&alice, "news", &"[".repeat(50_000)).await.refused(400, "body_invalid");
}

#[tokio::test]
async fn an_event_name_that_could_forge_a_frame_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for name in [
        "",
        "a\nb",
        "a\rb",
        "a\r\nid:1",
        "\n",
        "a\u{0}b",
        "a\tb",
        "\u{1b}",
        "\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        "data:",
        "x data:y",
        "event:",
        "my id:",
        "id:",
        "retry: 1",
        "news\n\nevent:admin\ndata:{}",
        &"x".repeat(257),
        &"é".repeat(129),
    ] {
        alice.try_insert(name, json!(1)).await.refused(400, "event_name_invalid");
    }
    // None of them was stored, so the next one that comes is this.
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    assert_eq!(alice.stream().await.next().await.name, "news");
}

#[tokio::test]
async fn an_event_name_is_any_other_text_of_1_to_256_bytes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for name in [
        "a",
        "a:b",
        "data",
        "id",
        "event",
        "chat/room 1",
        "*",
        "news,chat",
        ":",
        "DATA:",
        "Grüße",
        "日本",
        "😀",
        "\"q\"",
        "\\",
        "a_b",
        "null",
        &"x".repeat(256),
        &"é".repeat(128),
    ] {
        alice.insert(name, json!(1)).await;
        assert_eq!(stream.next().await.name, name);
    }
}

#[tokio::test]
async fn an_event_of_100_kib_is_taken_and_a_larger_one_is_413() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let most = text((100 << 10) - "news".len());
    insert_text(&alice, "news", &most).await.ok();
    assert_eq!(stream.next().await.data, most);
    for bytes in [most.len() + 1, 100 << 10, 400 << 10] {
        insert_text(&alice, "news", &text(bytes)).await.refused(413, "event_too_large");
    }
    alice.insert("after", json!(1)).await;
    assert_eq!(stream.next().await.name, "after");
}

#[tokio::test]
async fn white_space_does_not_make_an_event_too_large() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    insert_text(&alice, "news", &format!("[1,{}2]", " ".repeat(300 << 10))).await.ok();
    assert_eq!(stream.next().await.data, "[1,2]");
}

#[tokio::test]
async fn an_event_of_100_kib_may_be_sent_all_in_escapes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    let escaped = format!("\"{}\"", "\\u00e9".repeat(17_000));
    insert_text(&alice, "news", &escaped).await.ok();
    assert_eq!(stream.next().await.data, escaped);
}

#[tokio::test]
async fn credentials_are_looked_at_before_the_body() {
    let server = TestServer::start().await;
    let nobody = server.client().with_authorization("Bearer x");
    for body in ["{", r#"{"event":"news","data":1}"#, r#"{"event":"","data":1}"#] {
        nobody.insert_raw(body).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn events_of_one_tenant_are_not_seen_by_another() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mallory = server.user("mallory", "acm").await;
    let mut stream = mallory.stream().await;
    alice.insert("news", json!("secret of acme")).await;
    let own = mallory.insert("own", json!(1)).await;
    assert_eq!(stream.next().await.id, own);
    assert_eq!(mallory.stream().await.next().await.id, own);
}

#[tokio::test]
async fn tenants_and_events_with_names_that_run_together_do_not_meet() {
    let server = TestServer::start().await;
    let of = [("a_b", "c"), ("a", "b_c"), ("a_", "b_c"), ("ab", "c"), ("a", "bc"), ("a\u{e9}", "c")];
    let mut inserted = Vec::new();
    for (n, (tenant, event)) in of.iter().enumerate() {
        let user = server.user(&format!("user{n}"), tenant).await;
        user.insert(event, json!(n)).await;
        inserted.push(user);
    }
    for (n, user) in inserted.iter().enumerate() {
        let seen = user.everything().await;
        let expected = of.iter().enumerate().filter(|(_, (tenant, _))| *tenant == of[n].0).map(|(n, _)| json!(n));
        let mut seen: Vec<_> =
            seen.into_iter().filter(|(name, _)| name != "mark").map(|(_, event)| event.json()).collect();
        seen.sort_by_key(Value::as_u64);
        assert_eq!(seen, expected.collect::<Vec<_>>(), "{:?}", of[n]);
    }
}
