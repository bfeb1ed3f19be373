//! Guards what a session says by which transport, and when: polls, posts, chunks of an event stream, the upgrade, the heartbeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use bytes::Bytes;

use super::*;

const INTERVAL: Duration = Duration::from_secs(25);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A task that notes whether it was woken.
#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Task {
    fn new() -> (Arc<Self>, Waker) {
        let task = Arc::<Self>::default();
        (Arc::clone(&task), task.into())
    }

    fn was_woken(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

fn polling() -> Line {
    Line::new(false, Instant::now() + INTERVAL)
}

fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The answer to a poll that need not wait.
fn poll(line: &mut Line) -> Bytes {
    assert!(line.begin_poll().is_some());
    let Poll::Ready(answer) = line.poll_answer(&idle()) else { panic!("the poll waits") };
    line.end_poll(true);
    answer
}

/// A packet without attachments, for a WebSocket.
fn alone(packet: &str) -> Poll<Option<(Frame, Vec<Frame>)>> {
    Poll::Ready(Some((Frame::text(packet), Vec::new())))
}

fn chunk() -> Bytes {
    Bytes::from_static(b"42[\"a\"]")
}

#[test]
fn a_poll_waits_for_something_to_say_and_gets_all_of_it() {
    let mut line = polling();
    let (task, waker) = Task::new();
    let context = Context::from_waker(&waker);
    assert!(line.begin_poll().is_some() && line.poll_answer(&context).is_pending());
    line.send(Frame::text("2"));
    line.send(Frame::text("43[]"));
    assert!(task.was_woken());
    assert_eq!(line.poll_answer(&context), Poll::Ready("2\x1e43[]".into()));
    line.end_poll(true);
    line.send(Frame::text("4x"));
    assert_eq!(poll(&mut line), "4x");
    assert_eq!(line.end(), None);
}

#[test]
fn two_polls_at_once_end_the_session_and_the_first_is_told() {
    let mut line = polling();
    let (task, waker) = Task::new();
    assert!(line.begin_poll().is_some() && line.poll_answer(&Context::from_waker(&waker)).is_pending());
    assert!(line.begin_poll().is_none());
    assert!(task.was_woken());
    assert_eq!(line.poll_answer(&idle()), Poll::Ready(CLOSE.into()));
    assert_eq!(line.end(), Some(End::Malformed));
}

#[test]
fn two_posts_at_once_end_the_session() {
    let mut line = polling();
    assert!(line.begin_post());
    line.end_post();
    assert!(line.begin_post() && !line.begin_post());
    assert_eq!(line.end(), Some(End::Malformed));
    assert_eq!(poll(&mut line), CLOSE);
}

#[test]
fn a_client_that_drops_its_poll_has_gone_and_one_that_was_answered_has_not() {
    let mut line = polling();
    line.send(Frame::text("2"));
    assert_eq!(poll(&mut line), PING);
    assert_eq!(line.end(), None);
    assert!(line.begin_poll().is_some() && line.poll_answer(&idle()).is_pending());
    line.end_poll(false);
    assert_eq!(line.end(), Some(End::Gone));
}

#[test]
fn a_client_that_closes_is_told_nothing_and_one_that_is_closed_gets_what_was_sent_before() {
    for (end, said) in
        [(End::ClientClosed, "6"), (End::Silent, "1"), (End::Malformed, "1"), (End::ServerClosed, "4x\x1e1")]
    {
        let mut line = polling();
        let (task, waker) = Task::new();
        assert!(line.begin_poll().is_some() && line.poll_answer(&Context::from_waker(&waker)).is_pending());
        line.send(Frame::text("4x"));
        line.close(end);
        assert!(task.was_woken());
        assert_eq!(line.poll_answer(&idle()), Poll::Ready(said.into()), "{end:?}");
        line.close(End::Overloaded);
        line.send(Frame::text("4y"));
        line.sent();
        assert_eq!((line.end(), line.held()), (Some(end), 0));
    }
}

#[test]
fn a_chunk_of_an_event_stream_is_taken_while_a_poll_waits_and_only_then() {
    let mut line = polling();
    let (task, waker) = Task::new();
    let context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
        assert!(line.poll_chunk_room(&context).is_pending());
        assert!(line.begin_poll().is_some() && line.poll_answer(&idle()).is_pending());
        assert!(task.was_woken() && line.poll_chunk_room(&context).is_ready());
        assert_eq!(line.write_chunk(&chunk()), Written::All);
        assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
        assert_eq!(line.poll_answer(&idle()), Poll::Ready(chunk()));
        line.end_poll(true);
    }
    line.close(End::Silent);
    assert_eq!(line.write_chunk(&chunk()), Written::Gone);
    assert!(line.poll_chunks_gone(&context).is_ready() && line.poll_chunk_room(&context).is_ready());
}

