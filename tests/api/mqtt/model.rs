//! Guards deliveries over MQTT against every order of subscriptions, disconnects, takeovers, stops and kills: a message of QoS 0 comes at
//! most once, one of QoS 1 at least once and one of QoS 2 exactly once, with the QoS that it is due with, in the order of publishing for
//! each topic and QoS, and none comes that was not asked for. The server is compared with a model in memory.

mod client;
mod group;
mod publisher;
mod simulation;
mod subscriber;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use simulation::Simulation;

/// The topics. Those that begin alike have one publisher.
pub const TOPICS: [&str; 4] = ["a/0", "a/1", "b/0", "b/1"];
/// How many clients publish.
pub const PUBLISHERS: usize = 2;
/// What is subscribed to.
pub const FILTERS: [&str; 6] = ["a/0", "b/1", "a/+", "+/1", "b/#", "#"];
/// How many clients subscribe: all but the last one keep their sessions.
pub const SUBSCRIBERS: usize = 4;
/// How many clients share a filter: all but the last one keep their sessions.
pub const MEMBERS: usize = 3;
/// How many sequences of steps are tried.
const CASES: u64 = 12;
/// Sequences that have found something once.
const KNOWN: [u64; 2] = [5_928_798_535_395_940_754, 9_391_036_368_077_828_927];
/// The variable that names the seed of one sequence, to try it again: the same steps, which may meet other moments.
const SEED: &str = "MQTT_MODEL_SEED";

/// Numbers stand for the entries of the tables above.
#[derive(Clone, Debug)]
pub enum Step {
    /// Something is published, and its answer awaited or not.
    Publish { topic: usize, qos: u8, retain: bool, waits: bool },
    /// A publisher goes without a word, and comes back when it publishes again.
    Interrupt { publisher: usize },
    /// A client subscribes, or subscribes again.
    Subscribe { subscriber: usize, filter: usize, qos: u8 },
    /// A client unsubscribes.
    Unsubscribe { subscriber: usize, filter: usize },
    /// A client reads all that has come, and acknowledges some.
    Read { subscriber: usize, acks: usize },
    /// A client goes, with a DISCONNECT or without a word.
    Disconnect { subscriber: usize, says: bool },
    /// It comes back; if it is there, it takes its own session over.
    Connect { subscriber: usize },
    /// A member of the group subscribes, or subscribes again; it connects if it is away.
    Join { member: usize, qos: u8 },
    /// A member unsubscribes.
    Part { member: usize },
    /// A member reads all that has come, and acknowledges some.
    Work { member: usize, acks: usize },
    /// A member goes without a word.
    Lose { member: usize },
    /// All clients that are there are compared with the model.
    Settle,
    /// The server is killed, or stopped, while clients still read and acknowledge, and is started again. Then those who were there come back.
    Restart { kill: bool, after_micros: u64, back: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (subscribers, filters, members) = (0..SUBSCRIBERS, 0..FILTERS.len(), 0..MEMBERS);
    let publish = (0..TOPICS.len(), 0..3_u8, prop::bool::weighted(0.15), prop::bool::weighted(0.3));
    prop_oneof![
        40 => publish.prop_map(|(topic, qos, retain, waits)| Step::Publish { topic, qos, retain, waits }),
        1 => (0..PUBLISHERS).prop_map(|publisher| Step::Interrupt { publisher }),
        8 => (subscribers.clone(), filters.clone(), prop_oneof![1 => 0..3_u8, 2 => 1..3_u8])
            .prop_map(|(subscriber, filter, qos)| Step::Subscribe { subscriber, filter, qos }),
        2 => (subscribers.clone(), filters).prop_map(|(subscriber, filter)| Step::Unsubscribe { subscriber, filter }),
        8 => (subscribers.clone(), 0..6_usize).prop_map(|(subscriber, acks)| Step::Read { subscriber, acks }),
        3 => (subscribers.clone(), any::<bool>()).prop_map(|(subscriber, says)| Step::Disconnect { subscriber, says }),
        6 => subscribers.prop_map(|subscriber| Step::Connect { subscriber }),
        4 => (members.clone(), 0..3_u8).prop_map(|(member, qos)| Step::Join { member, qos }),
        1 => members.clone().prop_map(|member| Step::Part { member }),
        5 => (members.clone(), 0..6_usize).prop_map(|(member, acks)| Step::Work { member, acks }),
        2 => members.prop_map(|member| Step::Lose { member }),
        2 => Just(Step::Settle),
        3 => (prop::bool::weighted(0.7), 0..20_000_u64, prop::bool::weighted(0.7))
            .prop_map(|(kill, after_micros, back)| Step::Restart { kill, after_micros, back }),
    ]
}

/// The steps of a seed, always the same ones.
fn steps(seed: u64) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    prop::collection::vec(step(), 40..120).new_tree(&mut runner).unwrap().current()
}

#[test]
fn every_client_gets_what_it_subscribed_to_as_surely_as_it_asked() {
    let seeds = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => KNOWN.into_iter().chain((0..CASES).map(|_| rand_seed())).collect(),
    };
    for seed in seeds {
        eprintln!("{SEED}={seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut simulation = Simulation::new().await;
            for (at, step) in steps(seed).into_iter().enumerate() {
                eprintln!("{at}: {step:?}");
                simulation.take(step).await;
            }
            eprintln!("the end");
            simulation.finish().await;
        });
    }
}

/// Another number each time.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Whether a filter of the table matches a topic of the table.
pub fn is_match(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.split_once('/'), topic.split_once('/').unwrap());
    let Some((first, second)) = filter else { return true };
    (first == "+" || first == topic.0) && (second == "#" || second == "+" || second == topic.1)
}
