//! Guards that messages come in order and at the pace of the application, and that pings are answered.

use std::task::Poll;

use super::*;
use crate::transports::ws::client::{ClientFrame, control, deflated, text};
use crate::transports::ws::code;

#[test]
fn messages_are_given_out_in_order_and_what_came_with_the_handshake_comes_first() {
    on_a_worker(async {
        let seen = Seen::default();
        let first: &'static [u8] = text("first").leak();
        let (early, rest) = first.split_at(3);
        let echo = seen.clone();
        let mut client = Client::connect_after(settings(), early, |inlet, outlet| echo.echo(inlet, outlet)).await;
        client.send(rest).await;
        client.expect(Frame::of(Opcode::Text, "first")).await;
        let binary = ClientFrame::whole(Opcode::Binary, &[0, 255]).bytes();
        client.send(&[text("second"), binary, text("third")].concat()).await;
        client.expect(Frame::of(Opcode::Text, "second")).await;
        client.expect(Frame::of(Opcode::Binary, [0, 255])).await;
        client.expect(Frame::of(Opcode::Text, "third")).await;
        assert_eq!(seen.messages.borrow().len(), 4);
    });
}

#[test]
fn large_messages_are_sent_compressed_if_that_was_agreed_upon() {
    on_a_worker(async {
        let large = "lorem ipsum ".repeat(1000);
        for compresses in [true, false] {
            let compression = Compression { inflates: true, compresses };
            let settings = Settings { compression, ..settings() };
            let mut client = Client::connect(settings, |inlet, outlet| Seen::default().echo(inlet, outlet)).await;
            let compressed = deflated(large.as_bytes());
            let frame = ClientFrame { is_compressed: true, ..ClientFrame::whole(Opcode::Text, &compressed) };
            client.send(&[frame.bytes(), text("small")].concat()).await;
            let Frame { first, payload } = client.next().await.unwrap();
            if compresses {
                assert!(first == 0xc1 && payload.len() < 500, "{first:x} {}", payload.len());
                let mut inflated = Vec::with_capacity(large.len() + 100);
                let mut inflate = flate2::Decompress::new(false);
                inflate.decompress_vec(&payload, &mut inflated, flate2::FlushDecompress::Sync).unwrap();
                assert_eq!(inflated, large.as_bytes());
            } else {
                assert!(first == 0x81 && payload == large.as_bytes());
            }
            client.expect(Frame::of(Opcode::Text, "small")).await;
        }
    });
}

#[test]
fn pings_are_answered_in_the_middle_of_a_message_too() {
    on_a_worker(async {
        let mut client = Client::connect(settings(), |inlet, outlet| Seen::default().echo(inlet, outlet)).await;
        let part = ClientFrame { is_final: false, ..ClientFrame::whole(Opcode::Text, b"be") }.bytes();
        client.send(&[part, control(Opcode::Ping, b"1"), control(Opcode::Ping, b"2")].concat()).await;
        client.expect(Frame::of(Opcode::Pong, "1")).await;
        client.expect(Frame::of(Opcode::Pong, "2")).await;
        client.send(&ClientFrame::whole(Opcode::Continuation, b"gun").bytes()).await;
        client.expect(Frame::of(Opcode::Text, "begun")).await;
    });
}

#[test]
fn a_client_that_reads_nothing_is_not_read_from_any_further_and_loses_nothing() {
    on_a_worker(async {
        let seen = Seen::default();
        let echo = seen.clone();
        let settings = Settings { compression: Compression::default(), ..settings() };
        let mut client = Client::connect(settings, |inlet, outlet| echo.echo(inlet, outlet)).await;
        let message = "x".repeat(1000);
        let (mut sent, frame) = (0, text(&message));
        // Until nothing more fits anywhere: pings fill the room for replies as messages do.
        let flood = [&frame[..], &control(Opcode::Ping, &[b'p'; 125])].concat();
        while tokio::time::timeout(Duration::from_secs(1), client.send(&flood)).await.is_ok() {
            sent += 1;
            assert!(sent < 100_000, "it takes any number");
        }
        let taken = seen.messages.borrow().len();
        assert!(taken < sent, "{taken} of {sent}");
        // The rest of the write that did not fit would go here; the messages before it are all answered.
        for _ in 0..taken {
            client.expect(Frame::of(Opcode::Text, message.as_str())).await;
            client.expect(Frame::of(Opcode::Pong, [b'p'; 125])).await;
        }
        within("the rest", async {
            while seen.messages.borrow().len() < sent {
                client.next().await.unwrap();
            }
        })
        .await;
    });
}

