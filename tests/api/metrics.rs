//! Guards `/metrics`: what is counted, in which formats, where it is served, and that it names nobody.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Scrape, TestServer, eventually, until, within};

/// Has a server serve its metrics on any free port.
pub const SERVED: &str = "--metrics_port=0";

/// Awaits a scrape of which this is true.
async fn scrape_until(server: &TestServer, what: &str, is_true: impl Fn(&Scrape) -> bool) -> Scrape {
    until(what, async || {
        let scrape = Scrape::of(server).await;
        is_true(&scrape).then_some(scrape)
    })
    .await
}

#[tokio::test]
async fn metrics_have_a_port_of_their_own_with_nothing_else_and_come_in_the_format_that_is_asked_for() {
    let server = TestServer::start_with(&[SERVED]).await;
    let metrics = Client::new(&server.metrics());
    for (accept, content_type, end) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", ""),
        (
            "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# EOF\n",
        ),
    ] {
        let answer = metrics.request(reqwest::Method::GET, "", &[("accept", accept)], None).await.ok();
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert!(answer.body.contains("\nbroker_inserts_total 0\n") && answer.body.ends_with(end), "{}", answer.body);
    }
    let head = metrics.request(reqwest::Method::HEAD, "", &[], None).await.ok();
    assert!(head.body.is_empty());
    assert_eq!(metrics.post("", &json!({})).await.status, 405);
    let elsewhere = Client::new(server.metrics().trim_end_matches("/metrics"));
    assert_eq!((elsewhere.get("/").await.status, elsewhere.get("/events").await.status), (404, 404));
    server.client().get("/metrics").await.refused(404, "not_found");
}

#[tokio::test]
async fn without_the_flag_no_metrics_are_served() {
    let server = TestServer::start().await;
    assert!(!server.log().contains("\"metrics\""), "{}", server.log());
}

