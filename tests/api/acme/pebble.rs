//! Starts `pebble`, the authority of the tests.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::{Authority, Client, free_port, until};

/// An authority on this machine. It is ended when dropped.
pub struct Pebble {
    home: tempfile::TempDir,
    /// The certificate that vouches for pebble's own address.
    authority: Authority,
    port: u16,
    management_port: u16,
    /// Where it will look for the server that proves to have the domain.
    pub https_port: u16,
    process: Option<Child>,
}

impl Pebble {
    /// Settles where it will be, and for how many seconds its certificates last.
    pub fn prepare(validity: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (chain, key) = authority.issue(home.path());
        let (port, management_port, https_port) = (free_port(), free_port(), free_port());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management_port}"),
            "certificate": chain,
            "privateKey": key,
            "httpPort": https_port,
            "tlsPort": https_port,
            "certificateValidityPeriod": validity,
        }});
        std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        std::fs::write(home.path().join("root.pem"), authority.root()).unwrap();
        Self { home, authority, port, management_port, https_port, process: None }
    }

    /// Starts it.
    pub async fn run(&mut self) {
        let log = std::fs::File::create(self.home.path().join("log")).unwrap();
        let mut pebble = Command::new("pebble");
        pebble.args(["-strict", "-config", "config.json"]).current_dir(self.home.path()).env("PEBBLE_VA_NOSLEEP", "1");
        pebble.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(pebble.spawn().expect("pebble is installed"));
        let client = self.client(self.port);
        until("pebble", async || {
            let process = self.process.as_mut().unwrap();
            assert!(process.try_wait().unwrap().is_none(), "{}", self.log());
            client.http.get(self.directory_url()).send().await.ok()
        })
        .await;
    }

    pub fn directory_url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The root of its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.home.path().join("root.pem")
    }

    /// The root of the certificates that it issues.
    pub async fn root(&self) -> String {
        self.client(self.management_port).get("/roots/0").await.ok().body
    }

    fn client(&self, port: u16) -> Client {
        let url = format!("https://127.0.0.1:{port}");
        Client::trusting(&self.authority.root(), reqwest::Client::builder(), &url)
    }

    pub fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
