//! Guards the alerts and the dashboard of `deploy`: each alert fires by its fault and is quiet before, and all that they name is there.

mod prometheus;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::disk_full::fill;
use crate::metrics::SERVED;
use crate::ntp::NtpServer;
use crate::start::{ended, replace};
use crate::support::{Authority, Client, LoopDisk, Scrape, TestServer, command, free_port, until, with_descriptors};
use crate::tls;
use prometheus::Prometheus;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

/// The names of all alerts.
fn alerts() -> BTreeSet<String> {
    text("alerts.yml").lines().filter_map(|line| Some(line.trim().strip_prefix("- alert: ")?.to_owned())).collect()
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("broker_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The names under which a scrape has samples of a metric, by the lines that say its type.
fn names_of(scrape: &Scrape) -> BTreeSet<String> {
    let types = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| match kind {
            "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

fn promtool(arguments: &[&str]) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let output = Command::new("promtool").args(arguments).current_dir(deploy).output();
    let output = output.expect("promtool runs: tests/run.sh installs it");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn prometheus_takes_the_rules_and_each_fires_by_its_series_and_not_before() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    let (tests, page) = (text("alerts_test.yml"), include_str!("../../docs/operations.md"));
    for alert in alerts() {
        let fires = tests
            .split("alertname: ")
            .filter(|test| test.starts_with(&format!("{alert}\n")) && test.contains("exp_labels"));
        assert!(fires.count() >= 1, "no test has {alert} fire");
        assert!(page.contains(&format!("`{alert}`")), "docs/operations.md does not say what to do about {alert}");
    }
}

#[tokio::test]
async fn the_dashboard_the_alerts_and_the_page_name_the_metrics_that_there_are() {
    let server = TestServer::start_with(&[SERVED, "--mqtt=true"]).await;
    let names = names_of(&Scrape::of(&server).await);
    let dashboard = text("grafana.json");
    let used: BTreeSet<_> = metrics_in(&dashboard).union(&metrics_in(&text("alerts.yml"))).cloned().collect();
    let unknown: Vec<_> = used.difference(&names).collect();
    assert!(unknown.is_empty() && used.len() > 30, "they are not counted: {unknown:?}");
    // And the dashboard shows all of them; of a histogram, its buckets.
    let shown = metrics_in(&dashboard);
    let hidden: Vec<_> = names
        .iter()
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count") && !shown.contains(*name))
        .collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
    let page = include_str!("../../docs/operations.md");
    for name in names.iter().filter(|name| !name.ends_with("_sum") && !name.ends_with("_count")) {
        let name = name.trim_end_matches("_bucket");
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}{{")), "the page lacks {name}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

#[tokio::test]
async fn a_server_without_a_fault_has_no_alert_and_one_that_is_gone_has() {
    let (ntp, authority) = (NtpServer::start(0), Authority::new());
    let mut server = secure(&authority, 365, &ntp.flag()).await;
    let client = Client::trusting(&authority.root(), reqwest::Client::builder(), &server.url);
    client.get("/health").await.ok();
    // It has been counted that nothing is wrong: the certificate was shown, and the clock is right.
    let prometheus = Prometheus::watching(&server, &text("alerts.yml")).await;
    prometheus.knows("broker_clock_synchronized == 1").await;
    prometheus.knows("broker_certificate_not_after_timestamp_seconds").await;
    prometheus.has_evaluated().await;
    assert_eq!(prometheus.firing().await, BTreeSet::new());
    // The expressions of the dashboard can be evaluated, too.
    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    for target in panels.filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().unwrap();
        prometheus.query(&expression.replace("$__rate_interval", "1m").replace("$instance", ".*")).await;
    }
    server.kill();
    prometheus.fires("BrokerDown").await;
}

#[tokio::test]
async fn guesses_a_crowd_a_wrong_clock_an_old_certificate_and_no_backup_fire_their_alerts() {
    let authority = Authority::new();
    // Nobody answers there.
    let server = secure(&authority, 10, "--ntp_servers=127.0.0.1:9").await;
    // A connection of HTTP/2 has so few requests at once that none is refused.
    let client = Client::trusting(&authority.root(), reqwest::Client::builder().http1_only(), &server.url);
    let guess =
        async |name: String| client.post("/login", &json!({"username": name, "password": "wrong"})).await.status;
    assert_eq!(guess("nobody".to_owned()).await, 401);
    // A backup may be a second old, so that nobody need wait for a day.
    let rules = text("alerts.yml");
    assert!(rules.contains("> 26 * 3600"));
    let prometheus = Prometheus::watching(&server, &rules.replace("> 26 * 3600", "> 1")).await;
    for alert in ["BrokerClockUnsynchronized", "BrokerCertificateExpires", "BrokerBackupMissing"] {
        prometheus.fires(alert).await;
    }
    prometheus.knows("broker_sign_ins_total{outcome=\"unauthorized\"} == 1").await;
    let firing = prometheus.firing().await;
    assert!(!firing.contains("BrokerSignInsWrong") && !firing.contains("BrokerOverloaded"), "{firing:?}");
    // More at once than may wait for a hash, and more than one in ten seconds over ten minutes.
    let statuses = join_all((0..300).map(|number| guess(format!("nobody{number}")))).await;
    assert!(statuses.contains(&503) && statuses.contains(&401), "{statuses:?}");
    prometheus.fires("BrokerOverloaded").await;
    prometheus.fires("BrokerSignInsWrong").await;
}

#[tokio::test]
async fn a_slow_disk_and_then_a_full_one_fire_their_alerts() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "watched", 96) else { return };
    let db = format!("--db={}", disk.path().join("db").display());
    let server = TestServer::start_with(&[&db, SERVED]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?events=slow&marks=true", None).await;
    while stream.next().await.name != "$synced" {}
    let prometheus = Prometheus::watching(&server, &text("alerts.yml")).await;
    prometheus.has_evaluated().await;
    assert_eq!(prometheus.firing().await, BTreeSet::new());

    let freeze = |how: &str| assert!(Command::new("fsfreeze").arg(how).arg(disk.path()).status().unwrap().success());
    freeze("--freeze");
    let thaw = async {
        // As long as the disk is to be slow: nothing else tells it.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        freeze("--unfreeze");
    };
    tokio::join!(alice.insert("slow", json!(1)), thaw);
    assert_eq!(stream.next().await.name, "slow");
    prometheus.fires("BrokerSyncSlow").await;
    prometheus.fires("BrokerDeliverySlow").await;

    fill(disk.path());
    while alice.try_insert("big", json!("x".repeat(90_000))).await.status == 200 {}
    prometheus.fires("BrokerDiskFull").await;
    prometheus.fires("BrokerDiskFullSoon").await;
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    alice.insert("after", json!(1)).await;
    prometheus.is_quiet("BrokerDiskFull").await;
}

#[tokio::test]
async fn a_damaged_user_and_starting_again_and_again_fire_their_alerts() {
    let ports = [format!("--port={}", free_port()), format!("--metrics_port={}", free_port())];
    let mut server = TestServer::start_with(&["--journal_bytes=65536", &ports[0], &ports[1]]).await;
    let alice = server.user("alice", "acme").await;
    server.client().create_user("zoe", "acme").await;
    // So much that the user has left the journal.
    for number in 0..12 {
        alice.insert("news", json!("x".repeat(20_000 + number))).await;
    }
    let prometheus = Prometheus::watching(&server, &text("alerts.yml")).await;
    for starts in 1..=3 {
        server = ended(server).await;
        if starts == 1 {
            replace(&server.database(), b"uzoe", b"{}");
        }
        server = server.restart().await;
        prometheus.knows(&format!("changes(process_start_time_seconds[30m]) == {starts}")).await;
        if starts == 1 {
            prometheus.has_evaluated().await;
            assert_eq!(prometheus.firing().await, BTreeSet::new());
            server.client().admin("/revoke_user", json!({ "username": "zoe" })).await.refused(500, "value_damaged");
            prometheus.fires("BrokerFailing").await;
        }
    }
    prometheus.fires("BrokerRestarts").await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_moved_and_a_crowd_of_connections_fire_their_alerts() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let flags = [SERVED, "--journal_bytes=65536"].map(str::to_owned);
    let start = move |directory: &Path| with_descriptors(1024, &command(&flags, directory), directory);
    let server = TestServer::try_start(directory, start).await.unwrap_or_else(|why| panic!("{why}"));
    let alice = server.user("alice", "acme").await;
    // The last checkpoint may be a second old, so that nobody need wait for an hour.
    let rules = text("alerts.yml");
    assert!(rules.contains("> 3600"));
    let prometheus = Prometheus::watching(&server, &rules.replace("> 3600", "> 1")).await;
    prometheus.has_evaluated().await;
    assert_eq!(prometheus.firing().await, BTreeSet::new());

    // From now on no file can be opened, so no other journal can be begun. What is open stays so: the connections of both clients.
    let may_open = |descriptors| {
        let limit = Rlimit { current: Some(descriptors), maximum: Some(1024) };
        prlimit(Pid::from_raw(server.pid() as i32), Resource::Nofile, limit).unwrap();
    };
    may_open(3);
    while alice.try_insert("large", json!("x".repeat(10_000))).await.status == 200 {}
    prometheus.fires("BrokerCheckpointMissing").await;
    may_open(1024);
    until("an insert", async || (alice.try_insert("large", json!(1)).await.status == 200).then_some(())).await;
    prometheus.is_quiet("BrokerCheckpointMissing").await;

    let address = server.address().to_owned();
    let _crowd = join_all((0..1000).map(async |_| tokio::net::TcpStream::connect(&address).await.unwrap())).await;
    prometheus.fires("BrokerDescriptorsFew").await;
}

/// A server with HTTPS whose certificate ends in so many days.
async fn secure(authority: &Authority, days: u64, ntp: &str) -> TestServer {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    authority.issue_for(directory.path(), days);
    let flags: Vec<String> = tls::FLAGS.iter().chain(&[SERVED, ntp]).map(|flag| (*flag).to_owned()).collect();
    let started = TestServer::try_start(directory, move |directory| command(&flags, directory)).await;
    started.unwrap_or_else(|why| panic!("{why}"))
}
