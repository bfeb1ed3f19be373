//! Clients that share a filter: each message goes to one of them.

use super::super::super::support::TestServer;
use super::TOPICS;
use super::client::{Arrival, ModelClient};
use super::publisher::Published;

/// What they share.
const FILTER: &str = "$share/group/#";

struct Member {
    client: ModelClient,
    /// With which QoS it is a member; `None` if it is none.
    granted: Option<u8>,
    /// With which it was since all was compared last.
    had: [bool; 3],
}

/// A message that somebody is to get.
struct Due {
    message: Published,
    /// Whether somebody must get it who has not yet.
    must: bool,
    is_repeated: bool,
    /// Whether the group has ended since, so that nobody gets it who has not.
    is_over: bool,
    /// Who had it last: which member, over which connection, with which QoS.
    given: Option<(usize, u32, u8)>,
}

pub struct Group {
    members: Vec<Member>,
    due: Vec<Due>,
}

impl Group {
    pub fn new(clients: Vec<ModelClient>) -> Self {
        let member = |client| Member { client, granted: None, had: [false; 3] };
        Self { members: clients.into_iter().map(member).collect(), due: Vec::new() }
    }

    /// Whether somebody is given messages, but for one member.
    fn has_another(&self, but: Option<usize>) -> bool {
        let is_one = |(at, one): (usize, &Member)| Some(at) != but && one.client.is_there() && one.granted.is_some();
        self.members.iter().enumerate().any(is_one)
    }

    /// Something is sent to the server.
    pub fn publish(&mut self, message: Published) {
        let must = self.has_another(None);
        self.due.push(Due { message, must, is_repeated: false, is_over: false, given: None });
    }

    /// A message may not have been published after all.
    pub fn lost(&mut self, number: u32) {
        self.due.iter_mut().filter(|due| due.message.number == number).for_each(|due| due.must = false);
    }

    /// A message may have been published once more.
    pub fn repeated(&mut self, number: u32) {
        self.due.iter_mut().filter(|due| due.message.number == number).for_each(|due| due.is_repeated = true);
    }

    pub async fn join(&mut self, at: usize, qos: u8, server: &TestServer) {
        if !self.members[at].client.is_there() {
            self.connect(at, server).await;
        }
        let member = &mut self.members[at];
        assert_eq!(member.client.mqtt().unwrap().subscribe(&[(FILTER, qos)]).await, [qos]);
        member.granted = Some(qos);
        member.had[usize::from(qos)] = true;
    }

    pub async fn connect(&mut self, at: usize, server: &TestServer) {
        self.members[at].client.connect(server).await;
    }

    pub async fn part(&mut self, at: usize) {
        let Some(mqtt) = self.members[at].client.mqtt() else { return };
        mqtt.unsubscribe(&[FILTER]).await;
        self.members[at].granted = None;
        if !self.has_another(None) {
            self.end();
        }
    }

    /// Nobody is there any more.
    fn end(&mut self) {
        self.due.iter_mut().for_each(|due| (due.must, due.is_over) = (false, true));
    }

    /// Its connection is lost.
    pub fn lose(&mut self, at: usize) {
        if self.members[at].client.is_there() {
            self.lost_member(at);
            self.members[at].client.leave();
            self.forget(at);
        }
    }

    fn lost_member(&mut self, at: usize) {
        let is_last = !self.has_another(Some(at));
        let Member { client, had, .. } = &self.members[at];
        for due in &mut self.due {
            let with = |granted: usize| had[granted].then_some(due.message.qos.min(granted as u8));
            let may_be_lost = (0..3).filter_map(with).any(|qos| qos != 1);
            let key = (due.message.number, false);
            let is_its = due.given.is_some_and(|(of, connection, qos)| {
                of == at && connection == client.connection && qos == 1 && !client.acknowledged.contains(&key)
            });
            // What it has not acknowledged goes to another.
            due.must |= is_its && !due.is_over;
            due.must &= is_its || !may_be_lost;
        }
        if is_last {
            self.end();
        }
    }

    fn forget(&mut self, at: usize) {
        let member = &mut self.members[at];
        if !member.client.keeps {
            member.granted = None;
        }
    }

    /// The server has ended.
    pub async fn cut(&mut self, kill: bool) {
        for at in 0..self.members.len() {
            for arrival in self.members[at].client.rest().await {
                self.take(at, arrival);
            }
            self.forget(at);
            if kill {
                self.members[at].client.forget_acknowledged();
            }
        }
        self.end();
    }

    /// Who is there.
    pub fn present(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].client.is_there()).collect()
    }

    pub async fn read(&mut self, at: usize, acks: usize) {
        for arrival in self.members[at].client.read(acks).await {
            self.take(at, arrival);
        }
    }

    pub async fn sip(&mut self) {
        for at in 0..self.members.len() {
            for arrival in self.members[at].client.sip().await {
                self.take(at, arrival);
            }
        }
    }

    fn take(&mut self, at: usize, arrival: Arrival) {
        let Arrival { number, topic, qos, retain, is_again, .. } = arrival;
        let member = &self.members[at];
        let who = &member.client.id;
        if is_again {
            return;
        }
        assert!(!retain, "{who}: nothing retained goes to a group: {arrival:?}");
        let due = self.due.iter_mut().find(|due| due.message.number == number).expect("a message that was published");
        assert_eq!(due.message.topic, topic, "{who}: {arrival:?}");
        let is_due = (0..3).any(|granted| member.had[granted] && due.message.qos.min(granted as u8) == qos);
        assert!(is_due, "{who}: another QoS is due: {arrival:?}, {:?}", due.message);
        if let Some((of, connection, before)) = due.given.filter(|_| !due.is_repeated) {
            let other = &self.members[of].client;
            let was_lost = !other.is_there() || other.connection > connection;
            let is_open = before == 1 && !other.seen_by_server.contains(&(number, false));
            assert!(was_lost && is_open, "{who}: given twice: {arrival:?}, before to {} by QoS {before}", other.id);
        }
        due.given = Some((at, self.members[at].client.connection, qos));
        due.must = false;
    }

    /// Reads until everything has come that must come.
    pub async fn settle(&mut self) {
        let until = tokio::time::Instant::now() + super::super::super::support::PATIENCE;
        loop {
            for at in 0..self.members.len() {
                self.read(at, usize::MAX).await;
            }
            let missing: Vec<_> = self.due.iter().filter(|due| due.must).map(|due| due.message).collect();
            if missing.is_empty() {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "the group misses {missing:?} of {TOPICS:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for member in &mut self.members {
            member.had = [false; 3];
            if let Some(granted) = member.granted {
                member.had[usize::from(granted)] = true;
            }
        }
    }
}
