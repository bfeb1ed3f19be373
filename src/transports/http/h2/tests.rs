//! Guards connections of HTTP/2: when an idle one ends, and how long an answer that is not read is kept.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::BodySize;
use actix_service::IntoService;
use h2::client::{Builder as Client, SendRequest};
use tokio::task::{LocalSet, spawn_local};

use super::*;

const TIMES: Times = Times {
    idle: Duration::from_millis(300),
    stalled: Duration::from_millis(2_000),
    crowded: Duration::from_millis(100),
};

/// A body without end, and how often a chunk of it was asked for.
struct Endless(Rc<Cell<usize>>);

impl MessageBody for Endless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.set(self.0.get() + 1);
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 100_000]))))
    }
}

/// A client of a server that answers with what never ends, how often a chunk was asked for, and when the connection's two ends
/// have come to theirs.
async fn connect(settings: &Client) -> (SendRequest<Bytes>, Rc<Cell<usize>>, impl Future<Output = Duration> + use<>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let asked = Rc::new(Cell::new(0));
    let body = Rc::clone(&asked);
    let service = move |_: Request| {
        let body = Endless(Rc::clone(&body));
        async move { Ok::<_, Response<BoxBody>>(Response::ok().set_body(body)) }
    };
    let service = Rc::new(service.into_service());
    let since = Instant::now();
    let serving = spawn_local(serve(theirs, None, service, std::future::pending(), TIMES));
    let (requests, driver) = settings.handshake(ours).await.unwrap();
    let driving = spawn_local(driver);
    let ended = async move {
        let both = async { (serving.await, driving.await) };
        let _ = timeout(Duration::from_secs(20), both).await.expect("the end of the connection");
        since.elapsed()
    };
    (requests, asked, ended)
}

fn get() -> http::Request<()> {
    http::Request::get("https://localhost/").body(()).unwrap()
}

#[tokio::test]
async fn a_connection_without_a_request_under_way_ends_though_its_client_answers_pings() {
    LocalSet::new()
        .run_until(async {
            let (requests, _, ended) = connect(&Client::new()).await;
            let took = ended.await;
            assert!(took >= TIMES.idle, "{took:?}");
            drop(requests);
        })
        .await;
}

#[tokio::test]
async fn a_connection_with_an_answer_that_is_read_is_not_idle_and_is_once_that_has_ended() {
    LocalSet::new()
        .run_until(async {
            let (mut requests, _, ended) = connect(&Client::new()).await;
            let (answer, _) = requests.send_request(get(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let since = Instant::now();
            while since.elapsed() < 3 * TIMES.idle {
                let chunk = body.data().await.unwrap().unwrap();
                body.flow_control().release_capacity(chunk.len()).unwrap();
                sleep(Duration::from_millis(5)).await;
            }
            drop(body);
            assert!(ended.await >= 4 * TIMES.idle);
        })
        .await;
}

#[tokio::test]
async fn nothing_is_made_of_an_answer_before_its_client_takes_some() {
    LocalSet::new()
        .run_until(async {
            let (mut requests, asked, ended) = connect(Client::new().initial_window_size(0)).await;
            let (answer, _) = requests.send_request(get(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            assert!(body.data().await.unwrap().is_err());
            assert_eq!(asked.get(), 0);
            ended.await;
        })
        .await;
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_an_answer() {
    LocalSet::new()
        .run_until(async {
            let (mut requests, asked, ended) = connect(Client::new().initial_window_size(1)).await;
            let (answer, _) = requests.send_request(get(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let since = Instant::now();
            while let Some(Ok(byte)) = body.data().await {
                assert!(since.elapsed() < 5 * TIMES.stalled, "{:?}", since.elapsed());
                sleep(TIMES.stalled / 4).await;
                body.flow_control().release_capacity(byte.len()).unwrap();
            }
            assert_eq!(asked.get(), 1);
            ended.await;
        })
        .await;
}

#[tokio::test]
async fn answers_that_are_not_read_must_go_sooner_where_their_connection_has_many() {
    LocalSet::new()
        .run_until(async {
            for (answers, is_crowded) in [(8, false), (12, true)] {
                let (mut requests, asked, ended) = connect(Client::new().initial_window_size(1)).await;
                let mut bodies = Vec::new();
                for _ in 0..answers {
                    let (answer, _) = requests.send_request(get(), true).unwrap();
                    bodies.push(answer.await.unwrap().into_body());
                }
                let since = Instant::now();
                let ends = bodies.iter_mut().map(async |body| while let Some(Ok(_)) = body.data().await {});
                let mut ends: FuturesUnordered<_> = ends.collect();
                ends.next().await;
                assert_eq!(since.elapsed() < TIMES.stalled / 2, is_crowded, "{:?}", since.elapsed());
                assert_eq!(asked.get(), answers);
                while ends.next().await.is_some() {}
                ended.await;
            }
        })
        .await;
}
