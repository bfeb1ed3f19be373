//! A client of long polling, which sees every packet.

use reqwest::Method;
use serde_json::Value;

use super::server::EchoServer;
use crate::support::{Answer, Client};

/// A client of long polling.
#[derive(Clone)]
pub struct Polling {
    pub client: Client,
    pub path: String,
}

impl Polling {
    /// Opens a session.
    pub async fn open(server: &EchoServer) -> Self {
        Self::at(&server.url()).await
    }

    /// Opens a session of a server at a URL.
    pub async fn at(url: &str) -> Self {
        let client = Client::new(url);
        let path = "/socket.io/?EIO=4&transport=polling";
        let opened = opened(client.get(path).await);
        Self { client, path: format!("{path}&sid={}", opened["sid"].as_str().unwrap()) }
    }

    /// Opens a session, and joins the main namespace.
    pub async fn join(server: &EchoServer) -> Self {
        let client = Self::open(server).await;
        client.post("40").await;
        let mut said = client.poll().await;
        if !said.contains('\x1e') {
            said.push_str(&client.poll().await);
        }
        assert!(said.starts_with("40{\"sid\":") && said.ends_with("42[\"auth\",{}]"), "{said}");
        client
    }

    pub async fn poll(&self) -> String {
        said(self.client.get(&self.path).await)
    }

    pub async fn post_any(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client.request(Method::POST, &self.path, headers, Some(body.to_vec())).await
    }

    pub async fn post(&self, body: &str) {
        assert_eq!(said(self.post_any(&[], body.as_bytes()).await), "ok");
    }

    /// A session that has ended.
    pub async fn is_unknown(&self) {
        refused(&self.client.get(&self.path).await, 1, "Session ID unknown");
    }
}

pub fn said(answer: Answer) -> String {
    let answer = answer.ok();
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    answer.body
}

/// What a client that has opened a session is told of it.
pub fn opened(answer: Answer) -> Value {
    serde_json::from_str(said(answer).strip_prefix('0').unwrap()).unwrap()
}

pub fn refused(answer: &Answer, code: u8, message: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{}", answer.body);
    assert_eq!(answer.body, format!(r#"{{"code":{code},"message":"{message}"}}"#));
}
