//! Guards HTTPS with a certificate from files.

mod files;
mod handshakes;
mod headers;
mod http2;
mod http2_bodies;
mod http2_ends;
mod http2_refused;
mod tickets;
mod transports;
mod versions;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, Client, TestServer, command, connect_trusting};

/// A server with a certificate for `localhost` and `127.0.0.1` in its own directory.
pub struct Secure {
    pub server: TestServer,
    pub authority: Authority,
}

impl Secure {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Self {
        let flags: Vec<String> = FLAGS.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        Self::start_as(move |directory| command(&flags, directory)).await
    }

    pub async fn start_as(recipe: impl Fn(&Path) -> Command + Send + Sync + 'static) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let authority = Authority::new();
        authority.issue(directory.path());
        let server = TestServer::try_start(directory, recipe).await;
        let server = server.unwrap_or_else(|why| panic!("{why}"));
        assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
        Self { server, authority }
    }

    /// A client that takes the first offered version of HTTP.
    pub fn client(&self) -> Client {
        self.client_with(reqwest::Client::builder())
    }

    /// A bare connection on which this is spoken.
    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        connect_trusting(&self.authority.root(), self.server.address(), protocol).await.unwrap()
    }

    fn client_with(&self, settings: reqwest::ClientBuilder) -> Client {
        Client::trusting(&self.authority.root(), settings, &self.server.url)
    }
}

pub const FLAGS: [&str; 5] =
    ["--secure=true", "--auto_cert=false", "--https_port=0", "--cert_path=chain.pem", "--key_path=private_key.pem"];
