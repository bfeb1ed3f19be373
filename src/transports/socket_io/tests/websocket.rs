//! Guards sessions by WebSocket where a client would be too slow, or too friendly, to show it.

use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::super::super::ws::{Opcode, code};
use super::*;

/// A message as a client sends it, with a mask that changes nothing.
fn frame(opcode: Opcode, bytes: &[u8]) -> Vec<u8> {
    let length = match bytes.len() {
        length @ 0..126 => vec![0x80 | length as u8],
        length @ 126..0x1_0000 => [&[0x80 | 126][..], &(length as u16).to_be_bytes()].concat(),
        length => [&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&[0x80 | opcode as u8][..], &length, &[0; 4], bytes].concat()
}

/// A client whose connection takes little that it has not read.
struct Peer {
    socket: TcpStream,
    /// Told when it is served no more.
    ends: oneshot::Receiver<()>,
}

impl Peer {
    /// Opens a session, or upgrades that of a client.
    async fn connect(house: &House, sid: Option<&str>) -> Self {
        let [listening, calling] = [(); 2].map(|()| TcpSocket::new_v4().unwrap());
        listening.set_send_buffer_size(8 << 10).unwrap();
        calling.set_recv_buffer_size(8 << 10).unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listening.listen(1).unwrap();
        let (socket, accepted) = tokio::join!(calling.connect(listener.local_addr().unwrap()), listener.accept());
        let opens = Request { transport: Some("websocket"), is_upgrade: true, ..request(Method::Get, sid) };
        let Ok(Call::WebSocket(call)) = house.call(opens) else { panic!("it is refused") };
        let settings = ws::Settings {
            max_message_bytes: call.max_bytes(),
            compression: ws::Compression::default(),
            times: ws::Times::default(),
            has_frames: true,
        };
        let (ended, ends) = oneshot::channel();
        let app = house.app.clone();
        let (stream, _) = accepted.unwrap();
        let serve = |inlet, outlet| async {
            call.run(app, inlet, outlet).await;
            let _ = ended.send(());
        };
        tokio::task::spawn_local(ws::run(Box::new(stream), Vec::new(), Bytes::new(), settings, serve));
        Self { socket: socket.unwrap(), ends }
    }

    /// Opens a session and joins the main namespace. Returns the session, too.
    async fn join(house: &House) -> (Self, std::sync::Arc<super::session::Session<Echo>>) {
        let mut peer = Self::connect(house, None).await;
        let opened: Value = serde_json::from_str(peer.text().await.strip_prefix('0').unwrap()).unwrap();
        let session = house.engine.0.get(opened["sid"].as_str().unwrap()).unwrap();
        peer.say("40").await;
        assert!(peer.text().await.starts_with("40{") && peer.text().await.starts_with("42[\"auth\""));
        (peer, session)
    }

    async fn say(&mut self, text: &str) {
        self.socket.write_all(&frame(Opcode::Text, text.as_bytes())).await.unwrap();
    }

    /// The next frame, which is no ping of WebSocket: its opcode and its payload.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let first = self.socket.read_u8().await.unwrap();
            let length = match self.socket.read_u8().await.unwrap() {
                126 => self.socket.read_u16().await.unwrap().into(),
                127 => self.socket.read_u64().await.unwrap(),
                length => length.into(),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.socket.read_exact(&mut payload).await.unwrap();
            if first != 0x80 | Opcode::Ping as u8 {
                return (first & 0x0f, payload);
            }
        }
    }

    async fn text(&mut self) -> String {
        let (opcode, payload) = self.next().await;
        assert_eq!(opcode, Opcode::Text as u8, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// The next text, if it is not an event of the stream; else the number.
    async fn number(&mut self) -> Result<usize, String> {
        let text = self.text().await;
        let rest = text.strip_prefix("42[\"number\",").ok_or_else(|| text.clone())?;
        Ok(rest.split(',').next().unwrap().parse().unwrap())
    }
}

/// Runs a test with a clock that goes on by itself.
fn run(test: impl AsyncFnOnce(House)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(seconds(120), test(House::default())).await.expect("it goes on");
    });
}

/// Waits until something has become so by what others do.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_session_that_ends_does_not_wait_for_a_client_that_reads_nothing() {
    run(async |house| {
        let (mut peer, _) = Peer::join(&house).await;
        let event = frame(Opcode::Text, format!("42[\"message\",\"{}\"]", "x".repeat(60_000)).as_bytes());
        // Until nothing more is read: what the session has to say has filled all that is between here and there.
        while let Ok(written) = tokio::time::timeout(seconds(1), peer.socket.write_all(&event)).await {
            written.unwrap();
        }
        house.engine.stop();
        peer.ends.await.unwrap();
        assert_eq!(house.app.sockets.load(Relaxed), 0);
    });
}

#[test]
fn what_a_websocket_has_yet_to_send_counts_for_its_session_however_little_that_is() {
    run(async |house| {
        let (mut peer, session) = Peer::join(&house).await;
        let text = "x".repeat(60_000);
        peer.say(&format!("42[\"message\",\"{text}\"]")).await;
        // It has room for more, and keeps some of this.
        until(|| session.held() > 16 << 10).await;
        for _ in 0..10 {
            rest().await;
        }
        assert!((16 << 10..128 << 10).contains(&session.held()), "{}", session.held());
        assert!(peer.text().await.contains(&text));
        until(|| session.held() == 0).await;
    });
}

