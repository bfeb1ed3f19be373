//! Guards `/status`: what an operator is told of a server that runs, and that nobody else is.

use serde_json::{Value, json};

use crate::support::{RawStream, Scrape, TestServer, insert_large, until};
use crate::tls::Secure;

async fn status(client: &crate::support::Client) -> Value {
    client.admin("/status", json!({})).await.ok().json()
}

#[tokio::test]
async fn an_operator_is_told_of_versions_streams_tenants_store_and_clock() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let eve = server.user("eve", "other").await;
    let id = alice.insert("news", json!(1)).await;
    let (_first, _second, _third) = (alice.stream().await, alice.stream().await, eve.stream().await);
    let _socket = eve.socket(json!({})).await;
    let seen = status(&server.client()).await;
    assert_eq!((&seen["version"], &seen["phase"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("serving")));
    let streams = json!({ "open": 4, "by_transport": { "sse": 3, "broker.v1": 1 }, "catching_up": 0, "blocked": 0 });
    assert_eq!(seen["streams"], streams);
    let largest = json!([{ "tenant_name": "acme", "users_online": 1 }, { "tenant_name": "other", "users_online": 1 }]);
    assert_eq!(seen["tenants"], json!({ "online": 2, "users_online": 2, "largest": largest }));
    assert_eq!((&seen["slow_readers"], &seen["certificate"]), (&json!([]), &Value::Null));
    assert_eq!(seen["store"]["last_id"], id);
    assert!(seen["store"]["journal_bytes"].as_u64().unwrap() > 0, "{seen}");
    assert!(seen["store"]["disk_free_bytes"].as_u64().unwrap() > 0, "{seen}");
    assert_eq!((&seen["store"]["disk_full"], &seen["clock"]["source"]), (&json!(false), &json!("local")));
    assert_eq!(seen["writer"]["waiting_changes"], 0);
    assert!(seen["connections"]["open"].as_u64().unwrap() >= 4, "{seen}");
    assert!(seen["uptime_seconds"].as_u64().unwrap() < 600, "{seen}");
}

#[tokio::test]
async fn metrics_tell_the_same() {
    let server = TestServer::start_with(&["--metrics_port=0"]).await;
    let (alice, eve) = (server.user("alice", "acme").await, server.user("eve", "other").await);
    let (_first, _second) = (alice.stream().await, eve.stream().await);
    let _socket = eve.socket(json!({})).await;
    let (seen, scrape) = (status(&server.client()).await, Scrape::of(&server).await);
    for (transport, count) in seen["streams"]["by_transport"].as_object().unwrap() {
        assert_eq!(count.as_f64().unwrap(), scrape.value(&format!("broker_streams{{transport=\"{transport}\"}}")));
    }
    assert_eq!((seen["streams"]["open"].as_f64(), scrape.sum("broker_streams")), (Some(3.0), 3.0));
    for (figure, series) in [
        (&seen["streams"]["catching_up"], "broker_streams_catching_up"),
        (&seen["store"]["journal_bytes"], "broker_store_bytes{file=\"journal\"}"),
        (&seen["store"]["kept_bytes"], "broker_store_bytes{file=\"kept\"}"),
        (&seen["store"]["reserve_bytes"], "broker_store_bytes{file=\"reserve\"}"),
        (&seen["writer"]["waiting_changes"], "broker_writer_queue_changes"),
    ] {
        assert_eq!(figure.as_f64().unwrap(), scrape.value(series), "{series}");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_named_with_how_far_it_is_behind() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let (_slow, _fast) = (RawStream::open_with(&server, &bob, Some(1024)).await, alice.stream().await);
    let names: Vec<_> = (0..100).map(|number| format!("large{number}")).collect();
    insert_large(&alice, &names, 90_000).await;
    let seen = until("a slow reader", async || {
        let seen = status(&server.client()).await;
        (seen["slow_readers"].as_array().unwrap().iter().any(|slow| slow["username"] == "bob")).then_some(seen)
    })
    .await;
    let slow = seen["slow_readers"].as_array().unwrap().iter().find(|slow| slow["username"] == "bob").unwrap();
    assert_eq!((&slow["tenant_name"], &slow["transport"]), (&json!("acme"), &json!("sse")));
    assert!((1..=100).contains(&slow["behind"].as_u64().unwrap()), "{seen}");
    assert!(seen["streams"]["blocked"].as_u64().unwrap() >= 1, "{seen}");
}

#[tokio::test]
async fn it_tells_the_flags_that_are_set_wherever_they_are_from_and_no_secret() {
    let flags = ["--max_names=77", "--channel_tenant=acme", "--auth_key=auth-key-of-this-test-83"];
    let server = TestServer::start_with(&flags).await;
    let seen = status(&server.client()).await;
    assert_eq!(seen["flags"]["max_names"], json!({ "value": "77", "source": "flag" }));
    assert_eq!(seen["flags"]["auth_key"], json!({ "value": null, "source": "flag" }));
    assert_eq!(seen["flags"]["max_event_bytes"], Value::Null, "it is the default");
    assert!(!seen.to_string().contains("auth-key-of-this-test-83"), "{seen}");
}

#[tokio::test]
async fn it_takes_the_admin_token() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for body in [json!({ "admin_token": "wrong" }), json!({ "admin_token": alice.jwt() })] {
        server.client().post("/status", &body).await.refused(401, "admin_token_incorrect");
    }
    alice.post("/status", json!({})).await.refused(400, "body_invalid");
    alice.get("/status").await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn with_tls_it_says_when_the_certificate_ends() {
    let secure = Secure::start_with(&[]).await;
    let seen = status(&secure.client()).await;
    let chain = std::fs::read(secure.server.directory().join("chain.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&chain).unwrap();
    let end = pem.parse_x509().unwrap().validity().not_after.timestamp();
    assert_eq!(seen["certificate"]["not_after"], end * 1000);
}
