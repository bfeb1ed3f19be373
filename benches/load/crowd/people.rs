//! The clients of a crowd: one thread that polls all their sockets.

mod hearing;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustls::ClientConfig;

use super::ledger::Ledger;
use super::stream::{self, Stream};
use super::{Outcome, Pace, Spec};
use crate::http::Http;
use crate::statistics::Quantiles;
use crate::targets::{Publication, Wire};
use crate::{Result, message, tls};

/// For how long subscribers may be silent: less than half of the time after which Broker closes a WebSocket.
const SILENCE: Duration = Duration::from_secs(10);
/// How long to wait for surplus events.
const SURPLUS_WITHIN: Duration = Duration::from_millis(200);
const BUFFER: usize = 128 * 1024;
const TIMER: u64 = u64::MAX;

/// Subscribers and publishers.
pub struct People {
    spec: Spec,
    wire: Box<dyn Wire>,
    tls: Option<Arc<ClientConfig>>,
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Publishers, once for each publish that they may send now. They publish in rotation, so that no connection stays
    /// idle long enough for the server to close it.
    idle: VecDeque<usize>,
    /// Publishers with something unsent.
    unsent: Vec<usize>,
    /// The bytes received by clients that are not yet subscribed.
    greetings: HashMap<usize, Vec<u8>>,
    /// One connection for the requests beside the streams, one after another, while the clients subscribe.
    beside: Option<Http>,
    ledger: Ledger,
    finder: memmem::Finder<'static>,
    buffer: Vec<u8>,
    request: Vec<u8>,
    /// The content of a unit, and the reply to it.
    content: Vec<u8>,
    reply: Vec<u8>,
    begun: Instant,
    /// When the subscribers last showed that they live.
    alive: Instant,
    /// When an awaited event last arrived.
    progress: Instant,
    run: Run,
}

struct Subscriber {
    stream: Stream,
    /// The end of the last read, which may contain the beginning of a mark.
    tail: [u8; message::MARK],
    tail_length: usize,
    /// The beginning of a unit, if the wire has units.
    received: Vec<u8>,
}

struct Publisher {
    stream: Stream,
    received: Vec<u8>,
    /// Publishes that are to be sent together.
    unsent: Vec<u8>,
    is_open: bool,
}

/// The counters of a run.
#[derive(Default)]
struct Run {
    published: u64,
    acknowledged: u64,
    deliveries: u64,
    bytes: u64,
    first_number: u32,
    /// The due time of each publish, from the first number on, in nanoseconds of the crowd's clock.
    due: Vec<u64>,
    latencies: Vec<u64>,
}

