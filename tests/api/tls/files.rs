//! Guards the two files of a certificate: errors in them are explained, and they can be replaced while the server runs.

use std::fs;
use std::sync::Arc;

use reqwest::tls::TlsInfo;

use super::{FLAGS, Secure};
use crate::support::{Authority, Client, TestServer, command, eventually, within};

/// The certificate that a new connection is given.
async fn certificate(secure: &Secure, root: &str) -> Vec<u8> {
    let client = Client::trusting(root, reqwest::Client::builder(), &secure.server.url);
    let answer = within("an answer", client.http.get(&client.url).send()).await.unwrap();
    answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_owned()
}

async fn refused(directory: &Arc<tempfile::TempDir>, said: &str) {
    let started =
        TestServer::try_start(Arc::clone(directory), |directory| command(&FLAGS.map(str::to_owned), directory));
    let Err(why) = started.await else { panic!("it started, and should have said {said:?}") };
    assert!(why.starts_with("exit status: 1: ") && !why.contains("panicked"), "{why}");
    assert!(why.contains(&format!("error: {said}")), "it does not say {said:?}: {why}");
}

#[tokio::test]
async fn files_that_are_missing_garbage_or_do_not_belong_together_are_a_clear_message() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let authority = Authority::new();
    let (chain, key) = authority.issue(directory.path());
    let (good_chain, good_key) = (fs::read_to_string(&chain).unwrap(), fs::read_to_string(&key).unwrap());
    let body = |text: &str| text.lines().nth(1).unwrap().to_owned();
    for (path, good, name) in [(&chain, &good_chain, "chain.pem"), (&key, &good_key, "private_key.pem")] {
        let cannot = format!("cannot use {name}: ");
        fs::remove_file(path).unwrap();
        refused(&directory, &cannot).await;
        fs::create_dir(path).unwrap();
        refused(&directory, &cannot).await;
        fs::remove_dir(path).unwrap();
        let cut = &good[..good.len() / 3];
        let other = if name == "chain.pem" { &good_key } else { &good_chain };
        for bad in ["", "garbage", cut, other, &good.replacen(&body(good), "!!!!", 1)] {
            fs::write(path, bad).unwrap();
            refused(&directory, &cannot).await;
        }
        fs::write(path, [0xff, 0xfe, 0, 0x80]).unwrap();
        refused(&directory, &cannot).await;
        fs::write(path, good).unwrap();
    }
    // A valid PEM of something that is no certificate.
    fs::write(&chain, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    refused(&directory, "cannot use ").await;
    // Each of them good, but of two issues.
    authority.issue(directory.path());
    fs::write(&key, &good_key).unwrap();
    refused(&directory, "cannot use the certificate: ").await;
    fs::write(&chain, &good_chain).unwrap();
    let started = TestServer::try_start(directory, |directory| command(&FLAGS.map(str::to_owned), directory)).await;
    assert!(started.is_ok(), "{:?}", started.err());
}

#[tokio::test]
async fn replaced_files_are_served_after_sighup_without_a_restart() {
    let secure = Secure::start().await;
    let first = certificate(&secure, &secure.authority.root()).await;
    // Open connections stay open.
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut stream = alice.stream().await;
    let other = Authority::new();
    let directory = secure.server.directory();
    other.issue(directory);
    secure.server.signal("HUP");
    secure.server.says("the certificate was read anew").await;
    let second = certificate(&secure, &other.root()).await;
    assert_ne!(first, second);

    // One that cannot be used leaves the last one in place, and is told.
    fs::write(directory.join("chain.pem"), "garbage").unwrap();
    secure.server.signal("HUP");
    secure.server.says("the old one stays").await;
    assert_eq!(certificate(&secure, &other.root()).await, second);

    // Nor does one that is missing for a moment, and it is taken once it is there, though nobody has written it since.
    let (_, key) = other.issue(directory);
    let aside = key.with_extension("aside");
    fs::rename(&key, &aside).unwrap();
    let complaints = || secure.server.log().matches("the old one stays").count();
    let before = complaints();
    secure.server.signal("HUP");
    eventually("another complaint", || complaints() > before).await;
    fs::rename(&aside, &key).unwrap();
    secure.server.signal("HUP");
    let third = within("the third certificate", async {
        loop {
            let now = certificate(&secure, &other.root()).await;
            if now != second {
                return now;
            }
        }
    })
    .await;
    assert_ne!(third, first);
    let id = alice.insert("news", serde_json::json!(1)).await;
    assert_eq!(stream.next().await.id, id);
}
