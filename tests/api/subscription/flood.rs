//! Guards changes of a stream's filter or rights while inserts pour in.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Event, Stream, User, pairs, within};

/// What is inserted in turn. A stream gets `both/` always, and of the others one side at a time.
pub const NAMES: [&str; 6] = ["both/0", "left/0", "right/0", "both/1", "left/1", "right/1"];
/// The sides that a stream is turned to, again and again. It begins with the other.
pub const SIDES: [&str; 2] = ["right/", "left/"];
pub const COUNT: usize = 500;

pub fn wants(side: &str, name: &str) -> bool {
    name.starts_with("both/") || name.starts_with(side)
}

/// Inserts all the while, one after the other.
pub struct Flood {
    done: watch::Receiver<usize>,
    task: JoinHandle<Vec<(String, String)>>,
}

impl Flood {
    pub fn start(user: &User) -> Self {
        let (progress, done) = watch::channel(0);
        let user = user.clone();
        let task = tokio::spawn(async move {
            let mut inserted = Vec::new();
            for (number, name) in NAMES.iter().cycle().take(COUNT).enumerate() {
                inserted.push((user.insert(name, json!(number)).await, (*name).to_owned()));
                progress.send_replace(number + 1);
            }
            inserted
        });
        Self { done, task }
    }

    /// Awaits so many more, or the last.
    pub async fn more(&mut self, count: usize) {
        let target = (*self.done.borrow() + count).min(COUNT);
        let reached = within("inserts", self.done.wait_for(|done| *done >= target)).await;
        assert!(reached.is_ok(), "the inserts have failed");
    }

    /// What was inserted, in order.
    pub async fn end(mut self) -> Vec<(String, String)> {
        // A slow machine may need longer for all of them than for any of them.
        while *self.done.borrow() < COUNT {
            assert!(within("an insert", self.done.changed()).await.is_ok(), "the inserts have failed");
        }
        self.task.await.unwrap()
    }
}

/// What came between two changes.
pub struct Span {
    side: &'static str,
    /// The id of a mark that was inserted after the answer to the first change.
    begin: String,
    /// The id of a mark that came before the second change was asked for.
    end: String,
    came: Vec<Event>,
}

impl Span {
    async fn read(side: &'static str, stream: &mut Stream, by: &User, flood: &mut Flood) -> Self {
        let begin = by.insert("mark", json!(null)).await;
        flood.more(25).await;
        let end = by.insert("mark", json!(null)).await;
        let mut came = Vec::new();
        loop {
            let event = stream.next().await;
            if event.id == end {
                return Self { side, begin, end, came };
            }
            if event.name != "mark" {
                came.push(event);
            }
        }
    }

    /// Of what was inserted after the answer all came that is wanted, in order, each once, and nothing else.
    fn check(&self, inserted: &[(String, String)]) {
        let is_due = |id: &str, name: &str| *id > *self.begin && *id < *self.end && wants(self.side, name);
        let due: Vec<_> = inserted.iter().filter(|(id, name)| is_due(id, name)).cloned().collect();
        assert_eq!(pairs(self.came.iter().filter(|event| event.id > self.begin)), due, "{}", self.side);
    }

    /// What came after another span and was inserted before the answer.
    fn check_change(&self, before: &Self, inserted: &[(String, String)]) {
        let came = |prefix: &str| {
            pairs(self.came.iter().filter(|event| event.id < self.begin && event.name.starts_with(prefix)))
        };
        let between = |prefix: &str| -> Vec<(String, String)> {
            let is_between = |id: &str, name: &str| *id > *before.end && *id < *self.begin && name.starts_with(prefix);
            inserted.iter().filter(|(id, name)| is_between(id, name)).cloned().collect()
        };
        assert_eq!(came("both/"), between("both/"), "what was wanted before and after");
        let lost = came(before.side);
        assert!(between(before.side).starts_with(&lost), "no longer wanted: {lost:?}");
        let gained = came(self.side);
        assert!(gained.is_sorted_by(|one, other| one.0 < other.0), "{gained:?}");
        for name in NAMES.iter().filter(|name| name.starts_with(self.side)) {
            let ids: Vec<_> = gained.iter().filter(|(_, other)| other == name).map(|(id, _)| id).collect();
            let of_name = |(_, other): &&(String, String)| other == name;
            let latest = inserted.iter().rev().filter(of_name).find(|(id, _)| *id < self.begin);
            // One that was superseded before it was read comes only as its successor, which `check` looks for.
            let has_successor = inserted.iter().filter(of_name).any(|(id, _)| *id > self.begin && *id < self.end);
            assert!(
                ids.is_empty() && has_successor || ids.last() == latest.map(|(id, _)| id).as_ref(),
                "{name}: {ids:?}"
            );
            // Not what else there was of it.
            assert!(ids.iter().filter(|id| ***id < before.end).count() <= 1, "{name}: {ids:?}");
        }
    }
}

/// A client that applies everything it got has the latest event of each wanted name in the end.
pub fn check_view<'a>(came: impl IntoIterator<Item = &'a Event>, inserted: &[(String, String)], side: &str) {
    let view: HashMap<&str, &str> = came.into_iter().map(|event| (event.name.as_str(), event.id.as_str())).collect();
    let latest: HashMap<&str, &str> = inserted.iter().map(|(id, name)| (name.as_str(), id.as_str())).collect();
    for name in NAMES.iter().filter(|name| wants(side, name)) {
        assert_eq!(view.get(name), latest.get(name), "{name}");
    }
}

/// Turns a stream, which must begin with `both/*`, `left/*` and `mark` and without any event, to one side and the other
/// ten times.
pub async fn check_changes(stream: &mut Stream, by: &User, turn_to: impl AsyncFn(&str)) {
    let mut flood = Flood::start(by);
    let mut spans = vec![Span::read(SIDES[1], stream, by, &mut flood).await];
    for side in SIDES.into_iter().cycle().take(10) {
        turn_to(side).await;
        spans.push(Span::read(side, stream, by, &mut flood).await);
    }
    let inserted = flood.end().await;
    let rest = stream.so_far(by).await;
    spans.iter().for_each(|span| span.check(&inserted));
    for two in spans.windows(2) {
        two[1].check_change(&two[0], &inserted);
    }
    check_view(spans.iter().flat_map(|span| &span.came).chain(&rest), &inserted, SIDES[1]);
}

/// The same without reading anything in between.
pub async fn check_changes_in_a_row(stream: &mut Stream, by: &User, turn_to: impl AsyncFn(&str)) {
    let mut flood = Flood::start(by);
    flood.more(25).await;
    for side in SIDES.into_iter().cycle().take(10) {
        turn_to(side).await;
    }
    let span = Span::read(SIDES[1], stream, by, &mut flood).await;
    let inserted = flood.end().await;
    let rest = stream.so_far(by).await;
    span.check(&inserted);
    // What was always wanted may be replayed with what was not, but none is missed.
    let mut seen = HashSet::new();
    let always = span.came.iter().chain(&rest).filter(|event| event.name.starts_with("both/"));
    let first_times = pairs(always.filter(|event| seen.insert(event.id.clone())));
    let expected: Vec<_> = inserted.iter().filter(|(_, name)| name.starts_with("both/")).cloned().collect();
    assert_eq!(first_times, expected);
    check_view(span.came.iter().chain(&rest), &inserted, SIDES[1]);
}
