//! Guards refreshes that come at once: with each other, and with what ends the session.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Session, TestServer, within};

#[tokio::test]
async fn of_100_refreshes_at_once_one_gives_a_successor_and_all_an_access_token() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let session = client.begin_session("alice").await;
    let answers = join_all((0..100).map(|_| session.refresh())).await;
    let mut successors = Vec::new();
    for answer in answers {
        let answer = answer.ok().json();
        let jwt = answer["jwt"].as_str().unwrap();
        client.with_authorization(&format!("Bearer {jwt}")).verify().await.ok();
        successors.extend(answer["refresh_token"].as_str().map(str::to_owned));
    }
    let [successor] = &successors[..] else { panic!("{} successors", successors.len()) };
    client.refresh(successor).await.ok();
}

#[tokio::test]
async fn two_tabs_that_refresh_at_once_both_stay_signed_in() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut session = client.begin_session("alice").await;
    let (mut one, mut other) = (session.user.stream().await, session.user.stream().await);
    for round in 0..5 {
        let (first, second) = tokio::join!(session.refresh(), session.refresh());
        let answers = [first.ok(), second.ok()];
        for answer in &answers {
            let jwt = answer.json()["jwt"].as_str().unwrap().to_owned();
            let tab = client.with_authorization(&format!("Bearer {jwt}"));
            let id = tab.insert("news", json!(round)).await;
            for stream in [&mut one, &mut other] {
                assert_eq!(within("the event", stream.next()).await.id, id);
            }
        }
        // The storage that both share has what the winner was given.
        let winner = answers.into_iter().find(|answer| answer.json().get("refresh_token").is_some()).unwrap();
        session = Session::of(&client, winner);
    }
}

#[tokio::test]
async fn a_refresh_that_races_the_end_of_its_session_leaves_nothing_alive() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for round in 0..30 {
        let session = client.begin_session("alice").await;
        let by = client.begin_session("alice").await;
        let end = async {
            match round % 3 {
                0 => session.user.post("/logout", json!({})).await.ok(),
                1 => client.post("/logout", &json!({ "refresh_token": session.refresh_token })).await.ok(),
                _ => by.user.post("/end_session", json!({ "session": session.id })).await.ok(),
            }
        };
        let refreshes = join_all((0..4).map(|_| session.refresh()));
        let (answers, _) = tokio::join!(refreshes, end);
        for answer in answers {
            if answer.status != 200 {
                answer.refused(401, "session_ended");
                continue;
            }
            let answer = answer.json();
            let jwt = answer["jwt"].as_str().unwrap();
            assert_eq!(client.with_authorization(&format!("Bearer {jwt}")).doors().await, [401; 3]);
            if let Some(successor) = answer["refresh_token"].as_str() {
                client.refresh(successor).await.refused(401, "session_ended");
            }
        }
        session.refresh().await.refused(401, "session_ended");
        by.user.post("/logout", json!({})).await.ok();
    }
}

#[tokio::test]
async fn a_revocation_that_races_refreshes_leaves_nothing_alive() {
    let server = TestServer::start().await;
    let client = server.client();
    for round in 0..10 {
        let username = format!("user{round}");
        client.create_user(&username, "acme").await;
        let session = client.begin_session(&username).await;
        let refreshes = join_all((0..4).map(|_| session.refresh()));
        let (answers, ()) = tokio::join!(refreshes, crate::support::revoke(&client, &username));
        for answer in answers.into_iter().filter(|answer| answer.status == 200) {
            let answer = answer.json();
            let jwt = answer["jwt"].as_str().unwrap();
            client.with_authorization(&format!("Bearer {jwt}")).verify().await.refused(401, "unauthorized");
            if let Some(successor) = answer["refresh_token"].as_str() {
                client.refresh(successor).await.refused(401, "session_ended");
            }
        }
    }
}
