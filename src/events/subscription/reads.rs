use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::domain::{EventFilter, FilterChange, Position};
use crate::error::Error;
use crate::events::control::Reset;
use crate::events::reading::{Given, Lost, Settled, Source};
use crate::events::sink::Asked;
use crate::store::{Replay, Wanted};

/// How many losses wait to be told at most; if there are more, the stream is reset.
const MAX_LOST: usize = 2;

/// A step that a thread of the store takes. Dropped, it is not taken.
pub type Reading = Pin<Box<dyn Future<Output = Result<Given, Error>>>>;

/// What a subscription is to be given before it goes on with new events, in order: first what a change of its view calls for, then
/// what it is missing itself. There are a few at most, and none while it is live.
#[derive(Default)]
pub struct Reads(Vec<Read>);

/// One thing to be given, and how far that is.
pub struct Read {
    pub what: What,
    pub work: Work,
    /// What was asked for by itself. In a box, since few streams ask.
    pub asked: Option<Box<Asked>>,
}

/// What is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything anew, for a reason.
    Anew(Reset),
    /// The names that a change of the view took away.
    Lost,
    /// The latest events that a change of the view made visible, of those up to the subscription's position.
    New,
    /// The latest events that the client asked for.
    Asked,
    /// The latest event of every name after the subscription's position, up to another.
    Snapshot(Position),
    /// Every event after the subscription's position, up to another.
    Missed(Position),
}

/// How far a [`Read`] is.
pub enum Work {
    /// Not begun.
    Due,
    /// The latest events are being read into the channel's memory.
    Filling(Settled),
    /// That has been tried.
    Filled,
    /// The next step is to be read from the store.
    Next(Source),
    /// The step is being read.
    Running(Reading),
    /// The step has been read, and is to be written.
    Done(Box<Given>),
}

/// What must happen next for the read at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is none: the subscription goes on with new events.
    Nothing,
    /// The subscription begins anew.
    Anew(Reset),
    /// The latest events up to a position are looked for in memory, for the first time or once that has been filled.
    Memory(Position, bool),
    /// The store must be read from the subscription's position, up to another.
    Store(Position),
    /// The store must be read for what was asked for.
    Asked,
    /// A thread of the store must take a step.
    Wait,
}

impl What {
    /// Whether it follows from a change of the view.
    pub fn is_of_switch(self) -> bool {
        matches!(self, Self::Anew(_) | Self::Lost | Self::New | Self::Asked)
    }

    /// The position up to which it moves the subscription.
    fn until(self) -> Option<Position> {
        match self {
            Self::Snapshot(until) | Self::Missed(until) => Some(until),
            Self::Anew(_) | Self::Lost | Self::New | Self::Asked => None,
        }
    }
}

impl Reads {
    /// What must happen next.
    pub fn next(&self) -> Next {
        match self.0.first() {
            None => Next::Nothing,
            Some(Read { what: What::Anew(reason), .. }) => Next::Anew(*reason),
            Some(Read { what: What::Snapshot(until), work: Work::Due, .. }) => Next::Memory(*until, false),
            Some(Read { what: What::Snapshot(until), work: Work::Filled, .. }) => Next::Memory(*until, true),
            Some(Read { what: What::Missed(until), work: Work::Due, .. }) => Next::Store(*until),
            Some(Read { what: What::Asked, work: Work::Due, .. }) => Next::Asked,
            Some(_) => Next::Wait,
        }
    }

    /// Whether a step of the store's threads has been asked for and not been written yet.
    pub fn is_running(&self) -> bool {
        self.0.first().is_some_and(|read| matches!(read.work, Work::Running(_) | Work::Done(_)))
    }

    /// Whether not all of what a change of the view calls for has been given.
    pub fn is_switching(&self) -> bool {
        self.0.iter().any(|read| read.what.is_of_switch())
    }

    /// Whether the subscription is to begin anew.
    pub fn is_anew(&self) -> bool {
        self.0.iter().any(|read| matches!(read.what, What::Anew(_)))
    }

    /// The read that comes first.
    pub fn front(&mut self) -> Option<&mut Read> {
        self.0.first_mut()
    }

    /// The read that comes first has been given.
    pub fn pop(&mut self) {
        if !self.0.is_empty() {
            self.0.remove(0);
        }
        self.shrink();
    }

    /// Adds what the subscription is missing itself.
    pub fn push(&mut self, what: What) {
        self.add(self.0.len(), Read::new(what, Work::Due));
    }