#[test]
fn an_application_that_asks_for_nothing_is_sent_nothing() {
    on_a_worker(async {
        let asked = Rc::new(Cell::new(0));
        let asks = Rc::clone(&asked);
        let (go, mut gone_on) = tokio::sync::mpsc::unbounded_channel();
        let application = async move |mut inlet: Inlet, outlet: Outlet| {
            while let Some(()) = gone_on.recv().await {
                let Some(Message::Text(text)) = inlet.next().await else { return };
                asks.set(asks.get() + 1);
                outlet.send_text(&text);
            }
        };
        let mut client = Client::connect(settings(), application).await;
        client.send(&[text("a"), text("b"), control(Opcode::Ping, b"p"), text("c")].concat()).await;
        go.send(()).unwrap();
        client.expect(Frame::of(Opcode::Text, "a")).await;
        assert_eq!(asked.get(), 1);
        for text in ["b", "c"] {
            go.send(()).unwrap();
            if text == "c" {
                client.expect(Frame::of(Opcode::Pong, "p")).await;
            }
            client.expect(Frame::of(Opcode::Text, text)).await;
        }
        drop(go);
        client.expect(Frame::close(1000, "")).await;
    });
}

#[test]
fn messages_that_no_application_takes_are_neither_kept_nor_looked_at_and_pings_are_answered_at_once() {
    on_a_worker(async {
        let hour = Duration::from_secs(3600);
        let times = Times { ping_every: hour, silent_for: hour, ..Times::default() };
        let mut client = Client::connect(Settings { times, ..settings() }, async |inlet: Inlet, _outlet: Outlet| {
            drop(inlet);
            std::future::pending().await
        })
        .await;
        let garbage = ClientFrame { is_compressed: true, ..ClientFrame::whole(Opcode::Text, &[0xff; 1000]) }.bytes();
        for late in [garbage, ClientFrame::whole(Opcode::Text, &[0xff; 2 << 20]).bytes(), text("late")] {
            client.send(&late).await;
            client.send(&control(Opcode::Ping, b"p")).await;
            client.expect(Frame::of(Opcode::Pong, "p")).await;
        }
    });
}

/// Ends with the next turn of a task: tokio's `yield_now` may be given one in many.
async fn turn() {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn some_kib_that_inflate_to_large_messages_do_not_take_the_turns_of_others() {
    on_a_worker(async {
        let (taken, go) = (Rc::new(Cell::new(0)), tokio::sync::oneshot::channel());
        let (takes, (go, gone_on)) = (Rc::clone(&taken), go);
        let mut client = Client::connect(settings(), async move |mut inlet: Inlet, _outlet: Outlet| {
            gone_on.await.unwrap();
            while inlet.next().await.is_some() {
                takes.set(takes.get() + 1);
            }
        })
        .await;
        let large = deflated(&vec![0; 1 << 19]);
        let frame = ClientFrame { is_compressed: true, ..ClientFrame::whole(Opcode::Binary, &large) }.bytes();
        assert!(frame.len() < 1000, "{}", frame.len());
        client.send(&frame.repeat(50)).await;
        let other = tokio::task::spawn_local(async move {
            let (mut before, mut most) = (0, 0);
            while before < 50 {
                turn().await;
                most = most.max(taken.get() - before);
                before = taken.get();
            }
            most
        });
        go.send(()).unwrap();
        let most = within("the messages", other).await.unwrap();
        assert!(most <= 2, "{most} in a turn");
    });
}

#[test]
fn a_message_may_be_as_large_as_the_application_says() {
    on_a_worker(async {
        let settings = Settings { max_message_bytes: 100, ..settings() };
        let mut client = Client::connect(settings, async |mut inlet: Inlet, outlet: Outlet| {
            while let Some(Message::Text(text)) = inlet.next().await {
                outlet.send_text(&text);
                inlet.set_max_message_bytes(200);
            }
        })
        .await;
        for length in [100, 200] {
            client.send(&text(&"x".repeat(length))).await;
            client.expect(Frame::of(Opcode::Text, "x".repeat(length))).await;
        }
        client.send(&text(&"x".repeat(201))).await;
        client.expect(Frame::close(code::TOO_LARGE, "the message is too large")).await;
        client.expect_end().await;
    });
}
