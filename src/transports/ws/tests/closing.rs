//! Guards that every connection ends, with the code that says why, and leaves nothing behind.

use std::mem::size_of;

use super::*;
use crate::transports::ws::client::{ClientFrame, control, deflated, text};
use crate::transports::ws::{Run, code};

fn times() -> Times {
    Times { ping_every: Duration::from_secs(3600), silent_for: Duration::from_secs(3600), ..Times::default() }
}

#[test]
fn a_close_frame_is_echoed_with_its_code_and_reason_and_the_application_is_told() {
    on_a_worker(async {
        for close in [None, Some(Close::new(1000, "")), Some(Close::new(4321, "Grüße"))] {
            let seen = Seen::default();
            let echo = seen.clone();
            let mut client = Client::connect(settings(), |inlet, outlet| echo.echo(inlet, outlet)).await;
            let payload = close.as_ref().map(Close::payload).unwrap_or_default();
            // What comes after it is not looked at.
            client
                .send(&[text("last"), control(Opcode::Close, &payload), text("late"), vec![0xff; 100]].concat())
                .await;
            client.expect(Frame::of(Opcode::Text, "last")).await;
            client.expect(Frame::of(Opcode::Close, payload)).await;
            client.expect_end().await;
            assert_eq!(seen.end().await, End::Closed(close));
            assert_eq!(seen.messages.borrow().len(), 1);
        }
    });
}

#[test]
fn a_violation_is_answered_with_its_code_and_what_follows_is_not_looked_at() {
    on_a_worker(async {
        let masked = text("x");
        let unmasked = [&[masked[0], 1][..], b"x"].concat();
        let bomb = deflated(&vec![0; 2 << 20]);
        for (bytes, expected) in [
            (unmasked, code::PROTOCOL),
            (vec![0x83, 0x80, 0, 0, 0, 0], code::PROTOCOL),
            (control(Opcode::Close, &[0x03]), code::PROTOCOL),
            (control(Opcode::Close, &1005_u16.to_be_bytes()), code::PROTOCOL),
            (control(Opcode::Close, b"\x03\xe8\xff"), code::NOT_UTF8),
            (ClientFrame::whole(Opcode::Text, b"\xff").bytes(), code::NOT_UTF8),
            (text(&"x".repeat(1 << 21)), code::TOO_LARGE),
            (ClientFrame { is_compressed: true, ..ClientFrame::whole(Opcode::Text, &bomb) }.bytes(), code::TOO_LARGE),
        ] {
            let seen = Seen::default();
            let echo = seen.clone();
            let mut client = Client::connect(settings(), |inlet, outlet| echo.echo(inlet, outlet)).await;
            client.send(&text("first")).await;
            client.expect(Frame::of(Opcode::Text, "first")).await;
            // The rest of a large one may not be read any more.
            let _ = client.socket.try_write(&bytes[..bytes.len().min(60_000)]);
            let Some(Frame { first: 0x88, payload }) = client.next().await else { panic!("no close frame") };
            let close = Close::read(&payload).unwrap().unwrap();
            assert!(close.code == expected && !close.reason.is_empty(), "{close:?} for {expected}");
            client.expect_end().await;
            assert_eq!(seen.end().await, End::Ours);
        }
    });
}

#[test]
fn an_application_that_is_stopped_gets_no_more_messages_and_may_answer_those_that_it_has() {
    on_a_worker(async {
        let (seen, outlet) = (Seen::default(), Rc::new(RefCell::new(None)));
        let (of_application, kept) = (seen.clone(), Rc::clone(&outlet));
        let mut client = Client::connect(settings(), async move |mut inlet: Inlet, outlet: Outlet| {
            let _guard = OnDrop(Rc::clone(&of_application.is_dropped));
            *kept.borrow_mut() = Some(outlet.clone());
            assert!(inlet.next().await.is_some());
            outlet.send_text("got it");
            assert_eq!(inlet.next().await, None);
            *of_application.end.borrow_mut() = inlet.end();
            tokio::time::sleep(Duration::from_millis(20)).await;
            outlet.send_text("done");
        })
        .await;
        client.send(&text("do it")).await;
        client.expect(Frame::of(Opcode::Text, "got it")).await;
        outlet.take().unwrap().stop();
        client.send(&text("too late")).await;
        client.expect(Frame::of(Opcode::Text, "done")).await;
        client.expect(Frame::close(code::RESTART, "the server stops")).await;
        assert_eq!(seen.end().await, End::Ours);
    });
}

