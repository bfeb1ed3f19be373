//! Guards `/history`: order, bounds and pages.

use serde_json::{Value, json};

use crate::support::{Kept, Receipt, TestServer, User, after_kill, bad_request, foreign, names, one};

/// Inserts so many events of one name; their ids in order.
async fn insert_many(user: &User, event: &str, count: usize) -> Vec<String> {
    let array = (0..count).map(|number| one(event, number)).collect();
    let given: Vec<Receipt> = user.insert_raw(Value::Array(array)).await.read();
    given.into_iter().map(|each| each.id).collect()
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
            removed: false,
            transient: false,
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
        removed: data == "null",
        transient: false,
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
async fn answers_are_the_same_after_a_kill() {
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
