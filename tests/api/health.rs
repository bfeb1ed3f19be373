//! Guards `/health`, by which watchers of notiflux and others ask whether the server runs.

use crate::support::{Client, TestServer};

#[tokio::test]
async fn a_server_that_runs_is_healthy() {
    let server = TestServer::start().await;
    let answer = Client::new(&server.url).get("/health").await.ok();
    assert_eq!(answer.body, "");
}
