//! What inserts notice of something: rounds beside it and rounds without it, in turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Result;
use crate::crowd::Outcome;
use crate::lab::Lab;
use crate::statistics::{Rounds, nanos, number};
use crate::table::Row;

/// A quantile of the rounds beside it, and of those without it.
#[derive(Default)]
struct Pair {
    with: Vec<f64>,
    without: Vec<f64>,
}

/// The times from an insert to its subscriber.
#[derive(Default)]
pub struct Beside {
    p50: Pair,
    p99: Pair,
}

impl Beside {
    /// Adds a round of each kind.
    pub fn add(&mut self, with: &Outcome, without: &Outcome) {
        self.p50.with.push(number(with.latency.p50));
        self.p50.without.push(number(without.latency.p50));
        self.p99.with.push(number(with.latency.p99));
        self.p99.without.push(number(without.latency.p99));
    }

    /// Adds the rows. `what` are the inserts beside something, which has the short name `it`.
    pub fn show(self, lab: &mut Lab, what: &str, it: &str, p99_goal: f64, p50_goal: Option<f64>) {
        for (name, Pair { with, without }, goal) in [("p99", self.p99, Some(p99_goal)), ("p50", self.p50, p50_goal)] {
            let [with, without] = [with, without].map(Rounds::new);
            let ratio = with.median() / without.median();
            let row = Row::new(format!("{what}: {name}"), with.show(nanos));
            let row = row.beside(format!("without {it} {}", without.show(nanos)), ratio);
            lab.table.add(match goal {
                Some(goal) => row.goal(format!("<= {goal} x"), ratio <= goal),
                None => row,
            });
        }
    }
}

/// Runs a round, and something beside it that ends soon after it is told that the round is over.
pub fn run_beside<T, U: Send>(
    disturb: impl FnOnce(&AtomicBool) -> Result<U> + Send,
    run: impl FnOnce() -> Result<T>,
) -> Result<(T, U)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let disturbing = scope.spawn(|| disturb(&is_over));
        let outcome = run();
        is_over.store(true, Ordering::Release);
        let disturbed = disturbing.join().map_err(|_| "what runs beside the inserts panicked")?;
        Ok((outcome?, disturbed?))
    })
}
