//! Requests of a user that has signed in.

use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::{Answer, Client, Event, Kept, Page, Stream, TestServer, within};

/// A user that has signed in.
#[derive(Clone)]
pub struct User {
    pub client: Client,
    pub authorization: String,
}

/// The body of a request, as it is sent.
pub trait Body {
    fn into_body(self) -> Vec<u8>;
}

impl Body for Vec<u8> {
    fn into_body(self) -> Vec<u8> {
        self
    }
}

impl Body for &[u8] {
    fn into_body(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Body for String {
    fn into_body(self) -> Vec<u8> {
        self.into_bytes()
    }
}

impl Body for &String {
    fn into_body(self) -> Vec<u8> {
        self.clone().into_bytes()
    }
}

impl Body for &str {
    fn into_body(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Body for Value {
    fn into_body(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Body for &Value {
    fn into_body(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl User {
    pub fn jwt(&self) -> &str {
        self.authorization.strip_prefix("Bearer ").unwrap()
    }

    /// Sends a request with the user's authorization and more headers.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend_from_slice(headers);
        self.client.request(method, path, &all, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// Posts a body as it is.
    pub async fn post(&self, path: &str, body: impl Body) -> Answer {
        self.send(Method::POST, path, &[], Some(body.into_body())).await
    }

    pub async fn verify(&self) -> Answer {
        self.get("/verify").await
    }

    /// Inserts, and gives the id.
    pub async fn insert(&self, event: &str, data: Value) -> String {
        let answer = self.try_insert(event, data).await.ok();
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn try_insert(&self, event: &str, data: Value) -> Answer {
        self.insert_raw(json!({ "event": event, "data": data })).await
    }

    /// Posts an insert, or an array of them, as it is.
    pub async fn insert_raw(&self, body: impl Body) -> Answer {
        self.post("/insert", body).await
    }

    /// The same with more headers.
    pub async fn insert_with(&self, headers: &[(&str, &str)], body: impl Body) -> Answer {
        self.send(Method::POST, "/insert", headers, Some(body.into_body())).await
    }

    /// The same; `None` if the server is gone before it has answered.
    pub async fn insert_if_there(&self, headers: &[(&str, &str)], body: impl Body) -> Option<Answer> {
        self.client.post_if_there("/insert", &self.authorization, headers, body.into_body()).await
    }

    pub async fn remove(&self, event: &str) -> Answer {
        self.remove_with(&[], event).await
    }

    pub async fn remove_with(&self, headers: &[(&str, &str)], event: &str) -> Answer {
        self.send(Method::POST, "/remove", headers, Some(json!({ "event": event }).into_body())).await
    }

    /// The answer of `/events`, with the query that the path has, by id.
    pub async fn latest(&self, path: &str) -> Vec<Kept> {
        let mut events: Vec<Kept> = self.get(path).await.read();
        // They come by name.
        events.sort_by(|one, other| one.id.cmp(&other.id));
        events
    }

    /// A page of `/history`.
    pub async fn history(&self, query: &str) -> Page {
        self.get(&format!("/history?{query}")).await.read()
    }

    /// Opens the stream of everything.
    pub async fn stream(&self) -> Stream {
        self.stream_of("/sse", None).await
    }

    /// Opens a stream: a path with a query, and the id to resume after.
    pub async fn stream_of(&self, path: &str, last_event_id: Option<&str>) -> Stream {
        let headers: Vec<_> = last_event_id.iter().map(|id| ("last-event-id", *id)).collect();
        self.stream_with(path, &headers).await
    }

    /// Opens a stream with more headers.
    pub async fn stream_with(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let url = format!("{}{path}", self.client.url);
        let mut request = self.client.http.get(url).header(AUTHORIZATION, &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Stream::open(within("a stream", request.send()).await.unwrap()).await
    }

    /// Opens a stream that goes on for the named one, if one is named; and its id.
    pub async fn open(&self, path: &str, named: Option<&str>) -> (Stream, String) {
        let headers: Vec<_> = named.iter().map(|named| ("broker-stream", *named)).collect();
        let stream = self.stream_with(path, &headers).await;
        let id = stream.id();
        (stream, id)
    }

    /// Every event that a stream gives from its beginning up to now; it must let the name `mark` through.
    pub async fn coming(&self, path: &str, last_event_id: Option<&str>) -> Vec<Event> {
        self.stream_of(path, last_event_id).await.so_far(self).await
    }

    /// The latest event of every name, as a new stream gives them.
    pub async fn everything(&self) -> HashMap<String, Event> {
        let events = self.coming("/sse", None).await;
        events.into_iter().map(|event| (event.name.clone(), event)).collect()
    }

    /// The statuses of the three doors: `/verify`, `/insert` and `/sse`.
    pub async fn doors(&self) -> [u16; 3] {
        let stream = self.client.http.get(format!("{}/sse", self.client.url));
        let stream = stream.header(AUTHORIZATION, &self.authorization).send();
        [
            self.verify().await.status,
            self.try_insert("door", json!(null)).await.status,
            within("the head of a stream", stream).await.unwrap().status().as_u16(),
        ]
    }
}

/// Kills the server as `kill -9` does and starts it anew: the server, and the same user there.
pub async fn after_kill(mut server: TestServer, user: &User) -> (TestServer, User) {
    server.kill();
    let server = server.restart().await;
    let user = again(&server, user);
    (server, user)
}

/// The same user at a server that was started anew: the token is as good as before.
pub fn again(server: &TestServer, user: &User) -> User {
    server.client().with_authorization(&user.authorization)
}
