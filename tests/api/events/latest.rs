//! Guards `/events`: filters, order, pages and data exactly as inserted.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Kept, Page, Receipt, TestServer, User, after_kill, by_password, names, one, password_of};

/// What JSON text may be written in that a careless reader would write otherwise.
const RAW: [&str; 6] = [
    r#"{"z":1.0,"a":2,"m":{"y":1.50,"b":[]},"z":3}"#,
    "[123456789012345678901234567890,-0,0.0,1.10,1E+2,1e-400,1e400,18446744073709551616]",
    r#"["\u0041\/\b\f\n\r\t\"\\","\u00e9\ud83d\ude00"]"#,
    r#"{"":null," a ":" b  c ","data:":"event:"}"#,
    "1.0",
    "null",
];

#[tokio::test]
async fn events_are_the_latest_of_each_name_by_id_with_five_fields() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    assert_eq!(alice.latest("/events").await, []);
    let mut expected = Vec::new();
    for (user, username, event, data) in
        [(&alice, "alice", "a", "1"), (&bob, "bob", "b", "2"), (&bob, "bob", "c", "[3]"), (&alice, "alice", "a", "4")]
    {
        let given: Receipt = user.insert_raw(format!(r#"{{"event":"{event}","data":{data}}}"#)).await.read();
        expected.push(Kept {
            event: event.to_owned(),
            data: data.to_owned(),
            id: given.id,
            timestamp: given.timestamp,
            username: username.to_owned(),
            removed: false,
            transient: false,
        });
    }
    expected.remove(0);
    for user in [&alice, &bob] {
        assert_eq!(user.latest("/events").await, expected);
    }
    let answer = alice.get("/events").await.ok();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // A number, and not text that looks like one.
    assert!(answer.json()[0]["timestamp"].is_u64() && answer.json()[0]["id"].is_string(), "{answer:?}");
}

#[tokio::test]
async fn a_filter_narrows_events_to_names_and_prefixes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let all = ["news", "newsroom", "chat", "chat/1", "chat/2", "chatter", "New", "ünï"];
    for name in all {
        alice.insert(name, json!(1)).await;
    }
    let cases: [(&str, &[&str]); 10] = [
        ("events=news,chat/*", &["news", "chat/1", "chat/2"]),
        ("events=news", &["news"]),
        ("events=chat*", &["chat", "chat/1", "chat/2", "chatter"]),
        ("events=chat/2,chat/1,chat/2", &["chat/1", "chat/2"]),
        ("events=%20news%20,%20chat/1", &["news", "chat/1"]),
        ("events=%C3%BCn*", &["ünï"]),
        ("events=*", &all),
        ("events=nothing,no/*", &[]),
        ("limi=1&x=%20", &all),
        ("x=1&events=news&order=up", &["news"]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&alice.latest(&format!("/events?{query}")).await), expected, "{query}");
    }
    let long = format!("{}*", "x".repeat(257));
    for bad in ["", ",", "a,,b", "a,", "a%0Ab", "data:x", "event:", long.as_str()] {
        alice.get(&format!("/events?events={bad}")).await.refused(400, "filter_invalid");
    }
}

/// The names on a page of `/events`, and what the next one is asked for with.
async fn page_of_latest(user: &User, query: &str) -> (Vec<String>, Option<String>) {
    let page: Page = user.get(&format!("/events?{query}")).await.read();
    (page.events.into_iter().map(|event| event.event).collect(), page.next)
}

