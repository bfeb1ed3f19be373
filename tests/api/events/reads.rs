//! `/events` and `/history`: what is there, and what was.

use reqwest::Method;
use serde_json::{Value, json};

use super::{after_kill, bad_request, names, one};
use crate::support::{Kept, Page, Receipt, TestServer, User, foreign};

/// What JSON text may be written in that a careless reader would write otherwise.
const RAW: [&str; 6] = [
    r#"{"z":1.0,"a":2,"m":{"y":1.50,"b":[]},"z":3}"#,
    "[123456789012345678901234567890,-0,0.0,1.10,1E+2,1e-400,1e400,18446744073709551616]",
    r#"["\u0041\/\b\f\n\r\t\"\\","\u00e9\ud83d\ude00"]"#,
    r#"{"":null," a ":" b  c ","data:":"event:"}"#,
    "1.0",
    "null",
];

/// Inserts so many events of one name; their ids in order.
async fn insert_many(user: &User, event: &str, count: usize) -> Vec<String> {
    let array = (0..count).map(|number| one(event, number)).collect();
    let given: Vec<Receipt> = user.insert_raw(Value::Array(array)).await.read();
    given.into_iter().map(|each| each.id).collect()
}

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
async fn what_events_and_except_are_often_taken_for_is_400_and_says_what_is_meant() {
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
        let basic = alice.client.with_authorization(&basic("alice"));
        assert_eq!(basic.get(path).await.ok().body, whole.body);
        let answer = alice.post(path, "{}").await;
        assert_eq!(answer.refused(405, "method_not_allowed").header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    // Who may not read is not told whether the question was a good one.
    for path in ["/events?events=", "/history", "/history?event=news&limit=0"] {
        server.client().get(path).await.refused(401, "unauthorized");
    }
}

pub(super) fn basic(username: &str) -> String {
    use base64::Engine;
    let credentials = format!("{username}:{}", crate::support::password_of(username));
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(credentials))
}

#[tokio::test]
async fn history_is_every_event_of_one_name_newest_or_oldest_first() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut expected = Vec::new();
    for (number, (user, username)) in [(&alice, "alice"), (&bob, "bob")].into_iter().cycle().take(6).enumerate() {
        user.insert("other", json!("other")).await;
        let given: Receipt = user.insert_raw(one("news", number)).await.read();
        expected.push(Kept {
            event: "news".to_owned(),
            data: number.to_string(),
            id: given.id,
            timestamp: given.timestamp,
            username: username.to_owned(),
        });
    }
    let page = alice.history("event=news&order=oldest").await;
    assert_eq!((page.events, page.next), (expected.clone(), None));
    expected.reverse();
    for query in ["event=news", "event=news&order=newest", "unknown=1&event=news&limit=1000"] {
        let page = bob.history(query).await;
        assert_eq!((page.events, page.next), (expected.clone(), None), "{query}");
    }
}

#[tokio::test]
async fn a_removal_is_an_event_of_the_history() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let first: Receipt = alice.insert_raw(one("news", 1)).await.read();
    let removal: Receipt = bob.remove("news").await.read();
    let page = alice.history("event=news").await;
    let kept = |data: &str, given: &Receipt, username: &str| Kept {
        event: "news".to_owned(),
        data: data.to_owned(),
        id: given.id.clone(),
        timestamp: given.timestamp,
        username: username.to_owned(),
    };
    assert_eq!(page.events, [kept("null", &removal, "bob"), kept("1", &first, "alice")]);
    assert_eq!(alice.latest("/events").await, []);
}

#[tokio::test]
async fn the_history_of_a_name_that_never_was_is_empty() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(1)).await;
    for query in ["event=nothing", "event=New", "event=new", "event=news/", "event=nothing&limit=1&order=oldest"] {
        let page = alice.history(query).await;
        assert_eq!((page.events, page.next), (Vec::new(), None), "{query}");
    }
    // The id of another name is an id.
    for bound in ["after", "before"] {
        assert_eq!(alice.history(&format!("event=nothing&{bound}={id}")).await.events, []);
    }
}

#[tokio::test]
async fn the_name_in_a_history_is_no_pattern_and_no_list() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let all = ["chat/1", "chat/*", "a,b", "a", "*", "ünï 1", "a&b=c", "100%"];
    let mut ids = Vec::new();
    for name in all {
        ids.push(alice.insert(name, json!(1)).await);
    }
    let written = ["chat/1", "chat%2F*", "a,b", "a", "*", "%C3%BCn%C3%AF%201", "a%26b%3Dc", "100%25"];
    for ((name, written), id) in all.into_iter().zip(written).zip(ids) {
        let page = alice.history(&format!("event={written}")).await;
        assert_eq!((names(&page.events), page.ids()), (vec![name], vec![id]));
    }
}

