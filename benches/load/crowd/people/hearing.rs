//! Handles the data that the clients receive.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::Timespec;

use super::{People, TIMER, nanos, stream};
use crate::http::Http;
use crate::targets::Greeting;
use crate::{Result, message};

impl People {
    /// Waits for readiness, and handles every socket that is ready.
    pub(super) fn tick(&mut self) -> Result<()> {
        let at_most = if self.spec.spins && !self.publishers.is_empty() { Duration::ZERO } else { self.spec.patience };
        let before = (self.run.deliveries, self.run.acknowledged, self.greetings.len());
        self.tick_within(at_most)?;
        if before != (self.run.deliveries, self.run.acknowledged, self.greetings.len()) {
            self.progress = Instant::now();
        } else if self.progress.elapsed() > self.spec.patience {
            return Err(format!("nothing arrived for {:?}: {}", self.spec.patience, self.ledger.missing()));
        }
        Ok(())
    }

    /// The same once, and without a complaint if nothing arrives. Returns how many sockets were ready.
    pub(super) fn tick_within(&mut self, at_most: Duration) -> Result<usize> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = Timespec::try_from(at_most).map_err(|error| error.to_string())?;
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))
            .map_err(|error| error.to_string())?;
        for event in &events {
            let data = event.data.u64();
            match usize::try_from(data) {
                _ if data == TIMER => {
                    // Clears the timer's readiness.
                    let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                }
                Ok(index) if index < self.subscribers.len() => {
                    self.hear(index).map_err(|why| format!("subscriber {index}: {why}"))?;
                }
                Ok(index) => {
                    let publisher = index - self.subscribers.len();
                    self.acknowledge(publisher).map_err(|why| format!("publisher {publisher}: {why}"))?;
                }
                Err(_) => {}
            }
        }
        let ready = events.len();
        self.events = events;
        Ok(ready)
    }

    /// Reads a subscriber's socket.
    fn hear(&mut self, index: usize) -> Result<()> {
        loop {
            let subscriber = &mut self.subscribers[index];
            // The rest of the last read stands directly before the new bytes.
            let begin = message::MARK - subscriber.tail_length;
            let length = match subscriber.stream.receive(&mut self.buffer[message::MARK..]) {
                Ok(0) if self.greetings.contains_key(&index) => {
                    return Err("the server closed the connection before the client was subscribed".to_owned());
                }
                Ok(0) => return Err("the server ended the stream".to_owned()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let end = message::MARK + length;
            self.run.bytes += length as u64;
            if !self.greetings.is_empty() && self.greetings.contains_key(&index) {
                self.greet(index, end)?;
            } else if self.wire.has_units() {
                self.subscribers[index].received.extend_from_slice(&self.buffer[message::MARK..end]);
                self.read_units(index)?;
            } else {
                self.buffer[begin..message::MARK].copy_from_slice(&subscriber.tail[..subscriber.tail_length]);
                self.scan(index, begin, end)?;
            }
            if !self.subscribers[index].stream.must_be_emptied() {
                return Ok(());
            }
        }
    }

    /// Finds marks in a part of the buffer, and keeps its end, which may contain the beginning of one.
    fn scan(&mut self, index: usize, begin: usize, end: usize) -> Result<()> {
        let mut at = begin;
        while let Some(found) = self.finder.find(&self.buffer[at..end]) {
            let digits = at + found + message::MARKER.len();
            if digits + message::DIGITS > end {
                at += found;
                break;
            }
            at = digits + message::DIGITS;
            let number = message::number(&self.buffer[digits..at]).ok_or("a mark without a number")?;
            if self.ledger.received(index, number)? {
                self.run.deliveries += 1;
                let nth = number.wrapping_sub(self.run.first_number) as usize;
                if let Some(due) = self.run.due.get(nth) {
                    self.run.latencies.push(nanos(self.begun.elapsed()).saturating_sub(*due));
                }
            }
        }
        // The kept part is shorter than a mark, so that none is counted twice.
        let rest = &self.buffer[at.max(end.saturating_sub(message::MARK - 1)).min(end)..end];
        let subscriber = &mut self.subscribers[index];
        subscriber.tail[..rest.len()].copy_from_slice(rest);
        subscriber.tail_length = rest.len();
        Ok(())
    }

    /// Reads the whole units that a subscriber has received.
    fn read_units(&mut self, index: usize) -> Result<()> {
        let received = std::mem::take(&mut self.subscribers[index].received);
        let (mut content, mut reply) = (std::mem::take(&mut self.content), std::mem::take(&mut self.reply));
        let mut done = 0;
        while let Some(length) =
            self.wire.unit(self.spec.first_subscriber + index, &received[done..], &mut content, &mut reply)?
        {
            done += length;
        }
        if !reply.is_empty() {
            self.subscribers[index].stream.send(&reply).map_err(|error| error.to_string())?;
        }
        self.scan_content(index, &content)?;
        let rest = &mut self.subscribers[index].received;
        *rest = received;
        rest.drain(..done);
        content.clear();
        reply.clear();
        (self.content, self.reply) = (content, reply);
        Ok(())
    }

    fn scan_content(&mut self, index: usize, content: &[u8]) -> Result<()> {
        let end = message::MARK + content.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer[message::MARK..end].copy_from_slice(content);
        self.scan(index, message::MARK, end)
    }

    /// Treats the bytes as a part of the greeting.
    fn greet(&mut self, index: usize, end: usize) -> Result<()> {
        let received = self.greetings.entry(index).or_default();
        received.extend_from_slice(&self.buffer[message::MARK..end]);
        let ready = match self.wire.greeted(self.spec.first_subscriber + index, received)? {
            Greeting::Incomplete => return Ok(()),
            Greeting::Reply(words) => {
                received.clear();
                return self.subscribers[index].stream.send(&words).map_err(|error| error.to_string());
            }
            Greeting::Elsewhere(request) => {
                let length = received.len();
                let beside = match &mut self.beside {
                    Some(beside) => beside,
                    // From the same address as the stream, since PocketBase requires that.
                    none => none.insert(Http::over(stream::connect(self.spec.source, self.spec.address, false)?)?),
                };
                beside.ask(&request)?;
                length
            }
            Greeting::Ready(length) => length,
        };
        let rest = self.greetings.remove(&index).unwrap_or_default().split_off(ready);
        if self.is_stalled(index) {
            return epoll::delete(&self.epoll, self.subscribers[index].stream.socket())
                .map_err(|error| error.to_string());
        }
        if self.wire.has_units() {
            self.subscribers[index].received = rest;
            return self.read_units(index);
        }
        self.scan_content(index, &rest)
    }

    /// Reads the acknowledgements of a publisher.
    fn acknowledge(&mut self, publisher: usize) -> Result<()> {
        loop {
            let one = &mut self.publishers[publisher];
            let length = match one.stream.receive(&mut self.buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            one.received.extend_from_slice(&self.buffer[..length]);
            if one.is_open {
                self.read_answers(publisher)?;
            } else {
                self.open(publisher)?;
            }
            if !self.publishers[publisher].stream.must_be_emptied() {
                return Ok(());
            }
        }
    }

    fn open(&mut self, publisher: usize) -> Result<()> {
        let one = &mut self.publishers[publisher];
        match self.wire.opened(publisher, &one.received)? {
            Greeting::Incomplete => Ok(()),
            Greeting::Reply(words) => {
                one.received.clear();
                one.stream.send(&words).map_err(|error| error.to_string())
            }
            Greeting::Elsewhere(_) => Err("a publisher has one connection".to_owned()),
            Greeting::Ready(length) => {
                one.received.drain(..length);
                one.is_open = true;
                Ok(())
            }
        }
    }

    fn read_answers(&mut self, publisher: usize) -> Result<()> {
        let one = &mut self.publishers[publisher];
        let mut done = 0;
        while let Some(answer) = self.wire.acknowledged(&one.received[done..])? {
            done += answer.length;
            if answer.acknowledges {
                self.run.acknowledged += 1;
                self.idle.push_back(publisher);
            }
        }
        one.received.drain(..done);
        Ok(())
    }
}