#[tokio::test]
async fn with_a_limit_events_come_in_pages_by_name_each_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut all = vec!["a b&c=1", "big", "chat/1", "chat/2", "news", "zoo", "ünï"];
    for name in &all {
        alice.insert(name, json!(1)).await;
    }
    alice.insert("chat/0", json!(1)).await;
    alice.remove("chat/0").await.ok();
    for limit in [1, 2, 3, 6, 7, 8, 1000] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (names, next) = page_of_latest(&alice, &format!("limit={limit}{after}")).await;
            assert!(names.len() <= limit && seen.len() <= all.len(), "{limit}: {names:?}");
            assert!(next.is_none() || next.as_ref() == names.last(), "next is the last of its page");
            seen.extend(names);
            let Some(next) = next else { break };
            assert!(names_left(&all, &next), "{limit}: there is no more after {next}");
            after = format!("&after={}", next.replace('&', "%26").replace(' ', "%20"));
        }
        assert_eq!(seen, all, "{limit}");
    }
    // Without a limit it is an array as ever, of what comes after.
    assert_eq!(names(&alice.latest("/events?after=chat/2").await), ["news", "zoo", "ünï"]);
    // What it begins after need not be there, and what is wanted is wanted on pages too.
    assert_eq!(page_of_latest(&alice, "limit=2&after=c").await.0, ["chat/1", "chat/2"]);
    assert_eq!(page_of_latest(&alice, "limit=9&after=chat/1&events=chat/*,news,a*").await.0, ["chat/2", "news"]);
    assert_eq!(page_of_latest(&alice, "limit=1&events=zoo,zz*").await, (vec!["zoo".to_owned()], None));
    assert_eq!(page_of_latest(&alice, "limit=1&after=zoo&events=zoo,zz*").await, (vec![], None));
    assert_eq!(page_of_latest(&alice, "limit=5&events=none").await, (vec![], None));
    // A name that is inserted between two pages is on the next one if it comes later, and repeats nothing.
    let next = page_of_latest(&alice, "limit=3").await.1.unwrap();
    for name in ["aa", "chat/11"] {
        alice.insert(name, json!(1)).await;
    }
    all.insert(3, "chat/11");
    assert_eq!(page_of_latest(&alice, &format!("limit=9&after={next}")).await.0, all[3..]);
    for bad in
        ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "after=", &format!("after={}", "x".repeat(257))]
    {
        alice.get(&format!("/events?{bad}")).await.refused(400, "query_invalid");
    }
}

/// Whether some names come after one.
fn names_left(all: &[&str], after: &str) -> bool {
    all.iter().any(|name| *name > after)
}

#[tokio::test]
async fn common_misspellings_of_events_and_except_are_400_and_the_answer_names_the_right_one() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    for path in ["/events", "/sse"] {
        for (wrong, meant) in [
            ("event=news", "there is no event: events takes"),
            ("event[]=news", "there is no event: events takes"),
            ("events[]=news&events[]=chat", "there is no events[]: events takes"),
            ("events%5B%5D=news", "there is no events[]: events takes"),
            ("events[0]=news", "there is no events[]: events takes"),
            ("events=news&except[]=chat", "there is no except[]: except takes"),
        ] {
            let answer = alice.get(&format!("{path}?{wrong}")).await.refused(400, "parameter_unknown");
            assert!(answer.error().starts_with(meant), "{path}?{wrong}: {answer:?}");
        }
    }
    // Whatever else there is on it.
    assert_eq!(names(&alice.latest("/events?_=17&eventual=1&Event=2&events=news").await), ["news"]);
    let stream = alice.stream().await;
    let id = stream.headers["broker-stream"].to_str().unwrap();
    let body = json!({ "stream": id, "event": "news" }).to_string();
    alice.post("/subscription", body).await.refused(400, "parameter_unknown");
}

#[tokio::test]
async fn data_is_read_as_it_was_inserted() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (number, data) in RAW.iter().enumerate() {
        alice.insert_raw(format!(r#"{{"event":"raw/{number}","data":{data}}}"#)).await.ok();
        alice.insert_raw(format!(r#"[{{"data": {data} ,"event":"raw"}}]"#)).await.ok();
    }
    alice.insert_raw("{\"event\":\"spaced\",\"data\": { \"b\" :\r\n\t[ 1 , 2.0 ] , \"a\" : \" x  y \" } }").await.ok();
    alice.insert("text", json!("Grüße 日本 😀")).await;
    let check = async |alice: &User| {
        let seen = alice.latest("/events?events=raw/*").await;
        assert_eq!(seen.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), RAW);
        let seen = alice.history("event=raw&order=oldest").await.events;
        assert_eq!(seen.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), RAW);
        assert_eq!(alice.latest("/events?events=spaced").await[0].data, r#"{"b":[1,2.0],"a":" x  y "}"#);
        let text = alice.latest("/events?events=text").await.remove(0).data;
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), "Grüße 日本 😀");
    };
    check(&alice).await;
    let (_server, alice) = after_kill(server, &alice).await;
    check(&alice).await;
}

