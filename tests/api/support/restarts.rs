//! Clients that insert and listen while the server is restarted, and what they must have seen in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Client, Stream, TestServer, User, eventually, until, within};

const INSERTERS: usize = 3;
const SUBSCRIBERS: usize = 4;
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// What the clients share.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    inserted: AtomicUsize,
    /// How often a connection was refused.
    refused: AtomicUsize,
    /// How often a request had to be sent again.
    again: AtomicUsize,
}

/// The clients, until they are stopped.
struct Restarts {
    seen: Arc<Seen>,
    user: User,
    inserters: Vec<JoinHandle<BTreeMap<String, String>>>,
    subscribers: Vec<JoinHandle<Vec<(String, String)>>>,
}

impl Restarts {
    /// Clients of a user, who reach the server by this URL.
    pub fn start(user: &User, client: Client) -> Self {
        let (seen, user) = (Arc::<Seen>::default(), User { client, ..user.clone() });
        let inserters = (0..INSERTERS).map(|number| tokio::spawn(insert(Arc::clone(&seen), user.clone(), number)));
        let inserters = inserters.collect();
        let subscribers = (0..SUBSCRIBERS).map(|_| tokio::spawn(listen(Arc::clone(&seen), user.clone())));
        let subscribers = subscribers.collect();
        Self { seen, user, inserters, subscribers }
    }

    /// Waits until some more inserts have been answered.
    pub async fn go_on(&self) {
        let until = self.seen.inserted.load(Ordering::Relaxed) + 20;
        eventually("inserts go on", || self.seen.inserted.load(Ordering::Relaxed) >= until).await;
    }

    /// Stops the clients: no connection was refused, nothing was lost or done twice, and every subscriber saw everything once and in
    /// order.
    pub async fn check(self) {
        let Self { seen, user, inserters, subscribers } = self;
        seen.is_over.store(true, Ordering::Relaxed);
        let mut inserted = BTreeMap::new();
        for inserter in inserters {
            inserted.extend(within("an inserter", inserter).await.unwrap());
        }
        // What tells the subscribers that there is nothing more to come.
        let last = until("the last insert", async || {
            let answer =
                user.client.http.post(format!("{}/insert", user.client.url)).header(AUTHORIZATION, &user.authorization);
            let answer =
                answer.header("idempotency-key", "last").body(json!({ "event": "last", "data": 0 }).to_string());
            let answer = answer.send().await.ok().filter(|answer| answer.status() == 200)?;
            Some(answer.json::<serde_json::Value>().await.ok()?["id"].as_str()?.to_owned())
        })
        .await;
        inserted.insert("last".to_owned(), last);
        let mut expected: Vec<_> = inserted.into_iter().map(|(name, id)| (id, name)).collect();
        expected.sort();
        for subscriber in subscribers {
            let got = within("a subscriber", subscriber).await.unwrap();
            assert!(got.is_sorted(), "in order");
            let missing: Vec<_> = expected.iter().filter(|event| !got.contains(event)).collect();
            assert!(missing.is_empty(), "missed {missing:?}");
            // What was inserted twice has two ids.
            assert_eq!(got, expected);
        }
        let (refused, again) = (seen.refused.load(Ordering::Relaxed), seen.again.load(Ordering::Relaxed));
        println!("{} inserts, {again} requests were sent again", expected.len());
        assert_eq!(refused, 0, "connections were refused");
    }
}

impl Seen {
    /// A request has failed, and is sent again.
    async fn failed(&self, error: Option<&reqwest::Error>) {
        self.again.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(usize::from(error.is_some_and(reqwest::Error::is_connect)), Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Inserts one event after another, each until it is answered. Returns the ids by name.
async fn insert(seen: Arc<Seen>, user: User, number: usize) -> BTreeMap<String, String> {
    let mut inserted = BTreeMap::new();
    while !seen.is_over.load(Ordering::Relaxed) {
        let name = format!("from/{number}/{}", inserted.len());
        loop {
            let request = user.client.http.post(format!("{}/insert", user.client.url));
            let request = request.header(AUTHORIZATION, &user.authorization).header("idempotency-key", &name);
            match request.body(json!({ "event": name, "data": number }).to_string()).send().await {
                Ok(answer) if answer.status() == 200 => match answer.json::<serde_json::Value>().await {
                    Ok(answer) => {
                        inserted.insert(name, answer["id"].as_str().unwrap().to_owned());
                        seen.inserted.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Err(error) => seen.failed(Some(&error)).await,
                },
                Ok(answer) => {
                    assert!(answer.status().is_server_error(), "{answer:?}");
                    seen.failed(None).await;
                }
                Err(error) => seen.failed(Some(&error)).await,
            }
        }
    }
    inserted
}

/// Listens, and comes back after the last event, until the last one has come. Returns ids and names.
async fn listen(seen: Arc<Seen>, user: User) -> Vec<(String, String)> {
    let mut got: Vec<(String, String)> = Vec::new();
    loop {
        let mut request = user.client.http.get(format!("{}/sse?events=from/*,last", user.client.url));
        request = request.header(AUTHORIZATION, &user.authorization);
        if let Some((id, _)) = got.last() {
            request = request.header("last-event-id", id);
        }
        match request.send().await {
            Ok(answer) if answer.status() == 200 => {
                let mut stream = Stream::open(answer).await.cut_off_allowed();
                while let Some(event) = stream.read().await {
                    let is_last = event.name == "last";
                    got.push((event.id, event.name));
                    if is_last {
                        return got;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(answer) => {
                assert!(answer.status().is_server_error(), "{answer:?}");
                seen.failed(None).await;
            }
            Err(error) => seen.failed(Some(&error)).await,
        }
    }
}

/// Restarts a server several times, by SIGTERM and by SIGKILL, while clients of a user reach it by a URL.
pub async fn restart_often(mut server: TestServer, user: &User, client: Client) -> TestServer {
    let clients = Restarts::start(user, client);
    for kill in [false, true, false, true] {
        clients.go_on().await;
        server = server.end_and_restart(kill).await;
    }
    clients.go_on().await;
    clients.check().await;
    server
}
