//! Guards reading the configuration again on SIGHUP: what can change does, what cannot is told, and a mistake changes nothing.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::config::{start_by, write};
use crate::support::mqtt::{Connect, Mqtt};
use crate::support::{TestServer, eventually};

/// A server by a file, and what its log says of each reload, counted.
struct Reloading(TestServer);

impl Reloading {
    async fn start(text: &str) -> Self {
        Self(
            start_by(text, |command| {
                command.arg("--config=broker.toml");
            })
            .await,
        )
    }

    /// Reloads with this file. Returns the lines about it.
    async fn with(&self, text: &str) -> Vec<Value> {
        write(self.0.directory(), text);
        self.reload().await
    }

    async fn reload(&self) -> Vec<Value> {
        let before = self.told().len();
        self.0.signal("HUP");
        eventually("the reload to be told", || self.told().len() > before).await;
        // A warning comes right behind the line that is awaited.
        self.0.client().get("/").await;
        self.told().split_off(before)
    }

    fn told(&self) -> Vec<Value> {
        let log = self.0.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"] == "broker::server::reload").collect()
    }

    async fn allows(&self, origin: &str) -> bool {
        let answer = self.0.client().request(Method::GET, "/", &[("origin", origin)], None).await;
        answer.header("access-control-allow-origin").is_some()
    }
}

#[tokio::test]
async fn the_flags_that_a_server_tells_are_those_that_it_runs_by() {
    let server = Reloading::start("max_names = 5\njournal_bytes = 70000\n").await;
    server.with("max_names = 6\njournal_bytes = 80000\n").await;
    let flags = &server.0.client().admin("/status", json!({})).await.ok().json()["flags"];
    let told = ["max_names", "journal_bytes"].map(|name| flags[name]["value"].as_str().unwrap().to_owned());
    assert_eq!(told, ["6", "70000"], "the journal needs a restart");
}

#[tokio::test]
async fn limits_and_origins_change_while_streams_go_on() {
    let server = Reloading::start("origin = ['https://a.example']\n").await;
    let alice = server.0.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    assert!(server.allows("https://a.example").await && !server.allows("https://b.example").await);
    let text =
        "origin = ['https://b.example']\nmax_event_bytes = 100\nmax_names = 2\ninsert_rate = 1\nstreams_per_user = 1\n";
    let told = server.with(text).await;
    let applied = told[0]["applied"].as_str().unwrap();
    for set in ["origin=https://b.example", "max_event_bytes=100", "max_names=2", "insert_rate=1", "streams_per_user=1"]
    {
        assert!(applied.split(' ').any(|one| one == set), "{applied}");
    }
    assert!(told.len() == 1 && applied.split(' ').count() == 5, "{told:?}");
    assert!(!server.allows("https://a.example").await && server.allows("https://b.example").await);
    alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.name, "news");
    let insert = json!({ "event": "news", "data": "x".repeat(200) });
    alice.post("/insert", &insert).await.refused(413, "event_too_large");
    alice
        .post("/insert", &json!([{ "event": "a", "data": 1 }, { "event": "b", "data": 1 }]))
        .await
        .refused(429, "insert_rate_exceeded");
    // The same file again changes nothing, and says so.
    let told = server.reload().await;
    assert!(told.len() == 1 && told[0]["applied"] == "", "{told:?}");
    // One more stream ends the oldest.
    let _second = alice.stream().await;
    stream.rest().await;
    let told = server.with("origin = ['https://b.example']\n").await;
    assert!(told[0]["applied"].as_str().unwrap().contains("insert_rate=0"), "{told:?}");
    for number in 0..20 {
        alice.insert(&format!("news/{number}"), json!("x".repeat(200))).await;
    }
}

#[tokio::test]
async fn the_filter_of_the_log_changes() {
    let server = Reloading::start("").await;
    fs::write(server.0.directory().join("broker.toml"), basis_at("warn,broker::server=info")).unwrap();
    assert!(server.reload().await[0]["applied"].as_str().unwrap().contains("log=warn"));
    server.0.client().get("/quiet").await;
    fs::write(server.0.directory().join("broker.toml"), basis_at("debug")).unwrap();
    server.reload().await;
    server.0.log_up_to_now(&server.0.client()).await;
    assert!(!server.0.log().contains("/quiet"), "{}", server.0.log());
}

/// The file of a server with this filter.
fn basis_at(log: &str) -> String {
    super::config::basis().replace("log = 'debug'", &format!("log = '{log}'"))
}

#[tokio::test]
async fn what_needs_a_restart_is_told_at_each_reload_and_not_applied() {
    let server = Reloading::start("password_min = 8\n").await;
    for _ in 0..2 {
        let told = server.with("password_min = 20\nmax_names = 7\n").await;
        let warned = told.iter().find(|line| line["level"] == "WARN").unwrap();
        assert_eq!(warned["flags"], "password_min", "{told:?}");
    }
    server.0.user("alice", "acme").await;
    let secret = server.0.directory().join("secret");
    fs::write(&secret, "another-secret-of-16-bytes").unwrap();
    let file = fs::read_to_string(server.0.directory().join("broker.toml")).unwrap();
    let by_file: String =
        file.lines().filter(|line| !line.starts_with("jwt_secret")).map(|line| format!("{line}\n")).collect();
    fs::write(server.0.directory().join("broker.toml"), by_file + "jwt_secret_file = 'secret'\n").unwrap();
    let told = server.reload().await;
    let warned = told.iter().find(|line| line["level"] == "WARN").unwrap();
    let flags: Vec<_> = warned["flags"].as_str().unwrap().split(", ").collect();
    assert!(flags.contains(&"jwt_secret") && flags.contains(&"jwt_secret_file"), "{told:?}");
    assert!(!server.0.log().contains("another-secret"), "{told:?}");
}

#[tokio::test]
async fn a_file_with_a_mistake_changes_nothing_and_is_told_as_an_error() {
    let server = Reloading::start("origin = ['https://a.example']\n").await;
    for mistake in ["max_names = 0", "max_name = 5", "host = '0.0.0.0'\njwt_secret = 'x'", "signup = 'open'", "x"] {
        let told = server.with(&format!("origin = ['https://b.example']\n{mistake}\n")).await;
        assert!(told.len() == 1 && told[0]["level"] == "ERROR", "{told:?}");
        assert!(told[0]["why"].as_str().unwrap().contains("broker.toml, line "), "{told:?}");
        assert!(server.allows("https://a.example").await && !server.allows("https://b.example").await, "{mistake}");
    }
    fs::remove_file(server.0.directory().join("broker.toml")).unwrap();
    assert_eq!(server.reload().await[0]["level"], "ERROR");
    assert!(server.allows("https://a.example").await);
}

#[tokio::test]
async fn clients_of_mqtt_that_is_served_until_the_next_start_keep_their_limit() {
    let server = Reloading::start("mqtt_port = 0\nmqtt_connect_rate = 1\n").await;
    let alice = server.0.user("alice", "acme").await;
    let connects = async || {
        let connects = (0..30).map(async |_| {
            let connect = Connect { level: 5, login: Some(("JWT", alice.jwt())), ..Connect::default() };
            Mqtt::open(&server.0, &connect).await.1.body[1]
        });
        futures_util::future::join_all(connects).await
    };
    assert!(connects().await.contains(&0x9f), "too many at once");
    let told = server.with("mqtt_connect_rate = 1\n").await;
    assert!(told.iter().any(|line| line["flags"] == "mqtt_port"), "{told:?}");
    assert!(connects().await.contains(&0x9f), "it is served still, and limited still");
}