#[test]
fn an_application_that_returns_closes_with_1000_and_one_that_closes_before_with_what_it_says() {
    on_a_worker(async {
        for says in [None, Some((4401, "sign in again"))] {
            let mut client = Client::connect(settings(), async move |_inlet: Inlet, outlet: Outlet| {
                outlet.send_text("bye");
                if let Some((code, reason)) = says {
                    outlet.close(code, reason);
                    // After that everything does nothing.
                    outlet.close(1011, "");
                    outlet.send_text("more");
                    assert!(outlet.is_closed());
                }
            })
            .await;
            client.expect(Frame::of(Opcode::Text, "bye")).await;
            let (code, reason) = says.unwrap_or((1000, ""));
            client.expect(Frame::close(code, reason)).await;
            // Its own close frame is awaited, and messages before it are dropped.
            client.send(&text("late")).await;
            let silence = tokio::time::timeout(Duration::from_millis(200), client.next()).await;
            assert!(silence.is_err(), "{silence:?}");
            client.send(&control(Opcode::Close, &Close::new(code, "").payload())).await;
            client.expect_end().await;
        }
    });
}

#[test]
fn a_client_that_does_not_answer_a_close_frame_is_not_waited_for() {
    on_a_worker(async {
        let times = Times { answer_within: Duration::from_millis(50), ..times() };
        let mut client = Client::connect(Settings { times, ..settings() }, async |_, _| {}).await;
        client.expect(Frame::close(1000, "")).await;
        client.expect_end().await;
    });
}