#[test]
fn a_socket_that_has_left_gets_nothing_more_of_its_stream_and_one_that_joins_again_has_its_own() {
    run(async |house| {
        let (mut peer, _) = Peer::join(&house).await;
        for round in 0..3 {
            peer.say(r#"42["listen"]"#).await;
            house.app.feed.add(5);
            for number in 0..(round + 1) * 10 - 5 {
                assert_eq!(peer.number().await, Ok(number));
            }
            peer.say("41").await;
            peer.say("40/custom").await;
            assert!(peer.number().await.unwrap_err().starts_with("40/custom,{"));
            peer.text().await;
            house.app.feed.add(5);
            peer.say("41/custom,").await;
            peer.say("40").await;
            let said = peer.number().await;
            assert!(said.as_ref().is_err_and(|said| said.starts_with("40{")), "{said:?}");
            peer.text().await;
        }
    });
}

#[test]
fn a_socket_that_leaves_in_the_middle_of_what_its_stream_writes_does_not_lose_its_connection() {
    run(async |house| {
        let (mut peer, session) = Peer::join(&house).await;
        peer.say(r#"42["listen"]"#).await;
        house.app.feed.add(100_000);
        // It writes all that there is room for at once, and is in the middle of something then.
        peer.socket.readable().await.unwrap();
        rest().await;
        peer.say("41").await;
        until(|| session.member("/").is_none()).await;
        peer.say("40").await;
        let mut count = 0;
        while peer.number().await.is_ok_and(|number| number == count) {
            count += 1;
        }
        assert!(count < 100_000, "{count}");
        assert!(peer.text().await.starts_with("42[\"auth\""));
        peer.say(r#"42["listen"]"#).await;
        assert_eq!(peer.number().await, Ok(0));
    });
}

#[test]
fn between_a_packet_and_its_attachments_comes_nothing_of_a_stream() {
    run(async |house| {
        let (mut peer, _) = Peer::join(&house).await;
        peer.say(r#"42["listen"]"#).await;
        house.app.feed.add(1_000_000);
        let placeholder = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
        for round in 0..10_u8 {
            peer.say(&format!("453-[\"message\",{},{},{}]", placeholder(0), placeholder(1), placeholder(2))).await;
            let attachment = vec![round; 100_000];
            for _ in 0..3 {
                peer.socket.write_all(&frame(Opcode::Binary, &attachment)).await.unwrap();
            }
            let mut numbers = 0;
            while peer.number().await.is_ok() {
                numbers += 1;
            }
            assert!(round == 0 || numbers > 0);
            for _ in 0..3 {
                assert_eq!(peer.next().await, (Opcode::Binary as u8, attachment.clone()), "{round}");
            }
        }
    });
}

#[test]
fn after_an_upgrade_a_stream_goes_on_where_the_last_poll_left_it() {
    run(async |house| {
        let client = house.join().await;
        client.post(r#"42["listen"]"#).await.unwrap();
        house.app.feed.add(100);
        assert!(client.poll().await.unwrap().ends_with("42[\"number\",15,\"15\"]"));
        house.app.feed.add(100);
        let mut peer = Peer::connect(&house, Some(&client.sid)).await;
        peer.say("2probe").await;
        assert_eq!(peer.text().await, "3probe");
        peer.say("5").await;
        for number in 16..200 {
            assert_eq!(peer.number().await, Ok(number));
        }
    });
}

#[test]
fn what_a_websocket_has_yet_to_send_counts_and_is_dropped_if_others_need_it() {
    run(async |house| {
        let house = house.with_room(1 << 20);
        let (mut one, session) = Peer::join(&house).await;
        let event = |length| format!("42[\"message\",\"{}\"]", "x".repeat(length));
        one.say(&event(700_000)).await;
        until(|| session.held() > 600_000).await;
        let (mut two, other) = Peer::join(&house).await;
        two.say(&event(500_000)).await;
        one.ends.await.unwrap();
        until(|| other.held() > 400_000).await;
        let mut got = Vec::new();
        let _ = one.socket.read_to_end(&mut got).await;
        assert!(got.len() < 500_000, "{}", got.len());
        assert_eq!(two.text().await.len(), "42[\"message-back\",\"\"]".len() + 500_000);
        until(|| other.held() == 0).await;
    });
}

#[test]
fn a_message_of_a_client_that_has_not_joined_is_short() {
    run(async |house| {
        let mut peer = Peer::connect(&house, None).await;
        peer.text().await;
        peer.say(&format!("3{}", "x".repeat(32 << 10))).await;
        let (opcode, payload) = peer.next().await;
        assert_eq!((opcode, &payload[..2]), (Opcode::Close as u8, &code::TOO_LARGE.to_be_bytes()[..]));
        let (mut peer, _) = Peer::join(&house).await;
        peer.say(&format!("42[\"message\",\"{}\"]", "x".repeat(100_000))).await;
        assert!(peer.text().await.len() > 100_000);
    });
}
