//! Guards deliveries over MQTT against every order of subscriptions, disconnects, takeovers and kills: a message of QoS 0 comes at most
//! once, one of QoS 1 at least once and one of QoS 2 exactly once, in the order of publishing for each topic and QoS, and none comes that
//! was not asked for. The server is compared with a model in memory.

mod simulation;
mod subscriber;

use proptest::prelude::*;

use simulation::Simulation;

/// The topics.
pub const TOPICS: [&str; 4] = ["a/0", "a/1", "b/0", "b/1"];
/// What is subscribed to.
pub const FILTERS: [&str; 6] = ["a/0", "b/1", "a/+", "+/1", "b/#", "#"];
/// How many clients subscribe: the first ones keep their sessions.
pub const SUBSCRIBERS: usize = 4;

/// Numbers stand for the entries of the tables above.
#[derive(Clone, Debug)]
pub enum Step {
    /// Something is published.
    Publish { topic: usize, qos: u8 },
    /// A client subscribes, or subscribes again.
    Subscribe { subscriber: usize, filter: usize, qos: u8 },
    /// A client unsubscribes.
    Unsubscribe { subscriber: usize, filter: usize },
    /// A client reads and acknowledges some of what has come.
    Read { subscriber: usize, packets: usize },
    /// A client goes without a word.
    Disconnect { subscriber: usize },
    /// It comes back; if it is there, it takes its own session over.
    Connect { subscriber: usize },
    /// All clients that are there are compared with the model.
    Settle,
    /// The server is killed, or stopped, and started again.
    Restart { kill: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (subscribers, filters) = (0..SUBSCRIBERS, 0..FILTERS.len());
    prop_oneof![
        20 => (0..TOPICS.len(), 0..3_u8).prop_map(|(topic, qos)| Step::Publish { topic, qos }),
        6 => (subscribers.clone(), filters.clone(), 0..3_u8)
            .prop_map(|(subscriber, filter, qos)| Step::Subscribe { subscriber, filter, qos }),
        2 => (subscribers.clone(), filters).prop_map(|(subscriber, filter)| Step::Unsubscribe { subscriber, filter }),
        6 => (subscribers.clone(), 1..6_usize).prop_map(|(subscriber, packets)| Step::Read { subscriber, packets }),
        3 => subscribers.clone().prop_map(|subscriber| Step::Disconnect { subscriber }),
        4 => subscribers.prop_map(|subscriber| Step::Connect { subscriber }),
        2 => Just(Step::Settle),
        1 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ]
}

proptest! {
    // As for the model of streams: the same steps meet other moments when they are run again.
    #![proptest_config(ProptestConfig {
        cases: 6,
        max_shrink_iters: 40,
        max_shrink_time: 120_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_client_gets_what_it_subscribed_to_as_surely_as_it_asked(steps in prop::collection::vec(step(), 20..80)) {
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
