//! Guards subscribers against every order of events, changed rights, moves and reconnects: each comes to know exactly what it may
//! see, and nothing else is ever written to it. The server is compared with a model in memory.

mod expected;
mod simulation;
mod source;
mod subscriber;
mod tables;

use proptest::prelude::*;

use simulation::Simulation;

use tables::{FILTERS, NAMES, SCOPES, SUBSCRIBERS, USERS};

/// Numbers stand for the entries of the tables above.
#[derive(Clone, Debug)]
pub enum Step {
    /// Somebody inserts, where they may, also what is transient.
    Insert { user: usize, names: Vec<(usize, bool)> },
    /// Somebody inserts what is removed by itself.
    Expire { user: usize, name: usize },
    /// Somebody removes, where they may.
    Remove { user: usize, name: usize },
    /// Somebody gets other rights, and at the same time an event may be inserted.
    Rescope { user: usize, scopes: usize, meanwhile: Option<usize> },
    /// Somebody is moved to the other tenant, perhaps with other rights, and at the same time an event may be inserted
    /// in the one that they leave.
    Move { user: usize, scopes: Option<usize>, meanwhile: Option<usize> },
    /// A stream wants something else.
    Refilter { subscriber: usize, filter: usize },
    /// A stream is cut off by its reader.
    Disconnect { subscriber: usize },
    /// It comes back.
    Resume { subscriber: usize },
    /// Its reader does not read.
    Pause { subscriber: usize },
    /// Its reader reads again.
    GoOn { subscriber: usize },
    /// All who read are compared with the model.
    Settle,
    /// The server is killed, so long after an insert was sent, and started again.
    Kill { name: usize, after_micros: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (users, names, subscribers) = (0..USERS.len(), 0..NAMES.len(), 0..SUBSCRIBERS.len());
    prop_oneof![
        14 => (users.clone(), prop::collection::vec((names.clone(), prop::bool::weighted(0.4)), 1..5))
            .prop_map(|(user, names)| Step::Insert { user, names }),
        2 => (users.clone(), names.clone()).prop_map(|(user, name)| Step::Expire { user, name }),
        4 => (users.clone(), names.clone()).prop_map(|(user, name)| Step::Remove { user, name }),
        5 => (users.clone(), 0..SCOPES.len(), prop::option::of(names.clone()))
            .prop_map(|(user, scopes, meanwhile)| Step::Rescope { user, scopes, meanwhile }),
        3 => (users, prop::option::of(0..SCOPES.len()), prop::option::of(names.clone()))
            .prop_map(|(user, scopes, meanwhile)| Step::Move { user, scopes, meanwhile }),
        4 => (subscribers.clone(), 0..FILTERS.len())
            .prop_map(|(subscriber, filter)| Step::Refilter { subscriber, filter }),
        4 => subscribers.clone().prop_map(|subscriber| Step::Disconnect { subscriber }),
        4 => subscribers.clone().prop_map(|subscriber| Step::Resume { subscriber }),
        2 => subscribers.clone().prop_map(|subscriber| Step::Pause { subscriber }),
        2 => subscribers.prop_map(|subscriber| Step::GoOn { subscriber }),
        4 => Just(Step::Settle),
        1 => (names, 0..4000_u64).prop_map(|(name, after_micros)| Step::Kill { name, after_micros }),
    ]
}

proptest! {
    // A failure is printed with its steps. The same steps meet other moments when they are run again, so there is
    // little to gain from shrinking for long, or from keeping the seed.
    #![proptest_config(ProptestConfig {
        cases: 6,
        max_shrink_iters: 40,
        max_shrink_time: 120_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_subscriber_comes_to_know_exactly_what_it_may_see(steps in prop::collection::vec(step(), 20..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut simulation = Simulation::new().await;
            for step in steps {
                simulation.take(step).await;
            }
            simulation.finish().await;
        });
    }
}
