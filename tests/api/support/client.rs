use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

use super::{ADMIN_TOKEN, Event, Stream, password_of, within};

/// Somebody with a connection to the server.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: within("a body", response.text()).await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The `error` sentence of a refusal.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }

    /// The `code` of a refusal.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    /// Itself, where it is a success.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }

    /// Itself, where it is a refusal with this status and code, in the one form that all of them have.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], code, "{self:?}");
        let sentence = body["error"].as_str().unwrap_or_default();
        assert!(!sentence.is_empty() && body.as_object().unwrap().len() == 2, "{self:?}");
        self
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        Self::with(reqwest::Client::builder(), url)
    }

    /// With settings of its own, such as a root certificate.
    pub fn with(builder: reqwest::ClientBuilder, url: &str) -> Self {
        // Both may be compiled in; the first to ask decides for the process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = builder.no_proxy().build().unwrap();
        Self { http, url: url.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], None).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, &[], Some(body.to_string().into())).await
    }

    /// Posts JSON with the right `admin_token` added.
    pub async fn admin(&self, path: &str, mut body: Value) -> Answer {
        body["admin_token"] = json!(ADMIN_TOKEN);
        self.post(path, &body).await
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Answer::of(within("an answer", request.send()).await.unwrap()).await
    }

    /// Makes a user with [`password_of`] the name.
    pub async fn create_user(&self, username: &str, tenant: &str) -> Answer {
        self.create_user_with(username, tenant, json!({})).await.ok()
    }

    /// Makes a user with more fields.
    pub async fn create_user_with(&self, username: &str, tenant: &str, more: Value) -> Answer {
        let mut body = json!({ "username": username, "password": password_of(username), "tenant_name": tenant });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.admin("/create_user", body).await
    }

    pub async fn login(&self, username: &str, password: &str) -> Answer {
        self.post("/login", &json!({ "username": username, "password": password })).await
    }

    /// Signs in with [`password_of`] the name.
    pub async fn sign_in(&self, username: &str) -> User {
        let jwt = self.login(username, &password_of(username)).await.ok().json()["jwt"].as_str().unwrap().to_owned();
        self.with_authorization(&format!("Bearer {jwt}"))
    }

    /// Whoever this header says.
    pub fn with_authorization(&self, authorization: &str) -> User {
        User { client: self.clone(), authorization: authorization.to_owned() }
    }
}

/// Somebody who has signed in.
#[derive(Clone)]
pub struct User {
    pub client: Client,
    pub authorization: String,
}

impl User {
    pub fn jwt(&self) -> &str {
        self.authorization.strip_prefix("Bearer ").unwrap()
    }

    /// Inserts, and gives the id.
    pub async fn insert(&self, event: &str, data: Value) -> String {
        let answer = self.try_insert(event, data).await.ok();
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn try_insert(&self, event: &str, data: Value) -> Answer {
        self.insert_raw(json!({ "event": event, "data": data }).to_string()).await
    }

    /// Posts a body to `/insert` as it is.
    pub async fn insert_raw(&self, body: impl Into<Vec<u8>>) -> Answer {
        let headers = [("authorization", self.authorization.as_str())];
        self.client.request(Method::POST, "/insert", &headers, Some(body.into())).await
    }

    /// The latest event of every name: inserts a mark, and reads a new stream up to it.
    pub async fn everything(&self) -> HashMap<String, Event> {
        let mut stream = self.stream().await;
        let mark = self.insert("mark", json!(null)).await;
        let mut events = HashMap::new();
        loop {
            let event = stream.next().await;
            if event.id == mark {
                return events;
            }
            events.insert(event.name.clone(), event);
        }
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

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.client.request(Method::GET, path, &[("authorization", &self.authorization)], None).await
    }

    pub async fn verify(&self) -> Answer {
        self.client.request(Method::GET, "/verify", &[("authorization", &self.authorization)], None).await
    }

    /// Opens the stream of everything.
    pub async fn stream(&self) -> Stream {
        self.stream_of("/sse", None).await
    }

    /// Opens a stream: a path with a query, and the id to resume after.
    pub async fn stream_of(&self, path: &str, last_event_id: Option<&str>) -> Stream {
        let mut request =
            self.client.http.get(format!("{}{path}", self.client.url)).header(AUTHORIZATION, &self.authorization);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        Stream::open(within("a stream", request.send()).await.unwrap()).await
    }
}