#[tokio::test]
async fn what_is_counted_passes_the_check_of_prometheus_and_names_no_user_tenant_event_or_path() {
    let server = TestServer::start_with(&[SERVED, "--mqtt=true", "--streams_per_user=1"]).await;
    let alice = server.user("unmistakable", "unmistakable-tenant").await;
    let _streams = (alice.stream().await, alice.stream().await);
    alice.insert("unmistakable-event", json!(1)).await;
    server.client().get("/unmistakable-path").await.refused(404, "not_found");
    server.client().get("/channel/unmistakable-channel").await;
    server.client().post("/login", &json!({"username": "unmistakable", "password": "unmistakable"})).await;
    let scrape = Scrape::of(&server).await;
    assert!(!scrape.text.contains("unmistakable"), "{}", scrape.text);
    assert!(scrape.text.contains("endpoint=\"/channel/{name}\""), "{}", scrape.text);

    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("promtool runs: tests/run.sh installs it");
    check.stdin.take().unwrap().write_all(scrape.text.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn requests_refusals_and_sign_ins_are_counted_by_endpoint_status_code_and_outcome() {
    let server = TestServer::start_with(&[SERVED]).await;
    let alice = server.user("alice", "acme").await;
    let before = Scrape::of(&server).await;
    for number in 0..3 {
        alice.insert("n", json!(number)).await;
    }
    server.client().get("/nowhere").await.refused(404, "not_found");
    alice.try_insert("$reserved", json!(1)).await.refused(400, "event_name_reserved");
    server
        .client()
        .post("/login", &json!({"username": "alice", "password": "wrong"}))
        .await
        .refused(401, "unauthorized");
    let scrape = Scrape::of(&server).await;
    let grown = |series: &str| scrape.value(series) - before.get(series).unwrap_or(0.0);
    assert_eq!(grown("broker_http_requests_total{endpoint=\"/insert\",code=\"200\"}"), 3.0);
    assert_eq!(grown("broker_http_requests_total{endpoint=\"/insert\",code=\"400\"}"), 1.0);
    assert_eq!(grown("broker_http_requests_total{endpoint=\"other\",code=\"404\"}"), 1.0);
    assert_eq!(grown("broker_http_request_duration_seconds_count{endpoint=\"/insert\"}"), 4.0);
    assert!(grown("broker_http_request_duration_seconds_sum{endpoint=\"/insert\"}") > 0.0);
    assert_eq!(grown("broker_refusals_total{code=\"event_name_reserved\"}"), 1.0);
    assert_eq!(grown("broker_refusals_total{code=\"unauthorized\"}"), 1.0);
    assert_eq!(grown("broker_refusals_total{code=\"storage_full\"}"), 0.0);
    assert_eq!(grown("broker_sign_ins_total{method=\"sign-in\",outcome=\"unauthorized\"}"), 1.0);
    assert!(scrape.value("broker_sign_ins_total{method=\"sign-in\",outcome=\"ok\"}") >= 1.0);
    assert!(grown("broker_password_hash_seconds_count") >= 1.0);
    assert_eq!(scrape.value("broker_password_queue"), 0.0);
    assert_eq!(scrape.value("broker_throttled_total{kind=\"account\"}"), 0.0);
}

#[tokio::test]
async fn a_request_whose_head_is_too_large_is_counted_though_no_handler_sees_it() {
    let server = TestServer::start_with(&[SERVED]).await;
    let long = "x".repeat(64 << 10);
    server.client().request(reqwest::Method::GET, "/", &[("x-long", &long)], None).await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("broker_http_requests_total{endpoint=\"other\",code=\"431\"}"), 1.0);
    assert_eq!(scrape.value("broker_refusals_total{code=\"head_too_large\"}"), 1.0);
}

#[tokio::test]
async fn inserts_commits_and_deliveries_are_counted_once_for_each_event_and_stream() {
    let server = TestServer::start_with(&[SERVED]).await;
    let alice = server.user("alice", "acme").await;
    let mut streams = vec![alice.stream().await, alice.stream().await, alice.stream().await];
    // They are live: nothing is given to them by catching up.
    let before =
        scrape_until(&server, "live streams", |scrape| scrape.value("broker_streams_catching_up") == 0.0).await;
    for number in 0..5 {
        alice.insert("n", json!(number)).await;
    }
    for stream in &mut streams {
        stream.take(5).await;
    }
    let scrape = scrape_until(&server, "all deliveries", |scrape| {
        scrape.value("broker_deliveries_total") - before.value("broker_deliveries_total") == 15.0
    })
    .await;
    let grown = |series: &str| scrape.value(series) - before.value(series);
    assert_eq!(grown("broker_inserts_total"), 5.0);
    assert!(grown("broker_delivery_lag_seconds_count") >= 1.0);
    assert!(grown("broker_journal_sync_seconds_count") >= 5.0);
    assert!(grown("broker_journal_sync_seconds_sum") > 0.0);
    assert!(grown("broker_commit_changes_count") >= 5.0);
    assert!(grown("broker_journal_bytes") > 0.0 && grown("broker_overlay_bytes") > 0.0);
    assert_eq!(scrape.value("broker_writer_queue_changes"), 0.0);
    assert_eq!(scrape.value("broker_writer_queue_bytes"), 0.0);
    // A stream that reads what it missed is given it, too.
    alice.stream().await.next().await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("broker_deliveries_total") - before.value("broker_deliveries_total"), 16.0);
}

#[tokio::test]
async fn streams_and_connections_are_counted_while_they_are_open_and_ends_by_their_reason() {
    let server = TestServer::start_with(&[SERVED, "--streams_per_user=2"]).await;
    let alice = server.user("alice", "acme").await;
    let first = alice.stream().await;
    let (second, socket) = (alice.stream().await, alice.socket(json!({})).await);
    // The first has ended for the third.
    let scrape = scrape_until(&server, "an end", |scrape| {
        scrape.value("broker_streams_ended_total{reason=\"too_many_streams\"}") == 1.0
    })
    .await;
    assert_eq!(scrape.value("broker_streams{transport=\"sse\"}"), 1.0);
    assert_eq!(scrape.value("broker_streams{transport=\"broker.v1\"}"), 1.0);
    assert!(scrape.value("broker_connections{protocol=\"http\"}") >= 2.0);
    drop((first, second, socket));
    let scrape = scrape_until(&server, "the ends of all", |scrape| scrape.sum("broker_streams") == 0.0).await;
    assert_eq!(scrape.value("broker_streams_ended_total{reason=\"gone\"}"), 2.0);
    assert_eq!(scrape.value("broker_streams_catching_up"), 0.0);
}

