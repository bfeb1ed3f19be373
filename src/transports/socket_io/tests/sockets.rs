//! Guards namespaces, answers both ways, and recovery.

use std::sync::atomic::Ordering::Relaxed;

use super::engine_packet::EnginePacket;
use super::inbox::Inbox;
use super::line::End;
use super::*;

#[test]
fn a_client_joins_namespaces_and_says_something_of_itself() {
    run(async |house| {
        let (client, _) = house.open().await;
        for (sent, namespace, auth) in
            [("40", "", "{}"), (r#"40/custom,{"token":"abc"}"#, "/custom,", r#"{"token":"abc"}"#)]
        {
            client.post(sent).await.unwrap();
            let said = client.poll().await.unwrap();
            let (joined, greeted) = said.split_once('\x1e').unwrap();
            let joined: Value = serde_json::from_str(joined.strip_prefix(&format!("40{namespace}")).unwrap()).unwrap();
            assert_eq!(joined.as_object().unwrap().len(), 1);
            let sid = joined["sid"].as_str().unwrap();
            assert!(sid.len() == 20 && sid != client.sid, "the id of the session is a secret");
            assert_eq!(greeted, format!(r#"42{namespace}["auth",{auth}]"#));
        }
        assert_eq!(house.app.sockets.load(Relaxed), 2);
    });
}

#[test]
fn a_client_may_be_refused_and_try_again() {
    run(async |house| {
        let (client, _) = house.open().await;
        client.post("40/random").await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"44/random,{"message":"Invalid namespace"}"#);
        client.post(r#"40{"refuse":1}"#).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"44{"message":"Not authorized","data":"because"}"#);
        client.post("40").await.unwrap();
        assert!(client.poll().await.unwrap().starts_with("40{"));
    });
}

#[test]
fn a_client_that_leaves_one_namespace_stays_in_the_others() {
    run(async |house| {
        let client = house.join().await;
        client.post("40/custom").await.unwrap();
        client.poll().await.unwrap();
        assert_eq!(house.app.sockets.load(Relaxed), 2);
        client.post("41/custom\x1e42[\"message\",\"to main\"]").await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"42["message-back","to main"]"#);
        assert_eq!(house.app.sockets.load(Relaxed), 1);
    });
}

#[test]
fn a_packet_for_a_namespace_that_was_not_joined_or_that_only_servers_send_ends_the_session() {
    for packet in ["42/custom,[\"message\"]", "43/custom,1[]", "41/custom,", "40", "44{\"message\":\"x\"}"] {
        run(async |house| {
            let client = house.join().await;
            assert_eq!(client.post(packet).await, Err(Refusal::BadRequest), "{packet}");
        });
    }
}

#[test]
fn a_server_that_disconnects_a_socket_tells_its_client() {
    run(async |house| {
        let client = house.join().await;
        client.post("40/custom,").await.unwrap();
        client.poll().await.unwrap();
        client.post(r#"42/custom,["leave"]"#).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), "41/custom,");
        assert_eq!(house.app.sockets.load(Relaxed), 1);
        client.post(r#"42["message"]"#).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"42["message-back"]"#);
        let polling = tokio::task::spawn_local(client.begin_poll().unwrap());
        rest().await;
        client.post("42[\"message\"]\x1e42[\"close\"]").await.unwrap();
        assert_eq!(polling.await.unwrap(), "42[\"message-back\"]\x1e1");
        assert_eq!(house.app.sockets.load(Relaxed), 0);
    });
}

#[test]
fn an_event_is_answered_with_its_arguments_and_attachments() {
    run(async |house| {
        let client = house.join().await;
        client.post(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"43456[1,"2",{"3":[false]}]"#);
        let placeholders = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
        let event = format!("452-789[\"message-with-ack\",{placeholders}]\x1ebAQID\x1ebBAUG");
        client.post(&event).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), format!("462-789[{placeholders}]\x1ebAQID\x1ebBAUG"));
    });
}

#[test]
fn a_client_is_asked_and_its_answers_are_told_apart() {
    run(async |house| {
        let client = house.join().await;
        // The answers come with other posts, so neither post waits for them.
        client.post("42[\"ask\",1]\x1e42[\"ask\",2]").await.unwrap();
        assert_eq!(client.poll().await.unwrap(), "420[\"question\",1]\x1e421[\"question\",2]");
        // Nobody asked for the second one.
        client.post("431[\"two\"]\x1e437[\"x\"]\x1e430[\"one\"]\x1e430[\"again\"]").await.unwrap();
        assert_eq!(client.poll().await.unwrap(), "42[\"answered\",\"two\"]\x1e42[\"answered\",\"one\"]");
    });
}

#[test]
fn of_many_questions_the_last_64_are_waited_for_and_the_others_fail() {
    run(async |house| {
        let client = house.join().await;
        let session = house.engine.0.get(&client.sid).unwrap();
        let socket = Socket::new(&session, session.member("/").unwrap());
        let mut answers: Vec<_> = (0..65).map(|_| socket.ask("question", &[], &[]).unwrap()).collect();
        assert!(answers.remove(0).await.is_err());
        client.post("431[7]\x1e4364[8]").await.unwrap();
        assert_eq!(answers.remove(0).await.unwrap().args[0].get(), "7");
        assert_eq!(answers.pop().unwrap().await.unwrap().args[0].get(), "8");
        socket.disconnect();
        assert!(answers.remove(0).await.is_err() && socket.ask("question", &[], &[]).is_none());
        assert!(socket.is_gone() && !socket.emit("late", &[], &[]));
    });
}

#[test]
fn a_socket_that_can_be_recovered_is_told_by_what_and_goes_on_there() {
    run(async |house| {
        let (client, _) = house.open().await;
        client.post(r#"40{"recoverable":"p1"}"#).await.unwrap();
        let said = client.poll().await.unwrap();
        let (joined, greeted) = said.split_once('\x1e').unwrap();
        assert!(joined.ends_with(r#","pid":"p1"}"#), "{joined}");
        // Its last argument is not a text.
        assert_eq!(greeted, r#"42["auth",{"recoverable":"p1"}]"#);
        // A text would be taken for an offset (socket.io#5539).
        client.post(r#"42["message",1,"text"]"#).await.unwrap();
        assert_eq!(client.poll().await.unwrap(), r#"42["message-back",1,"text",null]"#);
        client.post(r#"42["listen"]"#).await.unwrap();
        house.app.feed.add(3);
        let numbers = "42[\"number\",0,\"0\"]\x1e42[\"number\",1,\"1\"]\x1e42[\"number\",2,\"2\"]";
        assert_eq!(client.poll().await.unwrap(), numbers);

        for (auth, first) in [(r#"{"pid":"p1","offset":"1"}"#, 2), (r#"{"pid":"p1"}"#, 0)] {
            let (again, _) = house.open().await;
            again.post(&format!("40{auth}")).await.unwrap();
            let said = again.poll().await.unwrap();
            assert!(said.starts_with(r#"40{"sid":"the-same","pid":"p1"}"#), "{said}");
            again.post(r#"42["listen"]"#).await.unwrap();
            let said = again.poll().await.unwrap();
            assert!(said.starts_with(&format!(r#"42["number",{first},"#)), "{said}");
        }
    });
}

/// A session that upgrades while a post waits for something.
async fn upgrade(house: &House, client: &Client, body: String) -> (Session, tokio::task::JoinHandle<Posted>) {
    let posting = tokio::task::spawn_local({
        let client = client.clone();
        async move { client.post(&body).await }
    });
    rest().await;
    let session = house.session(client);
    assert!(!posting.is_finished() && session.line(|line| line.begin_upgrade()) && session.upgrade());
    (session, posting)
}

type Session = std::sync::Arc<super::session::Session<Echo>>;
type Posted = Result<&'static str, Refusal>;

#[test]
fn a_namespace_that_a_post_and_a_websocket_would_join_both_is_joined_once_and_the_session_ends() {
    run(async |house| {
        let client = house.join().await;
        let (session, posting) = upgrade(&house, &client, r#"40/custom,{"slow":1}"#.to_owned()).await;
        let mut inbox = Inbox::new(house.app.clone(), std::sync::Arc::clone(&session), ids);
        inbox.take(Some(EnginePacket::Message("0/custom,"))).await;
        assert!(session.member("/custom").is_some());
        house.app.gate.permits.add_permits(1);
        assert_eq!(posting.await.unwrap(), Err(Refusal::BadRequest));
        assert_eq!(session.end(), Some(End::Malformed));
        assert_eq!(house.app.sockets.load(Relaxed), 0);
    });
}

#[test]
fn a_post_that_waits_for_room_ends_when_a_websocket_takes_over() {
    run(async |house| {
        let client = house.join().await;
        let event = format!("42[\"message\",\"{}\"]", "x".repeat(10_000));
        let (session, posting) = upgrade(&house, &client, vec![event; 50].join("\x1e")).await;
        rest().await;
        assert!(posting.is_finished() && session.end().is_none());
        assert_eq!(posting.await.unwrap(), Err(Refusal::BadRequest), "not all of it was taken");
    });
}
