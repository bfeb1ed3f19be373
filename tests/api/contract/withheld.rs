//! Guards against bodies that never end.

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ADMIN_TOKEN, TestServer, User, password_of, within};

const KIB: usize = 1024;
/// What all bodies of strangers may take that are waited for, and those of users.
const OF_STRANGERS: usize = 24 * KIB * KIB;
const OF_USERS: usize = 40 * KIB * KIB;

/// A client that announces a body of this size and sends all but its end.
async fn withhold(server: &TestServer, path: &str, authorization: &str, bytes: usize) -> TcpStream {
    let address = server.address();
    let mut connection = within("a connection", TcpStream::connect(address)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n\r\n{{",
        bytes + 2
    );
    // It may be refused before all of it is sent.
    let _ = within("bytes to be taken", connection.write_all(head.as_bytes())).await;
    let _ = within("bytes to be taken", connection.write_all(&vec![b' '; bytes])).await;
    connection
}

/// How many of these are refused, all for the same reason. The others still wait, or their time was over first.
async fn refused(connections: &mut [TcpStream], status: &str) -> usize {
    let mut refused = 0;
    for connection in connections {
        let mut answer = vec![0; 2000];
        let wait = std::time::Duration::from_millis(10);
        if let Ok(Ok(bytes @ 1..)) = tokio::time::timeout(wait, connection.read(&mut answer)).await {
            let answer = String::from_utf8_lossy(&answer[..bytes]);
            if answer.starts_with("HTTP/1.1 408") {
                continue;
            }
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test]
async fn without_a_sign_in_a_body_may_have_8_kib() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let body = |path: &str, bytes: usize| {
        let body = json!({ "username": "alice", "password": password_of("alice"), "totp": "123456" }).to_string();
        let body = body + &" ".repeat(bytes);
        let client = server.client();
        let path = path.to_owned();
        async move { client.request(reqwest::Method::POST, &path, &[], Some(body.into_bytes())).await }
    };
    body("/login", 8 * KIB - 100).await.ok();
    body("/password_reset", 8 * KIB - 100).await.refused(401, "unauthorized");
    for path in ["/login", "/password_reset"] {
        body(path, 8 * KIB).await.refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn bodies_that_never_end_take_a_bounded_memory_and_keep_out_neither_sign_ins_nor_users() {
    const BYTES: usize = 500 * KIB;
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let alice = server.client().sign_in("alice").await;
    let before = server.resident_mebibytes();
    let sign_ins = join_all((0..200).map(|_| withhold(&server, "/login", "", BYTES))).await;
    let mut admins = join_all((0..100).map(|_| withhold(&server, "/create_user", "", BYTES))).await;
    within("some to be refused", async { while refused(&mut admins, "503").await == 0 {} }).await;
    let growth = server.resident_mebibytes().saturating_sub(before);
    // They would be 150 MiB, and twice that with what is set aside for more. actix has up to 128 KiB of each that is refused.
    assert!(growth < OF_STRANGERS / KIB / KIB + 110, "{growth} MiB");
    server.client().login("alice", &password_of("alice")).await.ok();
    alice.insert("news", json!("x".repeat(90_000))).await;
    // Nor an admin from the same address, whose body comes in pieces.
    let large = json!({ "admin_token": ADMIN_TOKEN, "username": "alice", "unknown": "x".repeat(400 * KIB) });
    server.client().post("/get_user", &large).await.ok();
    drop((sign_ins, admins));
}

#[tokio::test]
async fn users_of_one_tenant_that_fill_the_memory_for_bodies_keep_nobody_out() {
    const BYTES: usize = 2_000 * KIB;
    const ALL: usize = OF_USERS / BYTES + 5;
    let server = TestServer::start().await;
    let mut crowd = Vec::new();
    for number in 0..5 {
        crowd.push(server.user(&format!("mallory{number}"), "other").await);
    }
    let withheld = |user: &User, bytes: usize| {
        let authorization = user.authorization.clone();
        let server = &server;
        async move { withhold(server, "/insert", &authorization, bytes).await }
    };
    let mut of_crowd = join_all((0..ALL).map(|number| withheld(&crowd[number % crowd.len()], BYTES))).await;
    within("too many to be refused", async {
        let mut all = 0;
        while all < ALL - OF_USERS / BYTES {
            all += refused(&mut of_crowd, "503").await;
        }
    })
    .await;
    // Another tenant's user, and one of theirs.
    for (name, tenant) in [("bob", "acme"), ("eve", "other")] {
        let user = server.user(name, tenant).await;
        let mut body = vec![withheld(&user, BYTES / 2).await];
        // Its end comes, and it is no JSON: that is known when all of it was read.
        within("bytes to be taken", body[0].write_all(b"x")).await.unwrap();
        within("an answer", async { while refused(&mut body, "400").await == 0 {} }).await;
        server.client().login(name, &password_of(name)).await.ok();
        user.insert("news", json!(1)).await;
    }
}
