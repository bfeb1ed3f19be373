//! Guards that the writes of a stream stay whole among own replies, and that each has its turn.

use std::future::poll_fn;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::transports::ws::client::{control, text};
use crate::transports::ws::{StreamOutlet, Written, frame};

/// Writes frames as a subscription does: the rest of what was taken in part first.
async fn write(stream: &StreamOutlet, frames: &Bytes) -> bool {
    let mut rest = frames.clone();
    loop {
        match stream.write(&rest) {
            Written::All => return true,
            Written::Gone => return false,
            Written::Part(taken) if taken == rest.len() => return true,
            Written::Part(taken) => rest = rest.slice(taken..),
        }
        poll_fn(|context| stream.poll_ready(context)).await;
    }
}

/// The frame of a stream with this number.
fn numbered(number: u32, length: usize) -> Bytes {
    let mut payload = vec![b's'; length.max(4)];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    frame(Opcode::Binary, &payload).into()
}

/// Checks a frame of a stream, and returns its number.
fn number(frame: &Frame) -> u32 {
    let (number, rest) = frame.payload.split_first_chunk().unwrap();
    assert!(frame.first == 0x82 && rest.iter().all(|byte| *byte == b's'), "it was cut");
    u32::from_be_bytes(*number)
}

fn plain() -> Settings {
    Settings { compression: Compression::default(), ..settings() }
}

