//! Guards the turns of own replies and streams on a socket that takes as much as a test says.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};

use super::*;

/// A socket with so much room, which keeps what is written.
#[derive(Default)]
struct Socket {
    room: usize,
    sent: Vec<u8>,
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Poll::Pending;
        }
        self.room -= taken;
        self.sent.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Poll::Pending
    }
}

impl Duplex for Socket {
    fn poll_writable(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        if self.room > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// A connection whose streams and replies are letters: `a` and `b` are streams, a write of which ends with a capital; `r` is a reply,
/// which ends with a capital too.
#[derive(Default)]
struct Connection {
    writer: Writer,
    socket: Socket,
    /// What is left of the write that each stream has begun.
    rest: [VecDeque<u8>; 2],
}

impl Connection {
    /// Makes room, and polls the task. Returns whether streams were told to go on.
    fn make_room(&mut self, room: usize) -> bool {
        self.socket.room += room;
        self.writer.advance(&mut self.socket, &mut Context::from_waker(Waker::noop())).unwrap()
    }

    fn reply(&mut self, length: usize) {
        self.writer.queue().extend(word(b'r', length));
    }

    /// A stream writes what it has begun, or a new write of this length.
    fn write(&mut self, stream: usize, length: usize) -> Written {
        let is_new = self.rest[stream].is_empty();
        if is_new {
            self.rest[stream] = word(b'a' + stream as u8, length).into();
        }
        let bytes = self.rest[stream].make_contiguous().to_vec();
        let context = &mut Context::from_waker(Waker::noop());
        let written = self.writer.write_stream(&mut self.socket, context, stream as Serial, &bytes).unwrap();
        match written {
            Written::All => self.rest[stream].clear(),
            // If nothing of it was taken, it may write something else next.
            Written::Part(0) if is_new => self.rest[stream].clear(),
            Written::Part(taken) => drop(self.rest[stream].drain(..taken)),
            Written::Gone => unreachable!("the socket stays"),
        }
        written
    }

    fn sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.socket.sent)).unwrap()
    }
}

fn word(letter: u8, length: usize) -> Vec<u8> {
    let mut word = vec![letter; length];
    word[length - 1] = letter.to_ascii_uppercase();
    word
}

/// Whether nothing stands within a word.
fn is_whole(sent: &str) -> bool {
    let mut within = None;
    sent.bytes().all(|byte| {
        let fits = within.is_none_or(|within| byte.eq_ignore_ascii_case(&within));
        within = byte.is_ascii_lowercase().then_some(byte);
        fits
    })
}

#[test]
fn a_reply_that_comes_while_a_write_is_under_way_goes_after_it() {
    let mut connection = Connection::default();
    connection.make_room(5);
    assert_eq!(connection.write(0, 3), Written::All);
    assert_eq!(connection.write(0, 4), Written::Part(2));
    connection.reply(2);
    assert!(connection.make_room(1), "the stream may go on");
    assert_eq!(connection.sent(), "aaAaa");
    assert_eq!(connection.write(1, 3), Written::Part(0), "another stream waits too");
    assert_eq!(connection.write(0, 4), Written::Part(1));
    connection.make_room(10);
    assert_eq!(connection.write(0, 4), Written::All);
    connection.make_room(0);
    assert_eq!(connection.sent(), "aArR");
}

#[test]
fn if_both_always_have_more_they_take_turns() {
    let mut connection = Connection::default();
    assert_eq!(connection.write(0, 3), Written::Part(0));
    let mut sent = String::new();
    for _ in 0..100 {
        // There are always some replies, and the stream tries again whenever it is told to.
        if connection.writer.waiting() < 9 {
            connection.reply(3);
        }
        if connection.make_room(2) {
            while connection.write(0, 3) == Written::All {}
        }
        sent += &connection.sent();
    }
    assert!(is_whole(&sent), "{sent}");
    let turns = sent.replace("aaA", "a").replace("rrR", "r");
    assert!(!turns.contains("aa"), "{turns}");
    assert!(turns.matches('a').count() > 5 && !turns.contains("rrrrrrrr"), "{turns}");
}

#[test]
fn a_stream_writes_directly_if_nothing_waits_and_after_replies_if_it_wrote_last() {
    let mut connection = Connection::default();
    connection.make_room(100);
    assert_eq!([connection.write(0, 2), connection.write(0, 2)], [Written::All; 2]);
    connection.reply(3);
    assert_eq!(connection.write(0, 2), Written::All);
    assert_eq!(connection.sent(), "aAaArrRaA");
    // Replies had the last turn: those that are new wait for this one.
    connection.reply(3);
    connection.make_room(0);
    connection.reply(3);
    assert_eq!(connection.write(0, 2), Written::All);
    connection.make_room(0);
    assert_eq!(connection.sent(), "rrRaArrR");
    assert!(connection.writer.is_done());
}

#[test]
fn a_stream_that_was_refused_and_stays_silent_holds_up_no_reply() {
    let mut connection = Connection::default();
    connection.make_room(1);
    connection.reply(3);
    connection.make_room(0);
    assert_eq!(connection.write(0, 3), Written::Part(0));
    connection.reply(3);
    // It has its chance once.
    assert!(connection.make_room(100));
    assert_eq!(connection.sent(), "rrR");
    assert!(!connection.make_room(0));
    assert_eq!(connection.sent(), "rrR");
}

#[derive(Clone, Debug)]
enum Step {
    Reply(usize),
    Write(usize, usize),
    Room(usize),
}

proptest! {
    #[test]
    fn nothing_ever_stands_in_the_middle_of_something_else(steps in prop::collection::vec(prop_oneof![
        (1..20_usize).prop_map(Step::Reply),
        (0..2_usize, 1..20_usize).prop_map(|(stream, length)| Step::Write(stream, length)),
        (0..20_usize).prop_map(Step::Room),
    ], 0..200)) {
        let mut connection = Connection::default();
        for step in steps {
            match step {
                Step::Reply(length) => connection.reply(length),
                Step::Write(stream, length) => drop(connection.write(stream, length)),
                Step::Room(room) => drop(connection.make_room(room)),
            }
        }
        let sent = connection.sent();
        prop_assert!(is_whole(&sent), "{}", sent);
        // All of it goes out in the end.
        for _ in 0..4 {
            connection.make_room(10_000);
            for stream in 0..2 {
                if !connection.rest[stream].is_empty() {
                    connection.write(stream, 1);
                }
            }
        }
        prop_assert!(connection.writer.is_done());
    }
}