#[test]
fn a_client_that_answers_a_close_frame_and_stays_is_not_waited_for() {
    on_a_worker(async {
        let times = Times { linger: Duration::from_millis(50), ..times() };
        let dropped = Rc::new(Cell::new(false));
        let is_dropped = Rc::clone(&dropped);
        let mut client =
            Client::connect(Settings { times, ..settings() }, async move |inlet: Inlet, outlet: Outlet| {
                let _guard = OnDrop(is_dropped);
                outlet.close(1000, "");
                drop(inlet);
                std::future::pending().await
            })
            .await;
        client.expect(Frame::close(1000, "")).await;
        client.send(&control(Opcode::Close, b"")).await;
        // It goes on sending, and does not close.
        within("the application to be dropped", async {
            while !dropped.get() {
                let _ = client.socket.try_write(&[0; 1000]);
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_connection_that_ends_without_a_close_frame_is_lost_and_its_application_is_dropped_whatever_it_does() {
    on_a_worker(async {
        for is_half in [true, false] {
            let seen = Seen::default();
            let echo = seen.clone();
            let mut client = Client::connect(settings(), |inlet, outlet| echo.echo(inlet, outlet)).await;
            client.send(&text("x")).await;
            client.expect(Frame::of(Opcode::Text, "x")).await;
            if is_half {
                client.socket.shutdown().await.unwrap();
                client.expect_end().await;
            } else {
                client.socket.set_zero_linger().unwrap();
                drop(client);
            }
            assert_eq!(seen.end().await, End::Lost);
        }
        let dropped = Rc::new(Cell::new(false));
        let is_dropped = Rc::clone(&dropped);
        let client = Client::connect(settings(), async move |mut inlet: Inlet, outlet: Outlet| {
            let _guard = OnDrop(is_dropped);
            let elsewhere = outlet.clone();
            let waits = async { while inlet.next().await.is_some() {} };
            waits.await;
            elsewhere.send_text("nobody gets this");
            std::future::pending().await
        })
        .await;
        drop(client);
        within("the application to be dropped", async {
            while !dropped.get() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_client_is_pinged_whether_or_not_it_is_sent_anything_and_one_that_is_silent_is_gone() {
    on_a_worker(async {
        let times =
            Times { ping_every: Duration::from_millis(20), silent_for: Duration::from_secs(2), ..Times::default() };
        let seen = Seen::default();
        let echo = seen.clone();
        let mut client =
            Client::connect(Settings { times, ..settings() }, |inlet, outlet| echo.echo(inlet, outlet)).await;
        let began = tokio::time::Instant::now();
        let mut pings = 0;
        while began.elapsed() < Duration::from_secs(3) {
            match client.next().await.expect("the connection goes on") {
                frame if frame == Frame::of(Opcode::Ping, "") => {
                    pings += 1;
                    client.send(&[control(Opcode::Pong, b""), text("x")].concat()).await;
                }
                frame => assert_eq!(frame, Frame::of(Opcode::Text, "x")),
            }
        }
        assert!(pings > 10, "{pings}");
        // Now it only reads.
        while client.next().await.is_some() {}
        assert_eq!(seen.end().await, End::Lost);
    });
}

#[test]
fn a_client_that_is_not_read_from_is_not_taken_for_a_silent_one() {
    on_a_worker(async {
        let times = Times { silent_for: Duration::from_millis(50), ..times() };
        let (go, gone_on) = tokio::sync::oneshot::channel();
        let mut client = Client::connect(Settings { times, ..settings() }, async |mut inlet: Inlet, outlet: Outlet| {
            let Ok(()) = gone_on.await else { return };
            while let Some(Message::Text(text)) = inlet.next().await {
                outlet.send_text(&text);
            }
        })
        .await;
        client.send(&text("x")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        go.send(()).unwrap();
        client.expect(Frame::of(Opcode::Text, "x")).await;
    });
}

#[test]
fn whoever_sends_without_looking_for_room_has_the_connection_cut() {
    on_a_worker(async {
        let settings = Settings { compression: Compression::default(), ..settings() };
        let client = Client::connect(settings, async |_inlet: Inlet, outlet: Outlet| {
            for sent in 0..200 {
                outlet.send_binary(&[0; 100_000]);
                assert!(sent < 100 || outlet.is_closed(), "it takes any number");
            }
            std::future::pending().await
        })
        .await;
        client.expect_cut().await;
    });
}

#[test]
fn whoever_looks_for_room_can_send_any_number_to_a_client_that_is_slow() {
    on_a_worker(async {
        let settings = Settings { compression: Compression::default(), ..settings() };
        let mut client = Client::connect(settings, async |mut inlet: Inlet, outlet: Outlet| {
            let sending = async {
                for _ in 0..200_u8 {
                    std::future::poll_fn(|context| outlet.poll_room(context)).await;
                    outlet.send_binary(&[7; 60_000]);
                }
            };
            tokio::join!(sending, async { while inlet.next().await.is_some() {} });
        })
        .await;
        for _ in 0..200 {
            client.expect(Frame::of(Opcode::Binary, [7; 60_000])).await;
        }
        client.send(&control(Opcode::Close, b"")).await;
        client.expect(Frame::of(Opcode::Close, "")).await;
    });
}

#[test]
fn what_is_kept_of_a_connection_that_waits_is_small() {
    // Beside it there are the socket, the application, and what actix and tokio have of the task.
    assert!(size_of::<Run<()>>() <= 160, "{}", size_of::<Run<()>>());
    // With two reference counts: the allocator's next larger size is 384 bytes.
    let shared = size_of::<crate::transports::ws::shared::Shared>() + 2 * size_of::<usize>();
    assert!(shared <= 320, "{shared}");
}