#[tokio::test]
async fn after_and_before_are_exclusive() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let ids = insert_many(&alice, "news", 10).await;
    // A bound need not be of this name.
    let other = alice.insert("other", json!(1)).await;
    let (third, eighth) = (&ids[2], &ids[7]);
    for (query, expected) in [
        (format!("after={third}"), &ids[3..]),
        (format!("before={eighth}"), &ids[..7]),
        (format!("after={third}&before={eighth}"), &ids[3..7]),
        (format!("after={third}&before={}", ids[3]), &[]),
        (format!("after={third}&before={third}"), &[]),
        (format!("after={eighth}&before={third}"), &[]),
        (format!("after={}", ids[9]), &[]),
        (format!("before={}", ids[0]), &[]),
        (format!("before={other}"), &ids[..]),
        (format!("after={other}"), &[]),
    ] {
        let page = alice.history(&format!("event=news&order=oldest&{query}")).await;
        assert_eq!((page.ids().as_slice(), &page.next), (expected, &None), "{query}");
        let page = alice.history(&format!("event=news&{query}")).await;
        let mut newest = page.ids();
        newest.reverse();
        assert_eq!((newest.as_slice(), &page.next), (expected, &None), "{query}");
    }
    // A limit takes from where the order begins.
    let page = alice.history(&format!("event=news&after={third}&before={eighth}&limit=2")).await;
    assert_eq!((page.ids(), page.next), (vec![ids[6].clone(), ids[5].clone()], Some(ids[5].clone())));
    let page = alice.history(&format!("event=news&after={third}&before={eighth}&limit=2&order=oldest")).await;
    assert_eq!((page.ids(), page.next), (vec![ids[3].clone(), ids[4].clone()], Some(ids[4].clone())));
}

/// Reads a history page by page.
async fn pages(user: &User, order: &str, limit: usize) -> Vec<Vec<String>> {
    let bound = if order == "newest" { "before" } else { "after" };
    let (mut pages, mut from) = (Vec::new(), String::new());
    loop {
        let page = user.history(&format!("event=news&order={order}&limit={limit}{from}")).await;
        let ids = page.ids();
        assert!(ids.len() <= limit && pages.len() < 100, "{page:?}");
        let Some(next) = page.next else {
            pages.push(ids);
            return pages;
        };
        assert_eq!(Some(&next), ids.last(), "next is the last of its page");
        from = format!("&{bound}={next}");
        pages.push(ids);
    }
}

#[tokio::test]
async fn pages_give_each_event_once_in_either_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut ids = insert_many(&alice, "news", 25).await;
    for order in ["oldest", "newest"] {
        for limit in [1, 5, 10, 24, 25, 26, 1000] {
            let pages = pages(&alice, order, limit).await;
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|page| page.len() == limit), "{order} {limit}: {pages:?}");
            // Where the last page is full it may take another one to know that there is no more.
            assert!(last.len() == 25 % limit || last.len() == limit, "{order} {limit}: {pages:?}");
            assert_eq!(pages.concat(), ids, "{order} {limit}");
        }
        ids.reverse();
    }
    let sizes: Vec<_> = pages(&alice, "newest", 10).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5]);
}

#[tokio::test]
async fn a_page_has_100_events_where_nothing_else_is_asked_for() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let ids = insert_many(&alice, "news", 150).await;
    let page = alice.history("event=news").await;
    assert_eq!((page.events.len(), page.next), (100, Some(ids[50].clone())));
    let page = alice.history("event=news&order=oldest").await;
    assert_eq!((page.ids().as_slice(), page.next.as_ref()), (&ids[..100], Some(&ids[99])));
}

#[tokio::test]
async fn pages_hold_while_there_are_new_inserts() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut ids = insert_many(&alice, "news", 12).await;
    let first = alice.history("event=news&limit=5").await;
    let oldest = alice.history("event=news&limit=5&order=oldest").await;
    ids.extend(insert_many(&alice, "news", 3).await);
    let second = alice.history(&format!("event=news&before={}", first.next.unwrap())).await;
    let second = second.ids().into_iter().rev().collect::<Vec<_>>();
    assert_eq!(second, ids[..7]);
    let rest = alice.history(&format!("event=news&order=oldest&after={}", oldest.next.unwrap())).await;
    assert_eq!(rest.ids(), ids[5..]);
}

#[tokio::test]
async fn a_question_about_history_that_makes_no_sense_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(1)).await;
    alice.get("/history").await.refused(400, "query_invalid");
    alice.get("/history?limit=1&events=news").await.refused(400, "query_invalid");
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        "limit=",
        "limit=18446744073709551617",
        "order=up",
        "order=",
        "order=Newest",
        "after=abc",
        "after=1",
        "before=-1",
        "before=null",
        &format!("before={id}0"),
        &format!("after={}", &id[1..]),
        &format!("after=%22{id}%22"),
    ] {
        alice.get(&format!("/history?event=news&{bad}")).await.refused(400, "query_invalid");
    }
    // Nothing can have such a name.
    for bad in ["", "a%0Ab", "data:"] {
        bad_request(alice.get(&format!("/history?event={bad}")).await);
    }
    let elsewhere = foreign(&id);
    for bound in ["after", "before"] {
        for name in ["news", "nothing"] {
            let path = format!("/history?event={name}&{bound}={elsewhere}");
            alice.get(&path).await.refused(400, "id_unknown");
        }
    }
}

#[tokio::test]
async fn what_is_read_is_the_same_after_a_kill() {
    let server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    insert_many(&alice, "news", 30).await;
    alice.remove("news").await.ok();
    for number in 0..20 {
        alice.insert(&format!("filler/{}", number % 3), json!("x".repeat(10_000))).await;
    }
    insert_many(&alice, "news", 10).await;
    let paths =
        ["/events", "/history?event=news", "/history?event=news&limit=7&order=oldest", "/history?event=filler/1"];
    let mut before = Vec::new();
    for path in paths {
        before.push(alice.get(path).await.ok().body);
    }
    let (_server, alice) = after_kill(server, &alice).await;
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(alice.get(path).await.ok().body, before, "{path}");
    }
}
