//! A server, clients, and what each must get.

use super::super::super::support::mqtt::{Mqtt, packet};
use super::super::super::support::{TestServer, User, again};
use super::super::{client, server_with};
use super::subscriber::{Published, Subscriber};
use super::{SUBSCRIBERS, Step, TOPICS};

pub struct Simulation {
    server: Option<TestServer>,
    alice: User,
    publisher: Option<Mqtt>,
    subscribers: Vec<Subscriber>,
    published: u32,
}

impl Simulation {
    pub async fn new() -> Self {
        let (server, alice) = server_with(&[]).await;
        let subscribers =
            (0..SUBSCRIBERS).map(|number| Subscriber::new(number, number < SUBSCRIBERS - 1, alice.jwt())).collect();
        Self { server: Some(server), alice, publisher: None, subscribers, published: 0 }
    }

    fn server(&self) -> &TestServer {
        self.server.as_ref().unwrap()
    }

    pub async fn take(&mut self, step: Step) {
        match step {
            Step::Publish { topic, qos } => self.publish(topic, qos).await,
            Step::Subscribe { subscriber, filter, qos } => self.subscribers[subscriber].subscribe(filter, qos).await,
            Step::Unsubscribe { subscriber, filter } => self.subscribers[subscriber].unsubscribe(filter).await,
            Step::Read { subscriber, packets } => self.subscribers[subscriber].read(packets).await,
            Step::Disconnect { subscriber } => self.subscribers[subscriber].disconnect(),
            Step::Connect { subscriber } => {
                let server = self.server.as_ref().unwrap();
                self.subscribers[subscriber].connect(server).await;
            }
            Step::Settle => self.settle().await,
            Step::Restart { kill } => {
                self.publisher = None;
                self.subscribers.iter_mut().for_each(Subscriber::disconnect);
                let server = self.server.take().unwrap().end_and_restart(kill).await;
                self.alice = again(&server, &self.alice);
                self.server = Some(server);
            }
        }
    }

    /// Publishes, and awaits that the server has it.
    async fn publish(&mut self, topic: usize, qos: u8) {
        if self.publisher.is_none() {
            self.publisher = Some(client(self.server(), 4, "publisher", &self.alice).await);
        }
        self.published += 1;
        let number = self.published;
        let mqtt = self.publisher.as_mut().unwrap();
        let publish = mqtt.publish_bytes((TOPICS[topic], number.to_string().as_bytes()), qos, false, 1, &[]);
        mqtt.send(&publish).await;
        match qos {
            // Answers come in order, so this one, which is no event, comes once the message is committed.
            0 => assert_eq!(mqtt.publish("$none", b"", false).await, 0),
            1 => assert_eq!(mqtt.packet().await.unwrap().first, 0x40),
            _ => {
                assert_eq!(mqtt.packet().await.unwrap().first, 0x50);
                mqtt.send(&packet(0x62, &[0, 1])).await;
                assert_eq!(mqtt.packet().await.unwrap().first, 0x70);
            }
        }
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.publish(Published { number, topic, qos }));
    }

    async fn settle(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.settle().await;
        }
    }

    /// All come back, and are compared.
    pub async fn finish(&mut self) {
        for at in 0..SUBSCRIBERS {
            if self.subscribers[at].mqtt.is_none() {
                let server = self.server.as_ref().unwrap();
                self.subscribers[at].connect(server).await;
            }
        }
        self.settle().await;
    }
}
