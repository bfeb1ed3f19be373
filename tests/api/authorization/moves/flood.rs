//! Guards moves to another tenant while inserts pour in, in both tenants.

use serde_json::json;

use super::{Known, TENANTS, start};
use crate::sse::control_events::marked;
use crate::subscription::flood::{Flood, NAMES};
use crate::support::{Event, Stream, User, move_to, pairs};

/// What is inserted once in each tenant, before the rest.
const STILL: &str = "still";

/// What was inserted in each tenant, in order.
type Inserted = [Vec<(String, String)>; 2];

/// What came between two moves.
struct Span {
    /// Which tenant the user was in.
    at: usize,
    /// The id of a mark that was inserted in the other one after the answer to the first move.
    hidden: String,
    /// The id of a mark that was inserted in this one then.
    begin: String,
    /// The id of a mark that came before the second move was asked for.
    end: String,
    came: Vec<Event>,
}

impl Span {
    async fn read(at: usize, stream: &mut Stream, clerks: &[User; 2], flood: &mut Flood) -> Self {
        let hidden = clerks[1 - at].insert("mark", json!(null)).await;
        let begin = clerks[at].insert("mark", json!(null)).await;
        flood.more(25).await;
        let end = clerks[at].insert("mark", json!(null)).await;
        let mut came = Vec::new();
        loop {
            let event = stream.next().await;
            assert_ne!(event.id, hidden);
            if event.id == end {
                return Self { at, hidden, begin, end, came };
            }
            if event.name != "mark" {
                came.push(event);
            }
        }
    }

    /// Of what was inserted in the tenant after the answer all came, in order, each once, and nothing of the other one.
    fn check(&self, inserted: &Inserted) {
        let is_due = |id: &str| *id > *self.begin && *id < *self.end;
        let due: Vec<_> = inserted[self.at].iter().filter(|(id, _)| is_due(id)).cloned().collect();
        assert_eq!(pairs(self.came.iter().filter(|event| event.id > self.begin)), due, "in {}", TENANTS[self.at]);
    }

    /// What came after another span and was inserted before the answer, or in the other tenant.
    fn check_move(&self, before: &Self, inserted: &Inserted) {
        let came = pairs(self.came.iter().filter(|event| event.id < self.begin));
        // No two events have the same id, so it tells the tenant as well.
        let (lost, gained) = came.split_at(came.iter().take_while(|event| inserted[before.at].contains(event)).count());
        let is_between = |id: &str| *id > *before.end && *id < *self.hidden;
        let between: Vec<_> = inserted[before.at].iter().filter(|(id, _)| is_between(id)).cloned().collect();
        assert!(between.starts_with(lost), "of the tenant that was left: {lost:?}");
        assert!(gained.is_sorted_by(|one, other| one.0 < other.0), "{gained:?}");
        assert!(gained.iter().all(|event| inserted[self.at].contains(event)), "{gained:?}");
        assert!(gained.iter().any(|(_, name)| name == STILL), "{gained:?}");
        for name in NAMES.into_iter().chain([STILL]) {
            let last = gained.iter().rev().find(|(_, other)| other == name);
            let latest = inserted[self.at].iter().rev().find(|(id, other)| *id < self.begin && other == name);
            // Where there was a newer one before it was read for the stream, that has come in its place.
            assert!(last.is_none() || last == latest, "{name}: {last:?}, and not {latest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_inserts_pour_in_all_of_the_tenant_that_the_user_is_in_comes_and_nothing_else() {
    let (server, alice, clerks) = start(&[]).await;
    let client = server.client();
    let mut still = Vec::new();
    for clerk in &clerks {
        still.push((clerk.insert(STILL, json!(0)).await, STILL.to_owned()));
    }
    let mut stream = alice.stream().await;
    let mut floods = [Flood::start(&clerks[0]), Flood::start(&clerks[1])];
    let mut spans = vec![Span::read(0, &mut stream, &clerks, &mut floods[0]).await];
    for at in [1, 0].into_iter().cycle().take(10) {
        move_to(&client, "alice", TENANTS[at]).await;
        spans.push(Span::read(at, &mut stream, &clerks, &mut floods[at]).await);
    }
    let [of_acme, of_other] = floods;
    let mut inserted = [of_acme.end().await, of_other.end().await];
    for (inserted, still) in inserted.iter_mut().zip(still) {
        inserted.insert(0, still);
    }
    let rest = pairs(&stream.so_far(&clerks[0]).await);
    spans.iter().for_each(|span| span.check(&inserted));
    for two in spans.windows(2) {
        two[1].check_move(&two[0], &inserted);
    }
    let due = inserted[0].iter().filter(|(id, _)| *id > spans[10].end);
    assert_eq!(rest, due.cloned().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_moves_in_a_row_the_last_one_counts() {
    for count in [10, 11] {
        let (server, alice, clerks) = start(&[]).await;
        let client = server.client();
        let mut stream = marked(&alice, "", None).await;
        let mut floods = [Flood::start(&clerks[0]), Flood::start(&clerks[1])];
        floods[0].more(25).await;
        let mut at = 0;
        for _ in 0..count {
            at = 1 - at;
            move_to(&client, "alice", TENANTS[at]).await;
        }
        for flood in floods {
            flood.end().await;
        }
        let end = clerks[at].insert("end", json!(1)).await;
        let mut known = Known::default();
        known.read_to(&mut stream, &end).await;
        known.check(&alice).await;
    }
}
