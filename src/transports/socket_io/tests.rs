//! Guards sessions from their first request to their end, with an echo application and without HTTP.

mod echo;
mod hostile;
mod polling;
mod sockets;
mod stream;
mod websocket;

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super as sio;
use super::super::ws;
use super::sessions::Sessions;
use super::shares::Shares;
use super::*;
use echo::Echo;

/// Where clients come from.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A server, and its clock.
#[derive(Clone)]
struct House {
    engine: SocketIo<Echo>,
    app: Echo,
    /// Where the clients come from that open sessions.
    from: IpAddr,
}

impl Default for House {
    fn default() -> Self {
        Self { engine: SocketIo::new(Settings::default(), ids), app: Echo::default(), from: HERE }
    }
}

/// Runs a test on one thread, with a clock that goes on only when nothing else does.
fn run(test: impl AsyncFnOnce(House)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let house = House::default();
        tokio::task::spawn_local(house.engine.clone().keep_time());
        test(house).await;
    });
}

/// Numbers, which are no more guessable than a test needs.
fn ids() -> [u8; 15] {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut id = [0; 15];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes());
    id
}

fn request<'a>(method: Method, sid: Option<&'a str>) -> Request<'a> {
    Request { method, is_upgrade: false, is_binary: false, eio: Some("4"), transport: Some("polling"), sid }
}

impl House {
    /// As it is, with room for so many bytes.
    fn with_room(self, bytes: usize) -> Self {
        let sessions = Sessions::new(Settings::default(), Shares::of(bytes, IpAddr::clone), ids);
        let house = Self { engine: SocketIo(std::sync::Arc::new(sessions)), ..self };
        tokio::task::spawn_local(house.engine.clone().keep_time());
        house
    }

    /// As it is, for clients from elsewhere.
    fn elsewhere(&self) -> Self {
        Self { from: "192.0.2.1".parse().unwrap(), ..self.clone() }
    }

    fn session(&self, client: &Client) -> std::sync::Arc<super::session::Session<Echo>> {
        self.engine.0.get(&client.sid).unwrap()
    }

    fn call(&self, request: Request<'_>) -> Result<Call<Echo>, Refusal> {
        self.engine.call(request, || ((), self.from))
    }

    /// What opens a session, with its packet.
    async fn open(&self) -> (Client, Value) {
        let Ok(Call::Poll(poll)) = self.call(request(Method::Get, None)) else { panic!("it is refused") };
        let packet = poll.answer().await;
        let opened: Value = serde_json::from_slice(packet.strip_prefix(b"0").unwrap()).unwrap();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        (Client { house: self.clone(), sid }, opened)
    }

    /// A client in the main namespace.
    async fn join(&self) -> Client {
        let (client, _) = self.open().await;
        client.post("40").await.unwrap();
        let joined = client.poll().await.unwrap();
        assert!(joined.starts_with("40{\"sid\":") && joined.ends_with("}\x1e42[\"auth\",{}]"), "{joined}");
        client
    }
}

/// A client of long polling.
#[derive(Clone)]
struct Client {
    house: House,
    sid: String,
}

impl Client {
    fn begin_poll(&self) -> Result<impl Future<Output = Bytes> + use<>, Refusal> {
        match self.house.call(request(Method::Get, Some(&self.sid)))? {
            Call::Poll(poll) => Ok(poll.answer()),
            Call::Post(_) | Call::WebSocket(_) => panic!("it is another call"),
        }
    }

    async fn poll(&self) -> Result<String, Refusal> {
        let answer = self.begin_poll()?.await;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }

    fn begin_post(&self) -> Result<PostCall<Echo>, Refusal> {
        match self.house.call(request(Method::Post, Some(&self.sid)))? {
            Call::Post(post) => Ok(post),
            Call::Poll(_) | Call::WebSocket(_) => panic!("it is another call"),
        }
    }

    async fn post(&self, body: &str) -> Result<&'static str, Refusal> {
        self.begin_post()?.take(self.house.app.clone(), body).await
    }

    /// Answers pings until something else comes.
    async fn next(&self) -> String {
        loop {
            let said = self.poll().await.unwrap();
            if said != "2" {
                return said;
            }
            self.post("3").await.unwrap();
        }
    }
}

/// Lets everything that can be done be done.
async fn rest() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
