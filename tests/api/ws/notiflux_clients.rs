//! Guards clients of notiflux that nobody here wrote, and through a kill: npm's `ws`, and PyPI's `websockets`, which notiflux shows.

use serde_json::{Value, json};

use super::notiflux::broadcast;
use crate::support::{Saying, Signer, TestServer, free_port};

/// Awaits a text.
async fn says(program: &mut Saying, text: &str) {
    assert_eq!(serde_json::from_str::<Value>(&program.next().await).unwrap(), json!(["text", text]));
}

/// Sends numbers, which are all to come in order, also after a kill.
async fn is_served(file: &str) {
    let signer = Signer::new();
    let (port, flags) = (format!("--port={}", free_port()), signer.flags());
    let server = TestServer::start_with(&[&flags[0], &flags[1], &port]).await;
    let url = format!("ws://{}/ws", server.address());
    let token = signer.token("subscribe", &["campaign:7"]);
    let mut program = Saying::start(file, &[&url, "campaign:7", &token]);
    says(&mut program, "Unknown command").await;
    // It is compressed, if the client takes that.
    let large = "grün 😀 ".repeat(1000);
    let sending = async {
        for number in 0..100 {
            broadcast(&server, &signer, "other", "not for this one").await;
            broadcast(&server, &signer, "campaign:7", &number.to_string()).await;
        }
        broadcast(&server, &signer, "campaign:7", &large).await;
    };
    let receiving = async {
        for number in 0..100 {
            says(&mut program, &number.to_string()).await;
        }
        says(&mut program, &large).await;
    };
    tokio::join!(sending, receiving);
    let server = server.end_and_restart(true).await;
    says(&mut program, "Unknown command").await;
    broadcast(&server, &signer, "campaign:7", "back").await;
    says(&mut program, "back").await;
}

#[tokio::test]
async fn npms_ws_is_served() {
    is_served("topics.mjs").await;
}

#[tokio::test]
async fn pypis_websockets_is_served() {
    is_served("topics.py").await;
}
