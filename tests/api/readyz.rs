//! Guards `/readyz`, by which a proxy learns whether the server takes more clients.

use std::sync::Arc;

use crate::support::{TestServer, command, free_port};

#[tokio::test]
async fn a_server_is_ready_once_it_listens_and_before_that_refuses_the_connection() {
    let port = free_port();
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let url = format!("http://127.0.0.1:{port}/readyz");
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());
    let flags = [format!("--port={port}")];
    let server = TestServer::try_start(directory, move |directory| command(&flags, directory)).await.unwrap();
    assert_eq!(server.client().get("/readyz").await.ok().json()["status"], "ready");
}
