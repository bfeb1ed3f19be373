//! Guards `/healthz`, by which a supervisor learns whether the server works, and `broker health`, by which a script does.

use std::path::Path;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, LoopDisk, TestServer, bare_command, until};
use crate::tls::Secure;

#[tokio::test]
async fn a_server_that_works_says_so_to_anybody_in_few_bytes_that_no_cache_keeps() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.client().get(path).await.ok();
        assert!(answer.json()["status"].is_string() && answer.body.len() < 32, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(server.client().request(Method::HEAD, path, &[], None).await.ok().body, "");
        server.client().request(Method::POST, path, &[], None).await.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn with_default_secrets_a_health_check_is_answered_on_this_machine_alone() {
    let server = TestServer::start_with(&["--admin_token=letmein"]).await;
    let with_host = async |host: &str| server.client().request(Method::GET, "/healthz", &[("host", host)], None).await;
    for host in ["localhost", "127.0.0.1:8080"] {
        with_host(host).await.ok();
    }
    with_host("10.0.0.7").await.refused(403, "host_not_allowed");
}

/// Whether the server works, and whether it is ready.
async fn asked(client: &Client) -> (u16, u16) {
    (client.get("/healthz").await.status, client.get("/readyz").await.status)
}

#[tokio::test]
async fn a_writer_that_waits_for_the_disk_is_told_and_told_again_once_it_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::create(home.path(), "frozen", 128) else { return };
    let server = TestServer::start_with(&[&format!("--db={}", disk.path().join("db").display())]).await;
    let alice = server.user("alice", "acme").await;
    assert_eq!(asked(&server.client()).await, (200, 200));
    let freeze = |how: &str| assert!(Command::new("fsfreeze").arg(how).arg(disk.path()).status().unwrap().success());
    freeze("--freeze");
    let (insert, client) = (alice.insert("news", json!(1)), server.client());
    let told = async {
        let stalled = until("a writer that waits", async || {
            let answer = client.get("/healthz").await;
            (answer.status != 200).then_some(answer)
        });
        stalled.await.refused(503, "stalled");
        // It can still be read, so there is no reason to send clients away.
        assert_eq!(client.get("/readyz").await.status, 200);
        freeze("--unfreeze");
        until("a writer that goes on", async || (client.get("/healthz").await.status == 200).then_some(())).await;
    };
    tokio::join!(insert, told);
}

/// What `broker health` says, with more variables or flags.
fn health(directory: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let mut command = bare_command(directory);
    command.arg("health").args(flags).envs(variables.iter().copied()).stdout(std::process::Stdio::piped());
    // It asks this machine, whatever proxies there are for others.
    command.envs(
        ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
            .map(|name| (name, "http://127.0.0.1:9")),
    );
    command.output().unwrap()
}

fn status_and_text(output: &Output) -> (Option<i32>, String) {
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    (output.status.code(), texts.concat())
}

#[tokio::test]
async fn the_command_says_in_a_line_and_by_its_status_whether_the_server_works() {
    let mut server = TestServer::start().await;
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    let here = [("BROKER_PORT", port.as_str())];
    for (flags, said) in [(&[][..], "ok"), (&["--ready"], "ready")] {
        let (status, text) = status_and_text(&health(server.directory(), &here, flags));
        assert_eq!((status, text), (Some(0), format!("{{\"status\":\"{said}\"}}\n")), "{flags:?}");
    }
    let by_url = health(server.directory(), &[], &["--url", &server.url]);
    assert!(!by_url.status.success(), "a server elsewhere is asked by a proxy, if there is one");
    server.stop().await;
    let (status, text) = status_and_text(&health(server.directory(), &here, &[]));
    assert!(status == Some(1) && text.contains("cannot be reached") && text.lines().count() == 1, "{status:?} {text}");
}

#[tokio::test]
async fn the_command_reaches_a_server_with_a_certificate_of_its_own_whatever_authority_it_is_from() {
    let secure = Secure::start_with(&[]).await;
    let port = secure.server.address().rsplit_once(':').unwrap().1.to_owned();
    let variables = [
        ("BROKER_SECURE", "true"),
        ("BROKER_AUTO_CERT", "false"),
        ("BROKER_HTTPS_PORT", port.as_str()),
        ("BROKER_CERT_PATH", "chain.pem"),
        ("BROKER_KEY_PATH", "private_key.pem"),
        ("BROKER_ADMIN_TOKEN", crate::support::ADMIN_TOKEN),
        ("BROKER_JWT_SECRET", crate::support::JWT_SECRET),
    ];
    let (status, text) = status_and_text(&health(secure.server.directory(), &variables, &[]));
    assert_eq!((status, text.as_str()), (Some(0), "{\"status\":\"ok\"}\n"));
    // With a root of its own the certificate is looked at, for the name that is in it and not for the address.
    let root = secure.server.directory().join("root.pem");
    std::fs::write(&root, secure.authority.root()).unwrap();
    let root = root.to_str().unwrap();
    let (status, text) = status_and_text(&health(secure.server.directory(), &variables, &["--ca", root]));
    assert_eq!((status, text.as_str()), (Some(0), "{\"status\":\"ok\"}\n"));
    let other = crate::support::Authority::new();
    std::fs::write(root, other.root()).unwrap();
    let (status, text) = status_and_text(&health(secure.server.directory(), &variables, &["--ca", root]));
    assert!(status == Some(1) && text.contains("ertificate"), "{status:?} {text}");
    // Commands that say the admin token know the public authorities, of which this is none.
    let mut export = bare_command(secure.server.directory());
    let export =
        export.args(["export", "--to=-"]).envs(variables).stdout(std::process::Stdio::piped()).output().unwrap();
    let (status, text) = status_and_text(&export);
    assert!(status == Some(1) && text.contains("ertificate") && !text.contains("panicked"), "{status:?} {text}");
}
