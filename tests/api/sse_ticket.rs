//! Guards `/sse_ticket`: streams that are opened by a ticket, as a browser's own `EventSource` must, and their cookie.

mod ended;
mod forged;
mod resume;

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{Client, Stream, TestServer, User, by_password, claims, password_of, within};

/// A ticket for somebody.
pub async fn ticket_of(user: &User) -> String {
    let answer = user.send(Method::POST, "/sse_ticket", &[], None).await.ok().json();
    answer["ticket"].as_str().unwrap().to_owned()
}

/// Asks for a stream with these headers and no others.
pub async fn ask(client: &Client, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client.http.get(format!("{}{path}", client.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    within("an answer", request.send()).await.unwrap()
}

/// What an answer sets as a cookie, attributes and all.
pub fn set_cookie(headers: &HeaderMap) -> &str {
    let all: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(all.len(), 1, "{headers:?}");
    all[0].to_str().unwrap()
}

/// A page that has opened a stream: what its browser sends when it comes back.
struct Page {
    client: Client,
    ticket: String,
    /// `broker_sse=…`
    cookie: String,
    stream: Stream,
}

impl Page {
    async fn of(user: &User) -> Self {
        let (client, ticket) = (user.client.clone(), ticket_of(user).await);
        let stream = Stream::open(ask(&client, &format!("/sse?ticket={ticket}"), &[]).await).await;
        let cookie = set_cookie(&stream.headers).split(';').next().unwrap().to_owned();
        Self { client, ticket, cookie, stream }
    }

    /// The status of coming back with a cookie.
    async fn comes_back_with(&self, cookie: &str) -> u16 {
        let path = format!("/sse?ticket={}", self.ticket);
        ask(&self.client, &path, &[("cookie", cookie)]).await.status().as_u16()
    }

    /// The status of coming back as the browser does.
    async fn comes_back(&self) -> u16 {
        self.comes_back_with(&self.cookie).await
    }

    /// The status of coming back without a cookie.
    async fn comes_back_bare(&self) -> u16 {
        ask(&self.client, &format!("/sse?ticket={}", self.ticket), &[]).await.status().as_u16()
    }

    /// The JWT in the cookie.
    fn pass(&self) -> &str {
        self.cookie.strip_prefix("broker_sse=").unwrap()
    }

    /// Comes back after an event, at a server that may have been started anew.
    async fn resume(&mut self, client: &Client, last_event_id: &str) {
        self.client = client.clone();
        let headers = [("cookie", self.cookie.as_str()), ("last-event-id", last_event_id)];
        self.stream = Stream::open(ask(client, &format!("/sse?ticket={}", self.ticket), &headers).await).await;
        assert!(!self.stream.headers.contains_key("set-cookie"), "the one it has is as good as before");
    }
}

#[tokio::test]
async fn a_ticket_opens_a_stream_and_its_answer_sets_the_cookie() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let old = alice.insert("news", json!(1)).await;
    let mut page = Page::of(&alice).await;
    assert_eq!(page.stream.headers["content-type"], "text/event-stream");
    assert_eq!(page.stream.next().await.id, old);
    let new = alice.insert("news", json!(2)).await;
    assert_eq!(page.stream.next().await.id, new);

    let cookie = set_cookie(&page.stream.headers);
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair, page.cookie);
    let (attributes, seconds) = attributes.split_once("Max-Age=").unwrap();
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/sse; ");
    // Until the token expires.
    let seconds: u64 = seconds.parse().unwrap_or_else(|_| panic!("{cookie}"));
    assert!((86_400 - 120..=86_400).contains(&seconds), "{cookie}");
    assert_eq!(claims(page.pass())["exp"], claims(alice.jwt())["exp"]);
}

#[tokio::test]
async fn a_stream_by_a_ticket_takes_the_other_parameters_too() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    let chat = alice.insert("chat/1", json!(2)).await;
    for (before, after) in [("", "&events=chat/*"), ("events=chat%2F*&", "&x")] {
        let path = format!("/sse?{before}ticket={}{after}", ticket_of(&alice).await);
        let mut stream = Stream::open(ask(&alice.client, &path, &[]).await).await;
        assert_eq!(stream.next().await.id, chat);
    }
    let path = format!("/sse?ticket={}&events=a&events=b", ticket_of(&alice).await);
    alice.client.get(&path).await.refused(400, "query_invalid");
}

#[tokio::test]
async fn a_request_that_opens_no_stream_does_not_use_its_ticket() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let path = format!("/sse?ticket={}", ticket_of(&alice).await);
    for wrong in
        ["events=a&events=b", "events=,", "except=data:", "snapshot=perhaps", "envelope=1", "event=news", "events[]=a"]
    {
        let status = ask(&alice.client, &format!("{path}&{wrong}"), &[]).await.status();
        assert_eq!(status, 400, "{wrong}");
    }
    let head = alice.client.http.head(format!("{}{path}", alice.client.url));
    let head = within("an answer", head.send()).await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(!head.headers().contains_key("set-cookie"), "there is nothing to come back to");

    let stream = Stream::open(ask(&alice.client, &path, &[]).await).await;
    assert!(stream.headers.contains_key("set-cookie"));
    assert_eq!(ask(&alice.client, &path, &[]).await.status(), 401, "now it is used");
    let head = alice.client.http.head(format!("{}{path}", alice.client.url));
    assert_eq!(within("an answer", head.send()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_user_that_has_signed_in_gets_a_ticket_with_any_body_and_nobody_else_does() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let basic = by_password(&alice.client, "alice", &password_of("alice"));
    for user in [&alice, &basic] {
        // It is not read, so it may also be longer than that of a sign-in.
        for body in [None, Some("{}"), Some("{"), Some("\u{fc}"), Some(" ".repeat(9 << 10).as_str())] {
            let body = body.map(|body| body.as_bytes().to_vec());
            let answer = user.send(Method::POST, "/sse_ticket", &[], body).await.ok();
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("set-cookie").is_none());
            let body = answer.json();
            assert_eq!((&body["expires_in"], body.as_object().unwrap().len()), (&json!(30), 2));
            let claims = claims(body["ticket"].as_str().unwrap());
            assert_eq!(claims["exp"], claims["iat"].as_u64().unwrap() + 30);
        }
    }
    for authorization in ["", "Bearer", "Bearer x", "Basic x"] {
        let headers = [("authorization", authorization)];
        let answer = alice.client.request(Method::POST, "/sse_ticket", &headers, None).await;
        answer.refused(401, "unauthorized");
    }
    alice.client.post("/sse_ticket", &json!({})).await.refused(401, "unauthorized");
    let refused = alice.client.get("/sse_ticket").await.refused(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("POST, OPTIONS"));
}