/// An application with a stream of so many frames of this length, each write of which is this many frames, beside an echo.
async fn streaming(mut inlet: Inlet, outlet: Outlet, frames: u32, length: usize, joined: u32) {
    let echo = async {
        while let Some(message) = inlet.next().await {
            match message {
                Message::Text(text) => outlet.send_text(&text),
                Message::Binary(bytes) => outlet.send_binary(&bytes),
            }
        }
    };
    let stream = outlet.stream();
    let writes = async {
        let mut next = 0;
        while next < frames {
            let end = (next + joined).min(frames);
            let together: Vec<u8> = (next..end).flat_map(|number| numbered(number, length)).collect();
            if !write(&stream, &together.into()).await {
                return;
            }
            next = end;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(echo, writes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn writes_of_a_stream_and_replies_come_whole_and_in_order(
        length in prop_oneof![Just(4), Just(200), Just(5_000), Just(100_000), Just(300_000)],
        joined in 1..4_u32,
        replies in prop::collection::vec(prop_oneof![Just(1), Just(300), Just(70_000)], 1..30),
        reads in prop::collection::vec(1..200_000_usize, 1..10),
    ) {
        on_a_worker(async {
            let frames = 40;
            let mut client = Client::connect(plain(), move |inlet, outlet| streaming(inlet, outlet, frames, length, joined)).await;
            let (mut read, mut write) = client.socket.into_split();
            let requests: Vec<_> = replies.iter().enumerate().map(|(at, length)| format!("{at} {}", "r".repeat(*length))).collect();
            let sends = requests.clone();
            tokio::task::spawn_local(async move {
                for (at, request) in sends.iter().enumerate() {
                    let bytes = [text(request), control(Opcode::Ping, &[at as u8])].concat();
                    write.write_all(&bytes).await.unwrap();
                }
                std::future::pending::<()>().await;
                drop(write);
            });
            let (mut numbers, mut answers, mut pongs) = (0..frames, requests.iter(), 0..requests.len());
            let mut sizes = reads.iter().cycle();
            while numbers.len() + answers.len() + pongs.len() > 0 {
                let mut some = vec![0; *sizes.next().unwrap()];
                let length = within("bytes", read.read(&mut some)).await.unwrap();
                assert!(length > 0, "it ended");
                client.received.extend_from_slice(&some[..length]);
                while let Some((first, header, length)) = parse(&client.received) && client.received.len() >= header + length {
                    let bytes = client.received.split_to(header + length);
                    let frame = Frame { first, payload: bytes[header..].to_vec() };
                    match first {
                        0x81 => assert!(frame.payload == answers.next().unwrap().as_bytes(), "another reply"),
                        0x8a => assert_eq!(frame.payload, [pongs.next().unwrap() as u8]),
                        _ => assert_eq!(number(&frame), numbers.next().unwrap()),
                    }
                }
            }
        });
    }
}

#[test]
fn a_stream_that_always_has_more_and_replies_that_always_come_have_turns() {
    on_a_worker(async {
        let mut client = Client::connect(plain(), |inlet, outlet| streaming(inlet, outlet, u32::MAX, 60_000, 1)).await;
        let (mut read, mut write) = client.socket.into_split();
        tokio::task::spawn_local(async move {
            let request = text(&"r".repeat(10_000));
            while write.write_all(&request).await.is_ok() {}
        });
        // It reads all the time, and still there is always more of both.
        let (mut of_stream, mut replies, mut next) = (0, 0, 0);
        while of_stream < 500 || replies < 500 {
            within("bytes", read.read_buf(&mut client.received)).await.unwrap();
            while let Some((first, header, length)) = parse(&client.received)
                && client.received.len() >= header + length
            {
                let bytes = client.received.split_to(header + length);
                if first == 0x81 {
                    replies += 1;
                } else {
                    assert_eq!(number(&Frame { first, payload: bytes[header..].to_vec() }), next);
                    (of_stream, next) = (of_stream + 1, next + 1);
                }
            }
            assert!(
                of_stream < 50 * (replies + 100) && replies < 50 * (of_stream + 100),
                "{of_stream} beside {replies}"
            );
        }
    });
}

#[test]
fn several_streams_on_a_connection_stay_whole_and_all_go_on() {
    on_a_worker(async {
        let mut client = Client::connect(plain(), async |mut inlet: Inlet, outlet: Outlet| {
            let stream = async |first: u32| {
                let stream = outlet.stream();
                for number in first..first + 30 {
                    assert!(write(&stream, &numbered(number, 150_000)).await);
                }
            };
            tokio::join!(stream(0), stream(1000), stream(2000), async { while inlet.next().await.is_some() {} });
        })
        .await;
        let mut next = [0, 1000, 2000];
        while next != [30, 1030, 2030] {
            let number = number(&client.next().await.unwrap());
            let of = (number / 1000) as usize;
            assert_eq!(number, next[of]);
            next[of] += 1;
        }
    });
}

/// Opens a stream that has begun a write of this length, which its client does not read. Then does something with it.
async fn begun<A: Future<Output = ()> + 'static>(
    times: Times,
    then: impl FnOnce(Inlet, Outlet, StreamOutlet, Bytes) -> A + 'static,
) -> Client {
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let client = Client::connect(Settings { times, ..plain() }, async move |inlet: Inlet, outlet: Outlet| {
        let (stream, large) = (outlet.stream(), numbered(7, 20 << 20));
        let Written::Part(taken) = stream.write(&large) else { panic!("the client takes it all") };
        assert!(taken > 0);
        began.send(()).unwrap();
        then(inlet, outlet, stream, large.slice(taken..)).await;
    })
    .await;
    has_begun.await.unwrap();
    client
}

#[test]
fn a_close_waits_for_the_rest_of_a_write_and_nothing_more_of_the_stream_follows() {
    on_a_worker(async {
        let mut client = begun(Times::default(), async |mut inlet, outlet, stream, rest| {
            outlet.send_text("queued");
            outlet.close(4000, "enough");
            let is_gone = std::future::poll_fn(|context| std::task::Poll::Ready(stream.poll_gone(context).is_ready()));
            assert!(!is_gone.await, "the rest is still to be written");
            assert!(inlet.next().await.is_none());
            poll_fn(|context| stream.poll_ready(context)).await;
            assert!(write(&stream, &rest).await);
            poll_fn(|context| stream.poll_gone(context)).await;
            assert_eq!(stream.write(&numbered(8, 4)), Written::Gone);
        })
        .await;
        assert_eq!(number(&client.next().await.unwrap()), 7);
        client.expect(Frame::of(Opcode::Text, "queued")).await;
        client.expect(Frame::close(4000, "enough")).await;
    });
}

#[test]
fn a_client_that_does_not_take_the_rest_is_cut_when_the_connection_closes() {
    on_a_worker(async {
        let times = Times { close_within: Duration::from_millis(50), ..Times::default() };
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        let client = begun(times, async |_inlet, outlet, stream, rest| {
            outlet.close(1000, "");
            assert!(!write(&stream, &rest).await);
            gone.send(()).unwrap();
            std::future::pending().await
        })
        .await;
        within("the stream to be gone", is_gone).await.unwrap();
        client.expect_cut().await;
    });
}

#[test]
fn a_stream_that_is_dropped_in_the_middle_of_a_write_cuts_the_connection() {
    on_a_worker(async {
        let client = begun(Times::default(), async |_inlet, outlet, stream, _rest| {
            drop(stream);
            assert!(outlet.is_closed());
            std::future::pending().await
        })
        .await;
        client.expect_cut().await;
    });
}

#[test]
fn a_stream_that_waits_is_told_when_its_client_has_gone() {
    on_a_worker(async {
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        let client = Client::connect(plain(), async |mut inlet: Inlet, outlet: Outlet| {
            let stream = outlet.stream();
            let waits = async {
                poll_fn(|context| stream.poll_gone(context)).await;
                gone.send(stream.write(&numbered(0, 4))).unwrap();
            };
            tokio::join!(waits, async { while inlet.next().await.is_some() {} });
        })
        .await;
        drop(client);
        assert_eq!(within("the end", is_gone).await, Ok(Written::Gone));
    });
}

#[test]
fn a_stream_that_was_refused_and_has_nothing_to_write_any_more_holds_up_nothing() {
    on_a_worker(async {
        let mut client = begun(Times::default(), async |mut inlet, outlet, stream, rest| {
            let other = outlet.stream();
            assert_eq!(other.write(&numbered(8, 4)), Written::Part(0), "it would stand in the middle of another");
            assert!(write(&stream, &rest).await);
            outlet.send_text("after all");
            while inlet.next().await.is_some() {}
            drop(other);
        })
        .await;
        assert_eq!(number(&client.next().await.unwrap()), 7);
        client.expect(Frame::of(Opcode::Text, "after all")).await;
    });
}

#[test]
fn a_client_that_reads_slowly_and_says_nothing_is_there_until_it_reads_no_more() {
    on_a_worker(async {
        let times =
            Times { ping_every: Duration::from_millis(50), silent_for: Duration::from_millis(500), ..Times::default() };
        let dropped = Rc::new(Cell::new(false));
        let is_dropped = Rc::clone(&dropped);
        let mut client = Client::connect(Settings { times, ..plain() }, async move |inlet: Inlet, outlet: Outlet| {
            let _guard = OnDrop(is_dropped);
            streaming(inlet, outlet, u32::MAX, 50_000, 1).await;
        })
        .await;
        // So slowly that the system has room for more only every second or two.
        let (began, mut some) = (tokio::time::Instant::now(), vec![0; 6000]);
        while began.elapsed() < Duration::from_secs(6) {
            assert!(within("bytes", client.socket.read(&mut some)).await.unwrap() > 0, "it was cut");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!dropped.get(), "it was cut after {:?}", began.elapsed());
        }
        within("the end", async {
            while !dropped.get() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_stream_comes_after_what_was_sent_before_it_began_and_writes_no_more_once_it_is_ended() {
    on_a_worker(async {
        let mut client = Client::connect(plain(), |_inlet, outlet| async move {
            outlet.send_text("before");
            let stream = outlet.stream();
            assert!(write(&stream, &numbered(0, 4)).await);
            // More than the client takes: it is in the middle of that.
            let (large, mut context) = (numbered(1, 4 << 20), std::task::Context::from_waker(std::task::Waker::noop()));
            let Written::Part(mut taken) = stream.write(&large) else { panic!() };
            assert!(taken > 0);
            outlet.end_stream(stream.serial());
            assert!(stream.poll_gone(&mut context).is_pending(), "the rest is to come");
            while taken < large.len() {
                poll_fn(|context| stream.poll_ready(context)).await;
                match stream.write(&large.slice(taken..)) {
                    Written::All => break,
                    Written::Part(more) => taken += more,
                    Written::Gone => panic!("it was cut"),
                }
            }
            poll_fn(|context| stream.poll_gone(context)).await;
            assert_eq!(stream.write(&numbered(2, 4)), Written::Gone);
            drop(stream);
            outlet.send_text("after");
            std::future::pending::<()>().await;
        })
        .await;
        client.expect(Frame::of(Opcode::Text, "before")).await;
        for at in 0..2 {
            assert_eq!(number(&client.next().await.unwrap()), at);
        }
        client.expect(Frame::of(Opcode::Text, "after")).await;
    });
}
