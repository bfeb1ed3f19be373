//! A server, its clients, and what happens to them.

use std::time::Duration;

use tokio::time::Instant;

use super::super::super::support::{TestServer, User, again};
use super::super::server_with;
use super::client::ModelClient;
use super::group::Group;
use super::publisher::{Published, Publisher};
use super::subscriber::Subscriber;
use super::{MEMBERS, PUBLISHERS, SUBSCRIBERS, Step, TOPICS};

pub struct Simulation {
    server: Option<TestServer>,
    alice: User,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    group: Group,
    /// Everything that was sent, with whether it must have been published, and whether it may have been twice.
    sent: Vec<(Published, bool, bool)>,
    /// The retained message of each topic, by its number and QoS.
    retained: [Option<(u32, u8)>; TOPICS.len()],
}

impl Simulation {
    pub async fn new() -> Self {
        let (server, alice) = server_with(&[]).await;
        let token = alice.jwt();
        let clients = |name: &'static str, number: usize| {
            (0..number).map(move |at| {
                let level = if at % 2 == 0 { 5 } else { 4 };
                let receive_maximum = (at == 0).then_some(3);
                ModelClient::new(format!("{name}{at}"), level, at < number - 1, receive_maximum, token)
            })
        };
        Self {
            publishers: (0..PUBLISHERS).map(Publisher::new).collect(),
            subscribers: clients("subscriber", SUBSCRIBERS).map(Subscriber::new).collect(),
            group: Group::new(clients("member", MEMBERS).collect()),
            sent: Vec::new(),
            retained: [None; TOPICS.len()],
            server: Some(server),
            alice,
        }
    }

    pub async fn take(&mut self, step: Step) {
        match step {
            Step::Publish { topic, qos, retain, waits } => self.publish((topic, qos, retain), waits).await,
            Step::Interrupt { publisher } => {
                let lost = self.publishers[publisher].lose(false).await;
                self.lost(&lost);
            }
            Step::Subscribe { subscriber, filter, qos } => {
                self.drain().await;
                self.subscribers[subscriber].subscribe(filter, qos, &self.retained).await;
            }
            Step::Unsubscribe { subscriber, filter } => {
                self.drain().await;
                self.subscribers[subscriber].unsubscribe(filter).await;
            }
            Step::Read { subscriber, acks } => self.subscribers[subscriber].read(acks).await,
            Step::Disconnect { subscriber, says } => self.subscribers[subscriber].disconnect(says).await,
            Step::Connect { subscriber } => {
                self.subscribers[subscriber].connect(self.server.as_ref().unwrap()).await;
            }
            Step::Join { member, qos } => {
                self.drain().await;
                self.group.join(member, qos, self.server.as_ref().unwrap()).await;
            }
            Step::Part { member } => {
                self.drain().await;
                self.group.part(member).await;
            }
            Step::Work { member, acks } => self.group.read(member, acks).await,
            Step::Lose { member } => self.group.lose(member),
            Step::Settle => self.settle().await,
            Step::Restart { kill, after_micros, back } => {
                self.restart(kill, Duration::from_micros(after_micros), back).await;
            }
        }
    }

    async fn publish(&mut self, (topic, qos, retain): (usize, u8, bool), waits: bool) {
        let by = topic * PUBLISHERS / TOPICS.len();
        if retain {
            // What is sent again must not come after it.
            self.drain().await;
        }
        self.connect(by).await;
        let message = Published { number: self.sent.len() as u32 + 1, topic, qos, retain };
        self.sent.push((message, true, false));
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.publish(message));
        self.group.publish(message);
        self.publishers[by].publish(message).await;
        if retain {
            self.retained[topic] = Some((message.number, qos));
        }
        // Whether one of QoS 0 is retained is not known if its connection is lost.
        if waits || (retain && qos == 0) {
            self.publishers[by].drain().await;
        }
    }

    async fn connect(&mut self, publisher: usize) {
        for number in self.publishers[publisher].connect(self.server.as_ref().unwrap(), self.alice.jwt()).await {
            self.sent[number as usize - 1].2 = true;
            self.subscribers.iter_mut().for_each(|subscriber| subscriber.repeated(number));
            self.group.repeated(number);
        }
    }

    /// These may not have been published after all.
    fn lost(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.sent[*number as usize - 1].1 = false;
            self.subscribers.iter_mut().for_each(|subscriber| subscriber.lost(*number));
            self.group.lost(*number);
        }
    }

    /// Awaits that everything is published that was sent.
    async fn drain(&mut self) {
        for at in 0..PUBLISHERS {
            if self.publishers[at].is_busy() {
                self.connect(at).await;
                self.publishers[at].drain().await;
            }
        }
    }

    async fn settle(&mut self) {
        self.drain().await;
        for subscriber in &mut self.subscribers {
            subscriber.settle().await;
        }
        self.group.settle().await;
    }

    async fn restart(&mut self, kill: bool, after: Duration, back: bool) {
        let until = Instant::now() + after;
        while Instant::now() < until {
            for subscriber in &mut self.subscribers {
                subscriber.sip().await;
            }
            self.group.sip().await;
        }
        let mut server = self.server.take().unwrap();
        if kill {
            server.kill();
        } else {
            server.stop().await;
        }
        let (mut there, members) = (Vec::new(), self.group.present());
        for (at, subscriber) in self.subscribers.iter_mut().enumerate() {
            if subscriber.client.is_there() {
                there.push(at);
            }
            subscriber.cut(kill).await;
        }
        self.group.cut(kill).await;
        for at in 0..PUBLISHERS {
            let lost = self.publishers[at].lose(true).await;
            self.lost(&lost);
        }
        let server = self.server.insert(server.restart().await);
        self.alice = again(server, &self.alice);
        if back {
            for at in there {
                self.subscribers[at].connect(server).await;
            }
            for at in members {
                self.group.connect(at, server).await;
            }
        }
    }

    /// All come back, and are compared; and so is what was published.
    pub async fn finish(&mut self) {
        for subscriber in &mut self.subscribers {
            if !subscriber.client.is_there() {
                subscriber.connect(self.server.as_ref().unwrap()).await;
            }
        }
        self.settle().await;
        for (topic, name) in TOPICS.iter().enumerate() {
            let page = self.alice.get(&format!("/history?event={name}&limit=1000")).await.ok().json();
            let numbers = page["events"].as_array().unwrap().iter().rev();
            let numbers: Vec<_> = numbers.map(|event| event["data"].as_u64().unwrap() as u32).collect();
            self.compare(topic, &numbers);
        }
    }

    /// Compares the history of a topic.
    fn compare(&self, topic: usize, numbers: &[u32]) {
        let mut greatest = [0; 3];
        let mut first = Vec::new();
        for number in numbers {
            let (message, _, is_repeated) = &self.sent[*number as usize - 1];
            assert_eq!(message.topic, topic, "{message:?}");
            if first.contains(number) {
                assert!(is_repeated, "published twice: {message:?} in {numbers:?}");
                continue;
            }
            first.push(*number);
            let greatest = &mut greatest[usize::from(message.qos)];
            assert!(number > greatest, "published out of order: {message:?} after {greatest} in {numbers:?}");
            *greatest = *number;
        }
        let of_topic = self.sent.iter().filter(|(message, must, _)| message.topic == topic && *must);
        for (message, ..) in of_topic {
            assert!(first.contains(&message.number), "not published: {message:?}");
        }
    }
}
