//! Guards sign-ins and changes of a user that happen at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{by_password, reset, reset_code, revoke, unrevoke, update};
use crate::support::{TestServer, User, again, password_of, within};

#[tokio::test]
async fn of_many_requests_for_one_name_exactly_one_gets_it() {
    let server = TestServer::start().await;
    let client = server.client();
    let bodies: Vec<_> = (0..32).map(|n| json!({ "password": password_of(&format!("{n}")) })).collect();
    let answers = join_all(bodies.iter().map(|body| client.create_user_with("alice", "acme", body.clone()))).await;
    let winners: Vec<_> = (0..32).filter(|n| answers[*n].status == 200).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refused(400, "username_taken").error(), "username already taken");
    }
    client.login("alice", &password_of(&format!("{}", winners[0]))).await.ok();
}

#[tokio::test]
async fn changes_of_one_user_side_by_side_do_not_undo_each_other() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let patches = [
        json!({ "data": { "a": 1 } }),
        json!({ "email": "a@example.com" }),
        json!({ "scopes": ["news:get"] }),
        json!({ "two_factor": false }),
        json!({ "tenant_name": "other" }),
        json!({ "password": password_of("new") }),
    ];
    join_all(patches.iter().map(|patch| update(&client, "alice", patch.clone()))).await;
    let user = client.admin("/get_user", json!({ "username": "alice" })).await.ok().json();
    for patch in &patches[..5] {
        let (field, value) = patch.as_object().unwrap().iter().next().unwrap();
        assert_eq!(&user[field], value, "{field}");
    }
    client.login("alice", &password_of("new")).await.ok();
}

#[tokio::test]
async fn a_sign_in_that_a_revocation_overtakes_gives_nothing_that_holds() {
    let server = TestServer::start().await;
    let client = server.client();
    for round in 0..10 {
        let username = format!("user{round}");
        client.create_user(&username, "acme").await;
        let password = password_of(&username);
        let sign_ins = join_all((0..4).map(|_| client.login(&username, &password)));
        let (answers, ()) = tokio::join!(sign_ins, revoke(&client, &username));
        for answer in answers.into_iter().filter(|answer| answer.status == 200) {
            let jwt = answer.jwt();
            assert_eq!(client.with_authorization(&format!("Bearer {jwt}")).verify().await.status, 401);
        }
        assert_eq!(by_password(&client, &username, &password).verify().await.status, 401);
    }
}

#[tokio::test]
async fn a_sign_in_with_the_old_password_that_a_change_overtakes_gives_nothing_that_holds() {
    let server = TestServer::start().await;
    let client = server.client();
    for round in 0..10 {
        let username = format!("user{round}");
        client.create_user(&username, "acme").await;
        let password = password_of(&username);
        let sign_ins = join_all((0..4).map(|_| client.login(&username, &password)));
        let change = update(&client, &username, json!({ "password": password_of("new") }));
        let (answers, ()) = tokio::join!(sign_ins, change);
        for answer in answers.into_iter().filter(|answer| answer.status == 200) {
            let jwt = answer.jwt();
            assert_eq!(client.with_authorization(&format!("Bearer {jwt}")).verify().await.status, 401);
        }
        assert_eq!(by_password(&client, &username, &password).verify().await.status, 401);
    }
}

#[tokio::test]
async fn a_reset_and_a_revocation_side_by_side_leave_the_user_revoked() {
    let server = TestServer::start().await;
    let client = server.client();
    for round in 0..10 {
        let username = format!("user{round}");
        client.create_user(&username, "acme").await;
        let (code, new) = (reset_code(&client, &username).await, password_of("new"));
        let (answer, ()) = tokio::join!(reset(&client, &username, &new, &code), revoke(&client, &username));
        client.login(&username, &new).await.refused(401, "unauthorized");
        unrevoke(&client, &username).await;
        // Whichever was first, the password is the one that was answered for.
        let password = if answer.status == 200 { new } else { password_of(&username) };
        client.login(&username, &password).await.ok();
    }
}

#[tokio::test]
async fn inserts_that_a_revocation_overtakes_are_refused_from_then_on() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let inserts = join_all((0..200).map(|n| {
        let alice = &alice;
        async move { alice.try_insert(&format!("e{n}"), json!(n)).await.status }
    }));
    let (statuses, ()) = tokio::join!(inserts, revoke(&bob.client, "alice"));
    assert_eq!(alice.try_insert("late", json!(1)).await.status, 401);
    let kept = bob.everything().await;
    for (n, status) in statuses.into_iter().enumerate() {
        let found = kept.get(&format!("e{n}")).map(|event| event.json());
        match status {
            200 => assert_eq!(found, Some(json!(n))),
            401 => assert_eq!(found, None::<Value>),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn an_insert_with_a_body_that_comes_after_the_revocation_is_refused() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let (head, tail) = (r#"{"event":"late","#, r#""data":1}"#);
    // Made before: a body is not waited for long.
    let others: Vec<_> = (0..20).map(|_| again(&server, &alice)).collect();
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let request = format!(
        "POST /insert HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n{head}",
        alice.authorization,
        head.len() + tail.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    // Several requests later the server has begun with that one too, whichever of its threads it is on.
    for other in others {
        other.verify().await.ok();
    }
    revoke(&bob.client, "alice").await;
    connection.write_all(tail.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", connection.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(!bob.everything().await.contains_key("late"));
}

/// Asks for something cheap as fast as it is answered, many times in one packet, until told to stop.
async fn keep_busy(user: &User, stop: &AtomicBool) {
    let mut connection = TcpStream::connect(user.client.url.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("HEAD /events HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", user.authorization);
    let requests = request.repeat(100);
    let mut answers = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        connection.write_all(requests.as_bytes()).await.unwrap();
        let mut ends = 0;
        let mut last = [0; 3];
        while ends < 100 {
            let length = within("answers", connection.read(&mut answers)).await.unwrap();
            assert!(length > 0, "the connection was closed");
            for byte in &answers[..length] {
                ends += usize::from(last == *b"\r\n\r" && *byte == b'\n');
                last = [last[1], last[2], *byte];
            }
        }
    }
}

#[tokio::test]
async fn a_user_who_is_busy_is_changed_and_revoked_all_the_same() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let mut users = Vec::new();
    for n in 0..4 {
        users.push(server.user(&format!("user{n}"), "acme").await);
    }
    let (admin, stop) = (server.client(), AtomicBool::new(false));
    let busy = join_all(users.iter().flat_map(|user| [user; 2]).map(|user| keep_busy(user, &stop)));
    let changes = async {
        for round in 0..100 {
            let scope = format!("news:get{round}");
            let change = async |(n, user): (usize, &User)| {
                update(&admin, &format!("user{n}"), json!({ "scopes": [scope] })).await;
                assert_eq!(user.verify().await.ok().json()["scopes"], json!([scope]), "round {round}");
            };
            join_all(users.iter().enumerate().map(change)).await;
        }
        for (n, user) in users.iter().enumerate() {
            revoke(&admin, &format!("user{n}")).await;
            assert_eq!(user.doors().await, [401; 3], "user{n} stayed in");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(busy, changes);
}
