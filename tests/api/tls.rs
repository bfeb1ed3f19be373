//! HTTPS with a certificate from files.

mod files;
mod handshakes;
mod tickets;
mod versions;

use std::sync::Arc;

use crate::support::{Authority, Client, TestServer, command};

/// A server with a certificate for `localhost` and `127.0.0.1` in its own directory.
struct Secure {
    server: TestServer,
    authority: Authority,
}

impl Secure {
    async fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let authority = Authority::new();
        authority.issue(directory.path());
        let server = TestServer::try_start(directory, |directory| command(&FLAGS.map(str::to_owned), directory)).await;
        let server = server.unwrap_or_else(|why| panic!("{why}"));
        assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
        Self { server, authority }
    }

    /// Somebody who takes the version of HTTP that is offered first.
    fn client(&self) -> Client {
        self.client_with(reqwest::Client::builder())
    }

    fn client_with(&self, settings: reqwest::ClientBuilder) -> Client {
        Client::trusting(&self.authority.root(), settings, &self.server.url)
    }
}

const FLAGS: [&str; 5] =
    ["--secure=true", "--auto_cert=false", "--https_port=0", "--cert_path=chain.pem", "--key_path=private_key.pem"];