#[tokio::test]
async fn a_checkpoint_is_timed_and_the_sizes_of_files_follow() {
    let server = TestServer::start_with(&[SERVED, "--journal_bytes=65536"]).await;
    let alice = server.user("alice", "acme").await;
    let before = Scrape::of(&server).await;
    assert_eq!(before.get("broker_checkpoint_last_success_timestamp_seconds"), None);
    assert_eq!(before.value("broker_journal_limit_bytes"), 65536.0);
    for number in 0..3 {
        alice.insert(&format!("n{number}"), json!("x".repeat(60_000))).await;
    }
    let scrape =
        scrape_until(&server, "a checkpoint", |scrape| scrape.value("broker_checkpoint_seconds_count") >= 1.0).await;
    let at = scrape.value("broker_checkpoint_last_success_timestamp_seconds");
    assert!(at > scrape.value("process_start_time_seconds") - 1.0, "{at}");
    for file in ["data", "journal", "reserve"] {
        assert!(scrape.value(&format!("broker_store_bytes{{file=\"{file}\"}}")) > 0.0, "{file}");
    }
    assert!(scrape.value("broker_disk_free_bytes") > 0.0);
}

#[tokio::test]
async fn the_end_of_a_backup_is_told_once_there_is_one() {
    const LAST: &str = "broker_backup_last_success_timestamp_seconds";
    let server = TestServer::start_with(&[SERVED]).await;
    assert_eq!(Scrape::of(&server).await.get(LAST), None);
    server.client().admin("/backup", json!({})).await.ok();
    let scrape = scrape_until(&server, "a backup", |scrape| scrape.get(LAST).is_some()).await;
    assert!(scrape.value(LAST) > scrape.value("process_start_time_seconds") - 1.0);
}

#[tokio::test]
async fn the_process_the_version_and_the_clock_are_there() {
    let server = TestServer::start_with(&[SERVED]).await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value(&format!("broker_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    let resident = scrape.value("process_resident_memory_bytes") / f64::from(1 << 20);
    let seen = server.resident_mebibytes() as f64;
    assert!((resident - seen).abs() < seen / 2.0, "{resident} and {seen}");
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as f64;
    assert!((scrape.value("process_open_fds") - files).abs() < 10.0);
    for name in ["process_cpu_seconds_total", "process_threads", "process_max_fds", "process_virtual_memory_bytes"] {
        assert!(scrape.value(name) > 0.0, "{name}");
    }
    assert_eq!(scrape.value("broker_clock_offset_seconds"), 0.0);
    // No server is asked, so there is nothing to be warned of.
    assert_eq!(scrape.get("broker_clock_synchronized"), None);
}

#[tokio::test]
async fn a_flood_of_scrapes_waits_for_its_turns_and_one_scrape_never_does() {
    let server = TestServer::start_with(&[SERVED]).await;
    let began = Instant::now();
    join_all((0..40).map(|_| Scrape::of(&server))).await;
    assert!(began.elapsed() >= Duration::from_millis(39 * 50), "{:?}", began.elapsed());
    // Meanwhile and afterwards, clients are served.
    server.client().get("/health").await.ok();
    within("a scrape", Scrape::of(&server)).await;
}

#[tokio::test]
async fn clients_that_do_not_take_their_answers_keep_no_scrape_out_for_long() {
    let server = TestServer::start_with(&[SERVED]).await;
    let address = server.metrics().split('/').nth(2).unwrap().to_owned();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500);
    // As many as are served at once.
    let silent = join_all((0..16).map(async |_| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let mut connection = socket.connect(address.parse().unwrap()).await.unwrap();
        // As far as the server reads them.
        let _ = tokio::time::timeout(Duration::from_secs(1), connection.write_all(&request)).await;
        connection
    }))
    .await;
    within("a scrape", Scrape::of(&server)).await;
    drop(silent);
}

#[tokio::test]
async fn a_server_that_serves_metrics_stops_as_it_should() {
    let mut server = TestServer::start_with(&[SERVED]).await;
    let metrics = Client::new(&server.metrics());
    // A connection that stays.
    metrics.get("").await.ok();
    server.stop().await;
    eventually("the end of the port", || std::net::TcpStream::connect(metrics.url.split('/').nth(2).unwrap()).is_err())
        .await;
    server.restart().await;
}