#[test]
fn answers_in_every_poll_do_not_keep_an_event_stream_from_its_client() {
    let mut line = polling();
    let (task, waker) = Task::new();
    let context = Context::from_waker(&waker);
    assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
    assert!(line.poll_chunk_room(&context).is_pending());
    line.send(Frame::text("430[]"));
    assert_eq!(poll(&mut line), "430[]");
    // No poll waits, but it has been passed over.
    assert!(task.was_woken() && line.poll_chunk_room(&context).is_ready());
    assert_eq!(line.write_chunk(&chunk()), Written::All);
    assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
    line.send(Frame::text("431[]"));
    assert_eq!(poll(&mut line), "42[\"a\"]\x1e431[]");
    // It got its turn, and is owed nothing.
    assert!(line.poll_chunk_room(&context).is_pending());
}

#[test]
fn while_a_session_upgrades_no_poll_waits_and_what_it_has_to_say_then_goes_to_the_websocket() {
    let mut line = polling();
    let (task, waker) = Task::new();
    let context = Context::from_waker(&waker);
    assert!(line.begin_poll().is_some() && line.poll_answer(&context).is_pending());
    assert!(line.begin_upgrade() && !line.begin_upgrade());
    assert!(line.poll_answer(&context).is_pending(), "it is not known yet whether the WebSocket works");
    line.probe();
    assert!(task.was_woken());
    assert_eq!(line.poll_answer(&context), Poll::Ready(NOOP.into()));
    line.end_poll(true);
    for _ in 0..3 {
        assert_eq!(poll(&mut line), NOOP);
    }
    // What there is to say is not kept back, whatever becomes of the upgrade.
    line.send(Frame::text("4x"));
    assert_eq!(poll(&mut line), "4x");
    line.send(Frame::text("4y"));
    assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
    assert!(line.upgrade() && line.is_websocket() && !line.is_polling());
    // The stream that has begun goes on, a chunk at a time.
    assert_eq!(line.write_chunk(&chunk()), Written::All);
    assert_eq!(line.write_chunk(&chunk()), Written::Nothing);
    assert_eq!(line.poll_packet(0, &context), alone("4y"));
    let (stream, waker) = Task::new();
    assert!(line.poll_chunk_room(&Context::from_waker(&waker)).is_pending());
    assert_eq!(line.poll_packet(0, &context), Poll::Ready(Some((Frame::Chunk(chunk()), Vec::new()))));
    assert!(stream.was_woken() && line.poll_chunk_room(&Context::from_waker(&waker)).is_ready());
    assert!(line.poll_packet(0, &context).is_pending());
    line.send(Frame::text("2"));
    assert!(task.was_woken());
    // There is nothing above a WebSocket, and nothing to give up.
    assert!(!line.begin_upgrade() && !line.upgrade());
    line.abort_upgrade();
    assert!(line.is_websocket());
}

#[test]
fn a_poll_that_waits_when_the_session_has_upgraded_takes_nothing_from_the_websocket() {
    let mut line = polling();
    assert!(line.begin_poll().is_some() && line.poll_answer(&idle()).is_pending());
    assert!(line.begin_upgrade() && line.upgrade());
    line.send(Frame::text("4x"));
    assert_eq!(line.poll_answer(&idle()), Poll::Ready(NOOP.into()));
    line.end_poll(true);
    assert_eq!(line.poll_packet(0, &idle()), alone("4x"));
}

#[test]
fn an_upgrade_that_is_given_up_leaves_the_session_to_polls() {
    let mut line = polling();
    assert!(line.begin_upgrade());
    line.probe();
    line.abort_upgrade();
    assert!(line.begin_poll().is_some() && line.poll_answer(&idle()).is_pending());
    line.end_poll(true);
    assert!(line.begin_upgrade(), "another one may come");
    line.close(End::Silent);
    line.probe();
    line.abort_upgrade();
    assert!(!line.upgrade());
    assert_eq!(line.end(), Some(End::Silent));
}

