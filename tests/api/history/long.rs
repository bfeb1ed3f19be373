//! Guards histories that take many pages.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Receipt, TestServer, User, one};

const EVENTS: usize = 24_000;

/// Inserts so many events of some names in turn; the ids of the first name's, and all others.
async fn fill(user: &User, names: &[&str], count: usize) -> (Vec<String>, Vec<String>) {
    let (mut ids, mut others) = (Vec::new(), Vec::new());
    let all: Vec<Value> = (0..count).map(|number| one(names[number % names.len()], number)).collect();
    for events in all.chunks(1000) {
        let given: Vec<Receipt> = user.insert_raw(Value::from(events)).await.read();
        for (number, receipt) in given.into_iter().enumerate() {
            if number % names.len() == 0 { ids.push(receipt.id) } else { others.push(receipt.id) }
        }
    }
    (ids, others)
}

/// Reads a history page by page, from an id or the beginning on; the ids.
async fn pages(user: &User, query: &str, bound: &str, from: Option<&str>) -> Vec<String> {
    let from_id = |id: &str| format!("&{bound}={id}");
    let (mut ids, mut from) = (Vec::new(), from.map(from_id).unwrap_or_default());
    let mut seen = HashSet::new();
    loop {
        let page = user.history(&format!("{query}&limit=1000{from}")).await;
        ids.extend(page.ids());
        let Some(next) = page.next else { return ids };
        assert!(seen.insert(next.clone()), "{query}: it does not go on from {next}, after {} events", ids.len());
        from = from_id(&next);
    }
}

#[tokio::test]
async fn a_history_of_more_than_20_000_events_is_read_to_its_end_in_either_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (mut ids, _) = fill(&alice, &["news"], EVENTS).await;
    // An id from long ago is where a page begins, too, whether it is of this name or of another.
    let early = ids[1500].clone();
    let page = alice.history(&format!("event=news&before={early}&limit=1000")).await;
    assert!(page.ids().iter().eq(ids[500..1500].iter().rev()));
    assert_eq!(page.next.as_ref(), Some(&ids[500]));
    assert!(pages(&alice, "event=news&order=oldest", "after", None).await == ids);
    ids.reverse();
    assert!(pages(&alice, "event=news&order=newest", "before", None).await == ids);
}

#[tokio::test]
async fn before_may_be_an_id_of_another_name() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "other").await;
    let old = alice.insert("rare", json!(1)).await;
    let (ids, others) = fill(&alice, &["news", "other"], EVENTS).await;
    let theirs = bob.insert("news", json!(1)).await;
    let last = alice.insert("news", json!(1)).await;
    for (before, expected) in [(&others[700], &ids[..701]), (&theirs, &ids[..]), (&others[0], &ids[..1])] {
        let page = alice.history(&format!("event=news&before={before}&limit=1000")).await;
        assert!(page.ids().iter().eq(expected.iter().rev().take(1000)), "{page:?}");
        assert!(page.next.is_none_or(|next| next < *before));
    }
    // Of a name that has not changed for long, and of one that never was.
    assert_eq!(alice.history(&format!("event=rare&before={last}")).await.ids(), [old.as_str()]);
    assert_eq!(alice.history(&format!("event=none&before={last}")).await.ids(), [""; 0]);
    // Neither is there before it: what is looked through is bounded, and goes on from there.
    alice.insert("rare", json!(2)).await;
    for _ in 0..100 {
        alice.insert("rare", json!(3)).await;
    }
    assert_eq!(pages(&alice, "event=rare", "before", Some(&last)).await, [old]);
}

#[tokio::test]
async fn oldest_first_a_name_that_does_not_change_costs_no_read_of_later_events() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let old = alice.insert("rare", json!(1)).await;
    fill(&alice, &["news"], EVENTS).await;
    // In one page, though more events came since than are looked at for one; and a name that never was is known as such.
    for (query, expected) in [("event=rare", &[old.as_str()][..]), ("event=none", &[])] {
        let page = alice.history(&format!("{query}&order=oldest")).await;
        assert_eq!(
            (page.ids(), page.next),
            (expected.iter().map(ToString::to_string).collect::<Vec<_>>(), None),
            "{query}"
        );
        let page = alice.history(&format!("{query}&order=oldest&after={old}")).await;
        assert_eq!((page.ids(), page.next), (Vec::<String>::new(), None), "{query}");
    }
}
