//! Guards the memory that a client can take over HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::Secure;
use crate::contract::half_closed;
use crate::sse::opening::AT_ONCE;
use crate::sse::pipelined::requests_before_a_stream_are_answered;
use crate::support::{User, eventually, send_all, until, within};

/// What a client says first, and settings that change nothing.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection of HTTP/2, and what drives it.
pub struct Connection {
    pub requests: SendRequest<Bytes>,
    pub driver: JoinHandle<Result<(), h2::Error>>,
    max_streams: usize,
}

pub async fn connect(secure: &Secure, settings: &Builder) -> Connection {
    let handshake = settings.handshake(secure.connect("h2").await);
    let (requests, mut connection) = within("a handshake", handshake).await.unwrap();
    // The server's settings have come with its first answer.
    let mut requests: SendRequest<Bytes> = requests;
    let (answer, _) = requests.send_request(get("/", &[]), true).unwrap();
    tokio::select! {
        answer = within("an answer", answer) => drop(answer.unwrap()),
        ended = &mut connection => panic!("it ended: {ended:?}"),
    }
    let max_streams = connection.max_concurrent_send_streams();
    Connection { requests, driver: tokio::spawn(connection), max_streams }
}

fn get(path: &str, headers: &[(&str, &str)]) -> http::Request<()> {
    get_from("localhost", path, headers)
}

