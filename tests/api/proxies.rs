//! Guards the configurations for proxies that the documentation shows: through them, too, restarts lose nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::support::{Authority, Client, TestServer, activated, free_port, restart_often, until};

/// A proxy with a configuration of the page on operations, until it is dropped.
struct Proxy {
    child: Child,
    port: u16,
    authority: Authority,
    directory: tempfile::TempDir,
}

/// The first block of the page in this language.
fn documented(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no block of {language}"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// Puts something in the place of what stands in a configuration.
fn with(configuration: &str, from: &str, to: &str) -> String {
    assert!(configuration.contains(from), "no {from:?} in {configuration}");
    configuration.replace(from, to)
}

impl Proxy {
    /// Starts one, with the documented configuration but for ports and paths.
    async fn start(language: &str, broker: &str) -> Self {
        let (directory, authority, port) = (tempfile::tempdir().unwrap(), Authority::new(), free_port());
        let (chain, key) = authority.issue(directory.path());
        let (key, chain) = (key.display().to_string(), chain.display().to_string());
        let mut configuration = with(&documented(language), "127.0.0.1:8080", broker);
        let place = directory.path().display().to_string();
        let mut command = if language == "nginx" {
            configuration = with(&configuration, "listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"));
            let of = "/etc/letsencrypt/live/broker.example.com";
            configuration = with(&configuration, &format!("{of}/fullchain.pem"), &chain);
            configuration = with(&configuration, &format!("{of}/privkey.pem"), &key);
            let around = format!(
                "daemon off; pid {place}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n{}\n{configuration}\n}}\n",
                ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|of| format!("{of}_temp_path {place}/{of};"))
                    .join("\n")
            );
            configuration = around;
            let mut command = Command::new("nginx");
            command.args(["-p", &place, "-c"]);
            command
        } else {
            let both = format!("{place}/both.pem");
            std::fs::write(&both, [std::fs::read(&chain).unwrap(), std::fs::read(&key).unwrap()].concat()).unwrap();
            configuration = with(&configuration, "bind :443", &format!("bind 127.0.0.1:{port}"));
            configuration = with(&configuration, "/etc/haproxy/broker.pem", &both);
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f"]);
            command
        };
        let file = directory.path().join("proxy.conf");
        std::fs::write(&file, &configuration).unwrap();
        let child = command.arg(&file).stdin(Stdio::null()).spawn().expect("tests/run.sh installs it");
        until("the proxy", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Self { child, port, authority, directory }
    }

    /// A client of the proxy.
    fn client(&self) -> Client {
        let url = format!("https://127.0.0.1:{}", self.port);
        Client::trusting(&self.authority.root(), reqwest::Client::builder(), &url)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx has children of its own, which end with it if it is asked.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = std::fs::read_dir(self.directory.path());
    }
}

/// A server with a socket of the service manager behind a proxy, which is restarted often.
async fn restarts_lose_nothing_through(language: &str) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = socket.local_addr().unwrap().to_string();
    let flags = ["--drain_for=3".to_owned(), "--trusted_proxies=127.0.0.1".to_owned()];
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server =
        TestServer::try_start(directory, move |directory| activated(&[("http", &socket)], &flags, directory)).await;
    let server = server.unwrap();
    let alice = server.user("alice", "acme").await;
    let proxy = Proxy::start(language, &broker).await;
    proxy.client().get("/readyz").await.ok();
    restart_often(server, &alice, proxy.client()).await;
}

#[tokio::test]
async fn through_nginx_restarts_refuse_and_lose_nothing() {
    restarts_lose_nothing_through("nginx").await;
}

#[tokio::test]
async fn through_haproxy_restarts_refuse_and_lose_nothing() {
    restarts_lose_nothing_through("haproxy").await;
}