impl People {
    /// Connects and subscribes all clients.
    pub fn gather(spec: Spec) -> Result<Self> {
        let wire = spec.language.wire()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)
            .map_err(|error| error.to_string())?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).map_err(|error| error.to_string())?;
        let first = spec.first_subscriber;
        let readers = first..first + spec.audience.subscribers.saturating_sub(spec.stalled);
        let ledger = Ledger::new(&spec.audience, readers, spec.first_number, spec.others_publish, wire.keeps_order());
        let tls = spec.root.as_deref().map(tls::config).transpose()?;
        let mut people = Self {
            wire,
            tls,
            epoll,
            timer,
            events: Vec::with_capacity(1024),
            subscribers: Vec::with_capacity(spec.audience.subscribers),
            publishers: Vec::new(),
            idle: VecDeque::new(),
            unsent: Vec::new(),
            greetings: HashMap::new(),
            beside: None,
            ledger,
            finder: memmem::Finder::new(message::MARKER),
            buffer: vec![0; message::MARK + BUFFER],
            request: Vec::new(),
            content: Vec::new(),
            reply: Vec::new(),
            begun: Instant::now(),
            alive: Instant::now(),
            progress: Instant::now(),
            run: Run::default(),
            spec,
        };
        people.subscribe()?;
        Ok(people)
    }

    fn subscribe(&mut self) -> Result<()> {
        for subscriber in 0..self.spec.audience.subscribers {
            while self.greetings.len() >= self.spec.at_once {
                self.tick()?;
            }
            let is_stalled = self.is_stalled(subscriber);
            let mut stream = Stream::connect(self.spec.source, self.spec.address, is_stalled, self.tls.as_ref())?;
            self.watch(&stream, subscriber)?;
            self.request.clear();
            self.wire.subscribe(self.spec.first_subscriber + subscriber, &mut self.request);
            stream.send(&self.request).map_err(|error| format!("subscriber {subscriber}: {error}"))?;
            let (tail, received) = ([0; message::MARK], Vec::new());
            self.subscribers.push(Subscriber { stream, tail, tail_length: 0, received });
            self.greetings.insert(subscriber, Vec::new());
            self.keep_alive()?;
        }
        while !self.greetings.is_empty() {
            self.tick()?;
        }
        self.beside = None;
        Ok(())
    }

    /// Connects as many publishers as a run needs: twice the number in flight, since an event may reach all
    /// subscribers before its publisher is answered. They disconnect after the run, because the server closes idle
    /// connections.
    fn employ(&mut self, pace: Pace) -> Result<()> {
        let wanted = match pace {
            Pace::InFlight(most) => self.spec.audience.publishers.min(2 * most),
            Pace::PerSecond(_) => self.spec.audience.publishers,
        };
        for publisher in 0..wanted {
            let mut stream = Stream::connect(self.spec.source, self.spec.address, false, self.tls.as_ref())?;
            self.watch(&stream, self.subscribers.len() + publisher)?;
            self.request.clear();
            self.wire.open(publisher, &mut self.request);
            if !self.request.is_empty() {
                stream.send(&self.request).map_err(|error| format!("publisher {publisher}: {error}"))?;
            }
            let is_open = self.request.is_empty();
            self.publishers.push(Publisher { stream, received: Vec::new(), unsent: Vec::new(), is_open });
        }
        while !self.publishers.iter().all(|publisher| publisher.is_open) {
            self.tick()?;
        }
        for _ in 0..self.wire.pipeline() {
            self.idle.extend(0..wanted);
        }
        Ok(())
    }

    fn watch(&self, stream: &Stream, index: usize) -> Result<()> {
        epoll::add(&self.epoll, stream.socket(), EventData::new_u64(index as u64), EventFlags::IN)
            .map_err(|error| error.to_string())
    }

    fn is_stalled(&self, subscriber: usize) -> bool {
        subscriber >= self.spec.audience.subscribers - self.spec.stalled
    }

    /// See [`super::Command::Run`].
    pub fn run(&mut self, pace: Pace, during: Duration) -> Result<Outcome> {
        // Other crowds may have gathered for longer than the patience lasts.
        self.progress = Instant::now();
        self.employ(pace)?;
        self.run = Run { first_number: self.ledger.next_number(), ..Run::default() };
        self.progress = Instant::now();
        let completed_before = self.ledger.completed;
        let begun = self.now();
        let until = begun + nanos(during);
        loop {
            let completed = if self.spec.audience.subscribers > self.spec.stalled {
                self.ledger.completed - completed_before
            } else {
                self.run.acknowledged
            };
            let over = match pace {
                Pace::InFlight(most) => {
                    let over = self.now() >= until;
                    while !over && self.run.published - completed < most as u64 && self.publish(None)? {}
                    over
                }
                Pace::PerSecond(rate) => self.publish_due(begun, until, rate)?,
            };
            self.send_publishes()?;
            if over && completed == self.run.published && self.run.acknowledged == self.run.published {
                break;
            }
            self.tick()?;
        }
        let outcome = self.outcome(begun);
        self.publishers.clear();
        self.idle.clear();
        Ok(outcome)
    }

    /// Publishes the events that are due, and sets the timer for the next one. Returns whether none is left.
    fn publish_due(&mut self, begun: u64, until: u64, rate: u32) -> Result<bool> {
        loop {
            let due = begun + self.run.published * 1_000_000_000 / u64::from(rate);
            if due >= until {
                return Ok(true);
            }
            let now = self.now();
            if due > now {
                let wait = Timespec { tv_sec: 0, tv_nsec: i64::try_from(due - now).unwrap_or(i64::MAX) };
                let once = Itimerspec { it_interval: Timespec::default(), it_value: wait };
                rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                    .map_err(|error| error.to_string())?;
                return Ok(false);
            }
            // If no publisher is free, the event goes out late, and the latency shows that.
            if !self.publish(Some(due))? {
                return Ok(false);
            }
        }
    }

    /// Publishes the next event, which was due at the given time or is due now. Returns whether a publisher was free.
    fn publish(&mut self, due: Option<u64>) -> Result<bool> {
        let Some(publisher) = self.idle.pop_front() else { return Ok(false) };
        let number = self.ledger.next_number();
        let room = number as usize % self.spec.audience.rooms;
        self.request.clear();
        self.wire.publish(Publication { publisher, room, number }, &mut self.request);
        self.ledger.published(room);
        self.run.published += 1;
        // If each publish follows the one before, it has no due time, so the server cannot be late.
        self.run.due.extend(due);
        let unsent = &mut self.publishers[publisher].unsent;
        if unsent.is_empty() {
            self.unsent.push(publisher);
        }
        unsent.extend_from_slice(&self.request);
        Ok(true)
    }

    fn send_publishes(&mut self) -> Result<()> {
        for publisher in self.unsent.drain(..) {
            let one = &mut self.publishers[publisher];
            one.stream.send(&one.unsent).map_err(|error| format!("publisher {publisher}: {error}"))?;
            one.unsent.clear();
        }
        Ok(())
    }

    /// Shows the server that the subscribers live, if it has not been shown for some time, and reads what it sent without being
    /// asked.
    pub fn keep_alive(&mut self) -> Result<()> {
        if self.alive.elapsed() < SILENCE {
            return Ok(());
        }
        self.alive = Instant::now();
        if let Some(words) = self.wire.keep_alive() {
            let subscribers = self.subscribers.iter_mut().enumerate();
            for (index, subscriber) in subscribers.filter(|(index, _)| !self.greetings.contains_key(index)) {
                subscriber.stream.send(&words).map_err(|error| format!("subscriber {index}: {error}"))?;
            }
        }
        while self.tick_within(Duration::ZERO)? > 0 {}
        Ok(())
    }

    /// See [`super::Command::Through`].
    pub fn wait_through(&mut self, number: u32) -> Result<Outcome> {
        self.run = Run::default();
        self.progress = Instant::now();
        let begun = self.now();
        while !self.ledger.all_heard(number + 1 - self.spec.first_number) {
            self.tick()?;
        }
        Ok(self.outcome(begun))
    }

    /// See [`super::Command::Finish`].
    pub fn finish(&mut self) -> Result<()> {
        let heard = self.run.deliveries;
        let until = Instant::now() + SURPLUS_WITHIN;
        while Instant::now() < until {
            self.tick_within(Duration::from_millis(20))?;
        }
        // If others publish, more of their events may have arrived.
        if self.run.deliveries == heard || self.spec.others_publish {
            Ok(())
        } else {
            Err(format!("{} events arrived that were not published", self.run.deliveries - heard))
        }
    }

    fn outcome(&mut self, begun: u64) -> Outcome {
        Outcome {
            published: self.run.published,
            deliveries: self.run.deliveries,
            bytes: self.run.bytes,
            elapsed: Duration::from_nanos(self.now() - begun),
            latency: Quantiles::of(&mut self.run.latencies),
        }
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