pub fn get_from(host: &str, path: &str, headers: &[(&str, &str)]) -> http::Request<()> {
    let mut request = http::Request::get(format!("https://{host}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

#[tokio::test]
async fn a_connection_has_at_most_128_requests_under_way_and_each_at_most_32_kib_of_headers() {
    let secure = Secure::start().await;
    let mut connection = connect(&secure, &Builder::new()).await;
    assert_eq!(connection.max_streams, 128);
    for (bytes, status) in [(1_000, 200), (31_000, 200), (33_000, 431), (60_000, 431)] {
        let request = get("/", &[("x-large", &"x".repeat(bytes))]);
        let (answer, _) = connection.requests.send_request(request, true).unwrap();
        assert_eq!(within("an answer", answer).await.unwrap().status().as_u16(), status, "{bytes}");
    }
}

/// A request to sign in that has a body, and so many headers with values of so many bytes.
fn post(fields: usize, bytes: usize) -> http::Request<()> {
    let mut request = http::Request::post("https://localhost/login");
    for field in 0..fields {
        request = request.header(format!("x{field}"), format!("{field:b>bytes$}"));
    }
    request.body(()).unwrap()
}

#[tokio::test]
async fn a_request_has_at_most_96_headers() {
    let secure = Secure::start().await;
    let mut connection = connect(&secure, &Builder::new()).await;
    for (fields, status) in [(96, 400), (97, 431), (800, 431)] {
        let (answer, mut body) = connection.requests.send_request(post(fields, 3), false).unwrap();
        let _ = body.send_data(Bytes::from_static(b"{}"), true);
        assert_eq!(within("an answer", answer).await.unwrap().status().as_u16(), status, "{fields}");
    }
}

#[tokio::test]
async fn heads_with_bodies_that_are_withheld_take_little_memory() {
    let secure = Secure::start().await;
    let before = secure.server.resident_mebibytes();
    let mut open = Vec::new();
    for (fields, bytes) in [(800, 0), (800, 0), (96, 0), (96, 0), (90, 300), (90, 300)] {
        let mut connection = connect(&secure, &Builder::new()).await;
        let mut asked = Vec::new();
        for _ in 1..connection.max_streams {
            let mut requests = within("room", connection.requests.clone().ready()).await.unwrap();
            asked.push(requests.send_request(post(fields, bytes), false).unwrap());
        }
        // It is answered after all of these have been looked at.
        let (answer, _) = connection.requests.send_request(get("/", &[]), true).unwrap();
        within("an answer", answer).await.unwrap();
        if fields > 96 {
            for (answer, _) in &mut asked {
                assert_eq!(within("an answer", answer).await.unwrap().status().as_u16(), 431);
            }
        }
        open.push((connection, asked));
    }
    let growth = secure.server.resident_mebibytes().saturating_sub(before);
    assert!(growth < 60, "{growth} MiB");
}

#[tokio::test]
async fn a_list_of_headers_that_is_not_finished_ends_its_connection_within_ten_seconds() {
    let secure = Secure::start().await;
    // One waits with the list, one in the middle of a frame of it, and one sends a little now and then.
    let begun = [PREFACE, &frame(1, 0, 1, &[0x82])].concat();
    let cut = [PREFACE, &frame(1, 4, 1, &[0x82; 100])[..50]].concat();
    let ends = [(begun.clone(), false), (cut, false), (begun, true)].map(|(bytes, goes_on)| {
        let secure = &secure;
        async move {
            let (mut read, mut write) = tokio::io::split(secure.connect("h2").await);
            let since = Instant::now();
            send_all(&mut write, &bytes).await.unwrap();
            let sending = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    if !goes_on || send_all(&mut write, &frame(9, 0, 1, &[0x84])).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            let mut came = Vec::new();
            tokio::select! {
                _ = within("the end", read.read_to_end(&mut came)) => {}
                () = sending => {}
            }
            assert!((8..50).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
        }
    });
    futures_util::future::join_all(ends).await;
}

#[tokio::test]
async fn endless_lists_of_headers_take_no_memory_and_end_their_connections() {
    let secure = Secure::start().await;
    let before = secure.server.resident_mebibytes();
    // A literal field that is not indexed, with a name and a value of 100 bytes each.
    let field = [&[0x00, 100][..], &[b'a'; 100], &[100], &[b'b'; 100]].concat();
    let fields = field.repeat(80);
    let mut open = Vec::new();
    for _ in 0..30 {
        let mut connection = secure.connect("h2").await;
        let mut bytes = [PREFACE, &frame(1, 0, 1, &[0x82, 0x84, 0x87])].concat();
        for _ in 0..100 {
            bytes.extend(frame(9, 0, 1, &fields));
        }
        // It is closed at some point on the way.
        let _ = within("bytes to be taken", send_all(&mut connection, &bytes)).await;
        open.push(connection);
    }
    secure.client().get("/").await.ok();
    let growth = secure.server.resident_mebibytes().saturating_sub(before);
    assert!(growth < 60, "{growth} MiB");
    for mut connection in open {
        // With a farewell, or without.
        let _ = within("the end", connection.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn a_stream_with_nothing_to_say_sends_a_comment_at_once() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut connection = connect(&secure, &Builder::new()).await;
    for path in ["/sse?events=other", "/sse?snapshot=false"] {
        let request = get(path, &[("authorization", &alice.authorization)]);
        let (answer, _) = connection.requests.send_request(request, true).unwrap();
        let mut body = within("an answer", answer).await.unwrap().into_body();
        let first = tokio::time::timeout(AT_ONCE, body.data()).await.expect(path);
        assert_eq!(first.unwrap().unwrap(), ":\n", "{path}");
    }
}

async fn large_events(alice: &User) {
    for number in 0..40 {
        alice.insert(&format!("large{number}"), json!("x".repeat(90_000))).await;
    }
}

#[tokio::test]
async fn a_connection_with_answers_that_are_not_read_for_half_a_minute_is_closed_and_costs_little_until_then() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    large_events(&alice).await;
    let mut settings = Builder::new();
    settings.initial_window_size(0);
    let mut connection = connect(&secure, &settings).await;
    let before = secure.server.resident_mebibytes();
    let mut answers = Vec::new();
    for number in 0..100 {
        let path = ["/events", "/sse"][number % 2];
        let request = get(path, &[("authorization", &alice.authorization)]);
        let (answer, _) = connection.requests.send_request(request, true).unwrap();
        // The head needs no window.
        answers.push(within("an answer", answer).await.unwrap().into_body());
    }
    let since = Instant::now();
    // They would be 360 MB.
    let growth = secure.server.resident_mebibytes().saturating_sub(before);
    assert!(growth < 100, "{growth} MiB");
    let ended = within("the end of the connection", connection.driver).await.unwrap();
    assert!((20..55).contains(&since.elapsed().as_secs()), "{:?}: {ended:?}", since.elapsed());
    for mut body in answers {
        assert!(!matches!(body.data().await, Some(Ok(_))));
    }
    // A user that has gone is present for a moment more.
    until("the streams to be gone", async || (alice.get("/presence").await.ok().json() == json!([])).then_some(()))
        .await;
    assert!(!secure.server.log_up_to_now(&client).await.contains("\"level\":\"ERROR\""));
}

#[tokio::test]
async fn requests_that_are_cancelled_again_and_again_end_their_connection() {
    let secure = Secure::start().await;
    let mut connection = secure.connect("h2").await;
    let mut bytes = PREFACE.to_vec();
    for stream in 0..20_000_u32 {
        // GET / of https, and nothing of it any more.
        bytes.extend(frame(1, 5, 2 * stream + 1, &[0x82, 0x84, 0x87, 0x41, 1, b'x']));
        bytes.extend(frame(3, 0, 2 * stream + 1, &8_u32.to_be_bytes()));
    }
    let _ = within("bytes to be taken", send_all(&mut connection, &bytes)).await;
    let since = Instant::now();
    let _ = within("the end", connection.read_to_end(&mut Vec::new())).await;
    // Long before an idle connection would be closed.
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    secure.client().get("/").await.ok();
}

#[tokio::test]
async fn empty_pieces_of_a_body_without_end_end_their_connection() {
    let secure = Secure::start().await;
    let mut connection = secure.connect("h2").await;
    // POST /login of https.
    let head = [&[0x83, 0x87, 0x04, 6][..], b"/login", &[0x41, 1, b'x']].concat();
    let mut bytes = [PREFACE, &frame(1, 4, 1, &head)].concat();
    for _ in 0..5_000 {
        bytes.extend(frame(0, 0, 1, &[]));
        bytes.extend(frame(0, 8, 1, &[3, 0, 0, 0]));
    }
    let _ = within("bytes to be taken", send_all(&mut connection, &bytes)).await;
    let since = Instant::now();
    let _ = within("the end", connection.read_to_end(&mut Vec::new())).await;
    // Long before the body's time is over.
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_cancelled_answer_leaves_no_error_in_the_log() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    large_events(&alice).await;
    let mut connection = connect(&secure, &Builder::new()).await;
    for _ in 0..20 {
        let request = get("/events", &[("authorization", &alice.authorization)]);
        let (answer, mut sending) = connection.requests.send_request(request, true).unwrap();
        let mut body = within("an answer", answer).await.unwrap().into_body();
        assert!(body.data().await.unwrap().is_ok());
        sending.send_reset(h2::Reason::CANCEL);
    }
    drop(connection.requests);
    drop(connection.driver);
    let log = secure.server.log_up_to_now(&client).await;
    assert!(!log.contains("\"level\":\"ERROR\"") && !log.contains("actix_http"), "{log}");
}

#[tokio::test]
async fn the_server_says_goodbye_on_connections_that_are_idle_and_need_not_wait_for_them() {
    let mut secure = Secure::start().await;
    let connection = connect(&secure, &Builder::new()).await;
    let since = Instant::now();
    secure.server.signal("TERM");
    // It may have been closed before this side has said goodbye, too.
    let _ = within("the end of the connection", connection.driver).await.unwrap();
    assert_eq!(secure.server.ended().await.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

#[tokio::test]
async fn over_tls_requests_before_a_stream_are_answered_before_it_whole_and_in_order() {
    let secure = Secure::start().await;
    secure.client().create_user("alice", "acme").await;
    let alice = secure.client().sign_in("alice").await;
    requests_before_a_stream_are_answered(async || secure.connect("http/1.1").await, &alice).await;
    eventually("the connection to be forgotten", || secure.server.connections() <= 2).await;
}

#[tokio::test]
async fn over_tls_a_client_that_closes_its_side_is_answered_and_its_stream_ends() {
    let secure = Secure::start().await;
    secure.client().create_user("alice", "acme").await;
    let alice = secure.client().sign_in("alice").await;
    let connect = async || secure.connect("http/1.1").await;
    half_closed::requests_are_answered(&connect, &alice).await;
    half_closed::a_stream_ends(&connect, &alice).await;
}

#[tokio::test]
async fn requests_that_are_so_wrong_that_the_server_cancels_them_end_their_connection_only_where_they_are_very_many() {
    let secure = Secure::start().await;
    // POST /login of https, whose body is longer than it says.
    let head = [&[0x83, 0x87, 0x04, 6][..], b"/login", &[0x41, 1, b'x'], &[0x0f, 0x0d, 1, b'1']].concat();
    for (wrong, ends) in [(500, false), (5_000, true)] {
        let (mut read, mut write) = tokio::io::split(secure.connect("h2").await);
        write.write_all(PREFACE).await.unwrap();
        let mut bytes = [0; 16 << 10];
        let mut is_over = false;
        for number in 0..wrong {
            let stream = 2 * number + 1;
            let request = [frame(1, 4, stream, &head), frame(0, 1, stream, b"{}")].concat();
            if send_all(&mut write, &request).await.is_err() {
                is_over = true;
                break;
            }
        }
        // What is asked then is answered, or nothing is.
        let ping = frame(6, 0, 0, b"12345678");
        let _ = send_all(&mut write, &ping).await;
        let pong = frame(6, 1, 0, b"12345678");
        let mut came = Vec::new();
        while !is_over && !came.windows(pong.len()).any(|window| window == pong) {
            match within("bytes", read.read(&mut bytes)).await {
                Ok(0) | Err(_) => is_over = true,
                Ok(count) => came.extend_from_slice(&bytes[..count]),
            }
        }
        assert_eq!(is_over, ends, "{wrong}");
    }
}