#[tokio::test]
async fn a_ticket_works_once_and_then_only_with_the_cookie_of_its_user() {
    let server = TestServer::start().await;
    let alice = Page::of(&server.user("alice", "acme").await).await;
    let bob = Page::of(&server.user("bob", "acme").await).await;
    assert_eq!(alice.comes_back_bare().await, 401);
    assert_eq!(alice.comes_back_with(&bob.cookie).await, 401);
    assert_eq!(bob.comes_back_with(&alice.cookie).await, 401);
    for _ in 0..3 {
        assert_eq!(alice.comes_back().await, 200);
    }
    assert_eq!(alice.comes_back_bare().await, 401);
    // The same user's, of another page.
    let other = Page::of(&server.client().sign_in("alice").await).await;
    assert_eq!(alice.comes_back_with(&other.cookie).await, 200);
}

#[tokio::test]
async fn of_all_clients_that_use_one_ticket_at_the_same_time_one_is_let_in() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for _ in 0..5 {
        let path = format!("/sse?ticket={}", ticket_of(&alice).await);
        let answers = join_all((0..16).map(|_| ask(&alice.client, &path, &[]))).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200);
        assert_eq!(statuses[1..], [401; 15]);
    }
}

#[tokio::test]
async fn the_cookie_is_found_among_others() {
    let server = TestServer::start().await;
    let alice = Page::of(&server.user("alice", "acme").await).await;
    let bob = Page::of(&server.user("bob", "acme").await).await;
    let (mine, others) = (alice.cookie.as_str(), bob.cookie.as_str());
    for cookies in [
        format!("a=b; {mine}"),
        format!("{mine}; a=b"),
        format!("a=b;{mine};c"),
        format!("broker_sse=; {mine}"),
        // A server on another port of this host has set one of the same name.
        format!("broker_sse=x.y.z; {mine}"),
        format!("{others}; {mine}"),
    ] {
        assert_eq!(alice.comes_back_with(&cookies).await, 200);
    }
    let path = format!("/sse?ticket={}", alice.ticket);
    assert_eq!(ask(&alice.client, &path, &[("cookie", "a=b"), ("cookie", mine)]).await.status(), 200);
    for cookies in ["", ";", "=", "broker_sse", "broker_sse=", "broker_sse=x", &format!("x{mine}"), alice.pass()] {
        assert_eq!(alice.comes_back_with(cookies).await, 401, "{cookies}");
    }
    let capital = mine.replace("broker_sse", "Broker_sse");
    assert_eq!(alice.comes_back_with(&capital).await, 401);
}

#[tokio::test]
async fn a_cookie_alone_opens_no_door() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let page = Page::of(&alice).await;
    let headers = [("cookie", page.cookie.as_str())];
    for path in ["/sse", "/sse?", "/sse?ticket", "/sse?ticket=", "/sse?events=news", "/verify"] {
        alice.client.request(Method::GET, path, &headers, None).await.refused(401, "unauthorized");
    }
    for path in ["/insert", "/sse_ticket"] {
        let body = json!({ "event": "news", "data": 1 }).to_string().into_bytes();
        alice.client.request(Method::POST, path, &headers, Some(body)).await.refused(401, "unauthorized");
    }
    // And a ticket opens no other.
    let ticket = ticket_of(&alice).await;
    alice.client.get(&format!("/verify?ticket={ticket}")).await.refused(401, "unauthorized");
    let insert = json!({ "event": "news", "data": 1, "ticket": ticket });
    alice.client.post(&format!("/insert?ticket={ticket}"), &insert).await.refused(401, "unauthorized");
    alice.client.post(&format!("/sse_ticket?ticket={ticket}"), &json!({})).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_header_wins_over_a_ticket_and_leaves_it_unused() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "other").await;
    let of_bob = bob.insert("news", json!(1)).await;
    let ticket = ticket_of(&alice).await;
    let path = format!("/sse?ticket={ticket}");
    for wrong in ["", "Bearer x"] {
        assert_eq!(ask(&alice.client, &path, &[("authorization", wrong)]).await.status(), 401);
    }
    for path in [path.as_str(), "/sse?ticket=x", "/sse?ticket=x&ticket=y"] {
        let mut stream = bob.stream_of(path, None).await;
        assert!(!stream.headers.contains_key("set-cookie"));
        assert_eq!(stream.next().await.id, of_bob);
    }
    assert_eq!(ask(&alice.client, &path, &[]).await.status(), 200);
}