#[tokio::test]
async fn many_events_come_whole_and_in_order() {
    const NAMES: usize = 600;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let text = "x".repeat(1000);
    let array = (0..NAMES).map(|number| one(&format!("name{number}"), text.as_str())).collect();
    let given: Vec<Receipt> = alice.insert_raw(Value::Array(array)).await.read();
    let seen: Vec<_> = alice.latest("/events").await.into_iter().map(|event| (event.id, event.event)).collect();
    let expected = given.into_iter().enumerate().map(|(number, each)| (each.id, format!("name{number}")));
    assert!(seen == expected.collect::<Vec<_>>(), "{} events", seen.len());
}

#[tokio::test]
async fn a_stream_goes_on_where_a_reader_stopped() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "a"] {
        alice.insert(name, json!(1)).await;
    }
    let last = alice.latest("/events").await.pop().unwrap();
    let newer = [alice.insert("b", json!(2)).await, alice.insert("a", json!(3)).await];
    let came: Vec<_> = alice.coming("/sse", Some(&last.id)).await.into_iter().map(|event| event.id).collect();
    assert_eq!(came, newer);
}

#[tokio::test]
async fn events_and_history_of_another_tenant_are_not_read() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut others = Vec::new();
    for (number, tenant) in ["acm", "acme_", "acme/", "acmé", "acme x"].into_iter().enumerate() {
        others.push(server.user(&format!("other{number}"), tenant).await);
    }
    let ours = alice.insert("news", json!("ours")).await;
    let mut theirs = Vec::new();
    for other in &others {
        theirs.push(other.insert("news", json!("theirs")).await);
        other.insert("more", json!("theirs")).await;
    }
    assert_eq!(alice.latest("/events").await.iter().map(|event| &event.id).collect::<Vec<_>>(), [&ours]);
    assert_eq!(alice.history("event=news").await.ids(), [ours.as_str()]);
    assert_eq!(alice.history("event=more").await.events, []);
    for (other, id) in others.iter().zip(theirs) {
        assert_eq!(names(&other.latest("/events").await), ["news", "more"]);
        assert_eq!(other.history("event=news").await.ids(), [id]);
    }
}

#[tokio::test]
async fn reading_takes_credentials_get_and_head() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!("text")).await;
    for path in ["/events", "/events?events=news", "/history?event=news"] {
        let whole = alice.get(path).await.ok();
        assert!(whole.body.contains(&id), "{whole:?}");
        let head = alice.send(Method::HEAD, path, &[], None).await.ok();
        assert_eq!(head.body, "");
        assert_eq!(head.header("content-type"), whole.header("content-type"));
        server.client().get(path).await.refused(401, "unauthorized");
        for authorization in ["Bearer x", "Basic x", ""] {
            let nobody = server.client().with_authorization(authorization);
            nobody.get(path).await.refused(401, "unauthorized");
            assert_eq!(nobody.send(Method::HEAD, path, &[], None).await.status, 401);
        }
        let basic = by_password(&alice.client, "alice", &password_of("alice"));
        assert_eq!(basic.get(path).await.ok().body, whole.body);
        let answer = alice.post(path, "{}").await;
        assert_eq!(answer.refused(405, "method_not_allowed").header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    // A client that may not read is not told whether its query was valid.
    for path in ["/events?events=", "/history", "/history?event=news&limit=0"] {
        server.client().get(path).await.refused(401, "unauthorized");
    }
}