    /// Adds names that were lost. If too many losses wait to be told, the subscription begins anew for this reason instead.
    pub fn push_lost(&mut self, lost: Lost, reason: Reset) {
        let losses = self.losses();
        if losses < MAX_LOST {
            let work = Work::Next(Source::Lost(Box::new(lost)));
            self.add(losses, Read::new(What::Lost, work));
        } else {
            // Its client takes nothing, and each of these takes memory.
            self.clear();
            self.push(What::Anew(reason));
        }
    }

    /// Adds events that have become visible, after those that became visible before.
    pub fn push_new(&mut self, replay: Replay) {
        let work = Work::Next(Source::Replay(Box::new(replay)));
        let before = self.0.iter().filter(|read| matches!(read.what, What::Lost | What::New)).count();
        self.add(before, Read::new(What::New, work));
    }

    /// Adds latest events that the client asked for, of those up to a position: before what it is missing, and after what it asked for
    /// before. What has not begun is made one, so that a client that asks and does not read takes no more memory.
    pub fn push_asked(&mut self, filter: EventFilter, until: Position, number: u32) {
        let last = self.0.iter_mut().rfind(|read| read.what == What::Asked);
        if let Some(Read { work: Work::Due, asked: Some(asked), .. }) = last
            && !asked.is_begun
            && let Ok(both) = FilterChange::Add(filter.clone()).of(&asked.filter)
        {
            (asked.filter, asked.until, asked.number) = (both, until, number);
            return;
        }
        self.add_asked(Asked { filter, after: Position::START, until, number, is_begun: false });
    }

    /// Adds what the client asked for before, in the same place.
    pub fn add_asked(&mut self, asked: Asked) {
        let before = self.0.iter().filter(|read| read.what.is_of_switch()).count();
        self.add(before, Read { asked: Some(Box::new(asked)), ..Read::new(What::Asked, Work::Due) });
    }

    /// What the client asked for, if that comes first.
    pub fn asked(&self) -> Option<&Asked> {
        self.0.first().and_then(|read| read.asked.as_deref())
    }

    /// Takes out the events that became visible last, if none of them has been read: what was wanted.
    pub fn take_waiting_new(&mut self) -> Option<Wanted> {
        let last = self.0.iter().rposition(|read| read.what == What::New)?;
        let Work::Next(Source::Replay(replay)) = &self.0[last].work else { return None };
        let wanted = replay.not_begun()?.clone();
        self.0.remove(last);
        Some(wanted)
    }

    /// How many losses wait to be told. They come first.
    fn losses(&self) -> usize {
        self.0.iter().filter(|read| read.what == What::Lost).count()
    }

    /// Adds a read after so many others.
    fn add(&mut self, number: usize, read: Read) {
        if self.0.is_empty() {
            // Most streams have no more than one.
            self.0.reserve_exact(1);
        }
        self.0.insert(number, read);
    }

    /// Forgets what was being read for a view that the subscription no longer has. What it is missing itself is read again, and what
    /// an earlier change made visible is part of the next one, unless the view is only wider than before. What it has lost is told all
    /// the same. It is at this position now.
    pub fn forget_view(&mut self, position: Position, is_wider: bool) {
        let is_past = |what: What| what.until().is_some_and(|until| until <= position);
        self.0.retain(|read| (is_wider || read.what != What::New) && !is_past(read.what));
        for read in self.0.iter_mut().filter(|read| read.what.until().is_some() || read.what == What::Asked) {
            // A memory that is being filled, or that has been, is not of the view.
            if !matches!(read.work, Work::Filling(_) | Work::Filled) {
                read.work = Work::Due;
            }
        }
        self.shrink();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Gives the memory back: most streams wait for new events for as long as they live.
    fn shrink(&mut self) {
        if self.0.is_empty() {
            self.clear();
        }
    }
}

impl Read {
    fn new(what: What, work: Work) -> Self {
        Self { what, work, asked: None }
    }
}

impl Work {
    /// Takes out what is to be read next, if that is what it says.
    pub fn take_next(&mut self) -> Option<Source> {
        match std::mem::replace(self, Self::Due) {
            Self::Next(source) => Some(source),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes out what has been read, if that is what it says.
    pub fn take_done(&mut self) -> Option<Given> {
        match std::mem::replace(self, Self::Due) {
            Self::Done(given) => Some(*given),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Waits until memory is filled, or a step has been read. Returns whether that is so.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let done = match self {
            Self::Filling(settled) => settled.as_mut().poll(context).map(|()| Ok(Self::Filled)),
            Self::Running(reading) => reading.as_mut().poll(context).map_ok(|given| Self::Done(Box::new(given))),
            Self::Due | Self::Filled | Self::Next(_) | Self::Done(_) => return Poll::Ready(Ok(())),
        };
        done.map_ok(|done| *self = done)
    }
}
