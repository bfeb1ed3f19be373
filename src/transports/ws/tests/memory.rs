//! Guards that what a connection holds is counted, and is given back when others need it.

use std::task::{Context, Poll};

use super::*;
use crate::transports::ws::client::{ClientFrame, control, text};
use crate::transports::ws::settings::MAX_REPLY_BYTES;
use crate::transports::ws::{Memory, code};

/// Lets a connection have so many bytes, until it is told otherwise.
struct Most {
    most: usize,
    counted: Counted,
    displaced: tokio::sync::oneshot::Receiver<()>,
}

/// What is counted.
#[derive(Clone, Default)]
struct Counted {
    held: Rc<Cell<usize>>,
    times: Rc<Cell<usize>>,
}

impl Counted {
    fn with_most(most: usize) -> (Self, Box<Most>, tokio::sync::oneshot::Sender<()>) {
        let (displace, displaced) = tokio::sync::oneshot::channel();
        let counted = Self::default();
        (counted.clone(), Box::new(Most { most, counted, displaced }), displace)
    }

    async fn becomes(&self, is_right: impl Fn(usize) -> bool) {
        within("memory to be counted", async {
            while !is_right(self.held.get()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Drop for Most {
    fn drop(&mut self) {
        self.counted.held.set(0);
    }
}

impl Memory for Most {
    fn hold(&mut self, bytes: usize) -> bool {
        self.counted.held.set(bytes);
        self.counted.times.set(self.counted.times.get() + 1);
        bytes <= self.most
    }

    fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.displaced).poll(context).map(drop)
    }
}

/// A client whose application sends every message back.
async fn echoed(memory: Box<Most>) -> Client {
    Client::connect(settings(), |mut inlet, outlet| {
        inlet.set_memory(memory);
        Seen::default().echo(inlet, outlet)
    })
    .await
}

/// Asks for pongs, and reads none, until nothing more fits anywhere. Returns how many it asked for at least.
async fn flood(client: &mut Client) -> usize {
    let flood = control(Opcode::Ping, &[b'p'; 125]).repeat(100);
    let mut asked = 0;
    while tokio::time::timeout(Duration::from_secs(1), client.send(&flood)).await.is_ok() {
        asked += 100;
    }
    asked
}

#[test]
fn the_memory_of_an_unfinished_message_is_counted_and_can_be_claimed_back() {
    on_a_worker(async {
        for claims in [false, true] {
            let (counted, memory, displace) = Counted::with_most(100_000);
            let mut client = echoed(memory).await;
            let frame = ClientFrame::whole(Opcode::Binary, &[0; 200_000]).bytes();
            client.send(&frame[..50_000]).await;
            counted.becomes(|held| held >= 50_000 - 14).await;
            if claims {
                displace.send(()).unwrap();
            } else {
                client.send(&frame[50_000..150_000]).await;
            }
            client.expect(Frame::close(code::TRY_AGAIN, "too many unfinished messages")).await;
            client.expect_end().await;
        }
    });
}

#[test]
fn the_memory_of_a_client_that_reads_no_answers_is_counted_and_claimed_back_by_a_cut() {
    on_a_worker(async {
        let part = ClientFrame { is_final: false, ..ClientFrame::whole(Opcode::Binary, &[0; 50_000]) }.bytes();
        for unfinished in [&part[..], &[]] {
            let (counted, memory, displace) = Counted::with_most(1 << 20);
            let mut client = echoed(memory).await;
            client.send(unfinished).await;
            flood(&mut client).await;
            let least = MAX_REPLY_BYTES + unfinished.len().saturating_sub(8);
            assert!((least..least + 4 * MAX_REPLY_BYTES).contains(&counted.held.get()), "{}", counted.held.get());
            displace.send(()).unwrap();
            counted.becomes(|held| held == 0).await;
            client.expect_cut().await;
        }
    });
}

#[test]
fn a_client_that_holds_too_much_by_itself_is_cut() {
    on_a_worker(async {
        let (_counted, memory, _displace) = Counted::with_most(MAX_REPLY_BYTES / 2);
        let mut client = echoed(memory).await;
        let flood = control(Opcode::Ping, &[b'p'; 125]).repeat(100);
        within("the end", async { while client.socket.write_all(&flood).await.is_ok() {} }).await;
    });
}

#[test]
fn what_waits_for_a_client_counts_until_it_is_sent() {
    on_a_worker(async {
        let (counted, memory, _displace) = Counted::with_most(1 << 20);
        let mut client = echoed(memory).await;
        let asked = flood(&mut client).await;
        assert!(counted.held.get() >= MAX_REPLY_BYTES);
        for _ in 0..asked {
            client.expect(Frame::of(Opcode::Pong, [b'p'; 125])).await;
        }
        counted.becomes(|held| held == 0).await;
    });
}

#[test]
fn what_waits_counts_while_the_connection_closes_too() {
    on_a_worker(async {
        let hour = Duration::from_secs(3600);
        let settings = Settings { times: Times { close_within: hour, ..Times::default() }, ..settings() };
        let (counted, memory, displace) = Counted::with_most(1 << 20);
        let (close, closes) = tokio::sync::oneshot::channel();
        let mut client = Client::connect(settings, async move |mut inlet: Inlet, _outlet: Outlet| {
            inlet.set_memory(memory);
            tokio::select! {
                _ = inlet.next() => {}
                _ = closes => {}
            }
        })
        .await;
        flood(&mut client).await;
        close.send(()).unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(counted.held.get() >= MAX_REPLY_BYTES);
        displace.send(()).unwrap();
        counted.becomes(|held| held == 0).await;
        client.expect_cut().await;
    });
}

#[test]
fn a_client_that_reads_costs_no_counting() {
    on_a_worker(async {
        let (counted, memory, _displace) = Counted::with_most(1 << 20);
        let settings = Settings { compression: Compression::default(), ..settings() };
        let mut client = Client::connect(settings, async move |mut inlet: Inlet, outlet: Outlet| {
            inlet.set_memory(memory);
            while inlet.next().await.is_some() {
                outlet.send_text(&"x".repeat(MAX_REPLY_BYTES));
            }
        })
        .await;
        for _ in 0..20 {
            client.send(&text("more")).await;
            client.expect(Frame::of(Opcode::Text, "x".repeat(MAX_REPLY_BYTES))).await;
        }
        assert_eq!(counted.times.get(), 0);
    });
}

#[test]
fn an_application_that_counts_by_itself_is_told_what_waits_and_until_its_end_nothing_is_counted_here() {
    on_a_worker(async {
        for reads in [true, false] {
            let (counted, memory, displace) = Counted::with_most(1 << 20);
            let (told, (end, mut ends)) = (Rc::new(Cell::new(0)), tokio::sync::oneshot::channel::<()>());
            let tells = Rc::clone(&told);
            let mut client = Client::connect(settings(), async move |mut inlet: Inlet, outlet: Outlet| {
                inlet.set_memory(memory);
                outlet.leave_uncounted();
                std::future::poll_fn(|context| {
                    tells.set(outlet.stuck());
                    // No message comes, but pings are answered.
                    assert!(inlet.poll_next(context).is_pending() || outlet.is_closed());
                    std::pin::Pin::new(&mut ends).poll(context).map(drop)
                })
                .await;
            })
            .await;
            let asked = flood(&mut client).await;
            assert!(told.get() >= MAX_REPLY_BYTES && counted.times.get() == 0, "{}", told.get());
            if !reads {
                end.send(()).unwrap();
                counted.becomes(|held| held >= MAX_REPLY_BYTES).await;
                displace.send(()).unwrap();
                client.expect_cut().await;
                continue;
            }
            for _ in 0..asked {
                client.expect(Frame::of(Opcode::Pong, [b'p'; 125])).await;
            }
            within("the application to be told", async {
                while told.get() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(counted.times.get(), 0);
        }
    });
}

#[test]
fn the_memory_of_a_message_that_has_come_is_given_back() {
    on_a_worker(async {
        let (counted, memory, _displace) = Counted::with_most(1 << 20);
        let mut client = echoed(memory).await;
        let frame = text(&"x".repeat(3 * MAX_REPLY_BYTES));
        let (begin, end) = frame.split_at(frame.len() - 1);
        client.send(begin).await;
        counted.becomes(|held| held > 0).await;
        client.send(end).await;
        client.next().await.unwrap();
        counted.becomes(|held| held == 0).await;
    });
}
