//! Guards certificates by ACME: a real authority, Debian's `pebble`, issues them to a running server through TLS-ALPN-01.

mod pebble;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use pebble::Pebble;
use reqwest::tls::TlsInfo;
use serde_json::json;

use crate::support::{Client, TestServer, command, connect_trusting, free_port, until, within};

/// A server that asks this authority for its certificate.
async fn start(pebble: &Pebble) -> TestServer {
    let flags = vec![
        "--secure=true".to_owned(),
        "--domain=localhost".to_owned(),
        format!("--https_port={}", pebble.https_port),
        format!("--acme_directory={}", pebble.directory_url()),
        format!("--acme_ca={}", pebble.ca().display()),
        "--certs=kept/certs".to_owned(),
        "--mqtts_port=0".to_owned(),
    ];
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let started = TestServer::try_start(directory, move |directory| command(&flags, directory)).await;
    started.unwrap_or_else(|why| panic!("{why}"))
}

/// A client that trusts the authority's root alone, and asks for the certificate's own name.
fn client(server: &TestServer, root: &str) -> Client {
    let url = server.url.replace("127.0.0.1", "localhost");
    let address = server.address().parse().unwrap();
    Client::trusting(root, reqwest::Client::builder().resolve("localhost", address), &url)
}

/// The certificate that a new connection is given, where it is one that this root vouches for.
async fn certificate(server: &TestServer, root: &str) -> Option<Vec<u8>> {
    let client = client(server, root);
    let answer = within("an answer", client.http.get(&client.url).send()).await.ok()?;
    Some(answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_owned())
}

/// Awaits a certificate other than this one.
async fn certificate_other_than(server: &TestServer, root: &str, old: Option<&[u8]>) -> Vec<u8> {
    let is_other = |now: &Vec<u8>| Some(now.as_slice()) != old;
    until("a certificate", async || certificate(server, root).await.filter(is_other)).await
}

fn assert_private(directory: &Path) {
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 2, "the account and the certificate: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn an_authority_issues_a_certificate_to_a_running_server_and_a_client_streams_through_it() {
    // The authority cannot be reached yet: the server starts all the same, and tries again.
    let mut pebble = Pebble::prepare(90 * 24 * 3600);
    let server = start(&pebble).await;
    server.says("the certificate could not be had").await;
    pebble.run().await;
    let root = pebble.root().await;
    let issued = certificate_other_than(&server, &root, None).await;

    let client = client(&server, &root);
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut stream = alice.stream().await;
    let id = alice.insert("news", json!({ "title": "grün" })).await;
    let event = stream.next().await;
    assert_eq!((event.id, event.data.as_str()), (id.clone(), r#"{"title":"gr\u00fcn"}"#));
    drop(stream);
    // MQTT has the same certificate.
    connect_trusting(&root, &server.mqtts(), "mqtt").await.unwrap();
    // The root vouches for no other name.
    let mut nameless = client.clone();
    nameless.url = server.url.clone();
    assert!(nameless.http.get(&nameless.url).send().await.is_err());

    server.says("CertCacheStore").await;
    assert_private(&server.directory().join("kept/certs"));

    // What is kept serves again, at once, while the authority is gone.
    pebble.end();
    let server = server.restart().await;
    assert_eq!(certificate_other_than(&server, &root, None).await, issued);
    assert_eq!(client.with_authorization(&alice.authorization).stream().await.next().await.id, id);
    server.says("DeployedCachedCert").await;
}

#[tokio::test]
async fn a_certificate_that_nears_its_end_is_renewed_while_everything_goes_on() {
    let mut pebble = Pebble::prepare(20);
    pebble.run().await;
    let server = start(&pebble).await;
    let root = pebble.root().await;
    let first = certificate_other_than(&server, &root, None).await;
    let client = client(&server, &root);
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut stream = alice.stream().await;
    let second = certificate_other_than(&server, &root, Some(&first)).await;
    assert_ne!(first, second);
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    assert_private(&server.directory().join("kept/certs"));
}

#[tokio::test]
async fn a_root_of_the_authority_that_cannot_be_used_is_a_clear_message() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("garbage.pem"), "garbage").unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    for (flag, said) in [
        ("--acme_ca=missing.pem", "cannot use missing.pem: "),
        ("--acme_ca=garbage.pem", "cannot use garbage.pem: "),
        ("--certs=file/certs", "cannot use file/certs: "),
    ] {
        let started = TestServer::try_start(Arc::clone(&directory), move |directory| {
            let directory_url = format!("--acme_directory=https://127.0.0.1:{}/dir", free_port());
            let flags = ["--secure=true", "--https_port=0", "--domain=localhost", &directory_url, flag];
            command(&flags.map(str::to_owned), directory)
        });
        let Err(why) = started.await else { panic!("{flag} is taken") };
        assert!(why.starts_with("exit status: 1: ") && why.contains(&format!("error: {said}")), "{flag}: {why}");
        assert!(!why.contains("panicked"), "{flag}: {why}");
    }
}