#[test]
fn a_websocket_is_given_what_was_sent_before_the_end_and_then_the_end() {
    let mut line = Line::new(true, Instant::now() + INTERVAL);
    line.send(Frame::text("41"));
    line.close(End::ServerClosed);
    assert_eq!(line.poll_packet(0, &idle()), alone("41"));
    assert_eq!(line.poll_packet(0, &idle()), Poll::Ready(None));
    assert!(line.poll_end(&idle()).is_ready());
}

#[test]
fn a_websocket_is_given_a_packet_with_its_attachments_and_says_what_it_has_yet_to_send() {
    let mut line = Line::new(true, Instant::now() + INTERVAL);
    let attachment = Frame::Binary(Bytes::from_static(&[1; 100]));
    for frame in [Frame::text("452-[]"), attachment.clone(), attachment.clone(), Frame::text("42[]")] {
        line.send(frame);
    }
    let packet = (Frame::text("452-[]"), vec![attachment; 2]);
    assert_eq!(line.poll_packet(0, &idle()), Poll::Ready(Some(packet)));
    let left = line.held();
    assert!(line.poll_end_sending(100_000, &idle()).is_pending());
    assert_eq!(line.held(), left + 100_000);
    assert_eq!(line.poll_packet(0, &idle()), alone("42[]"));
    assert_eq!(line.held(), 0);
}

#[test]
fn a_session_that_has_much_to_say_reads_nothing_more_until_that_is_taken() {
    let mut line = polling();
    let (task, waker) = Task::new();
    while line.has_room() {
        line.send(Frame::text("x".repeat(1000)));
    }
    assert!((MAX_UNSENT_BYTES..MAX_UNSENT_BYTES + 1100).contains(&line.held()));
    assert!(line.room.wait::<()>(&Context::from_waker(&waker)).is_pending());
    assert_eq!(poll(&mut line).len(), 16 * 1001 - 1);
    assert!(task.was_woken() && line.has_room());
}

#[test]
fn a_client_that_answers_pings_goes_on_and_one_that_does_not_is_gone() {
    let start = Instant::now();
    let mut line = Line::new(false, start + INTERVAL);
    line.beat(start + INTERVAL - Duration::from_millis(1), TIMEOUT);
    assert_eq!(line.held(), 0);
    for round in 0..3 {
        let at = line.due();
        line.beat(at, TIMEOUT);
        assert_eq!(poll(&mut line), PING);
        assert_eq!(line.due(), at + TIMEOUT);
        line.pong(at + TIMEOUT - Duration::from_millis(1), INTERVAL);
        assert_eq!(line.due(), at + TIMEOUT - Duration::from_millis(1) + INTERVAL, "{round}");
    }
    line.beat(line.due(), TIMEOUT);
    line.beat(line.due(), TIMEOUT);
    assert_eq!(line.end(), Some(End::Silent));
}

#[test]
fn the_connection_of_a_poll_waits_for_the_next_one_until_another_has_polled_or_there_are_no_more() {
    let ends: [fn(&mut Line); 3] = [
        |line| assert!(line.begin_poll().is_some()),
        |line| line.close(End::Silent),
        |line| assert!(line.begin_upgrade() && line.upgrade()),
    ];
    for end in ends {
        let mut line = polling();
        let (task, waker) = Task::new();
        let context = Context::from_waker(&waker);
        let first = line.begin_poll().unwrap();
        assert!(line.poll_last(first, &context).is_ready(), "it is not answered");
        line.end_poll(true);
        assert!(line.poll_last(first, &context).is_pending());
        // What there is to say does not concern it.
        line.send(Frame::text("4"));
        let second = line.poll_again(first).unwrap();
        assert!(!task.was_woken(), "it is not woken by itself");
        assert_eq!(line.poll_answer(&idle()), Poll::Ready(Bytes::from_static(b"4")));
        line.end_poll(true);
        assert_eq!(line.held(), 1, "it is being sent");
        line.forget_last(first);
        assert_eq!((line.poll_again(first), line.held()), (None, 1), "by the last one alone");
        assert!(line.poll_last(second, &context).is_pending() && line.poll_last(first, &idle()).is_ready());
        assert_eq!(line.held(), 0);
        line.forget_last(second);
        assert!(!task.was_woken() && line.poll_last(second, &context).is_pending());
        end(&mut line);
        assert!(task.was_woken());
        assert!(line.poll_last(second, &context).is_ready());
        assert_eq!(line.poll_again(second), None);
    }
}
