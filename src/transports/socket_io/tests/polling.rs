//! Guards long polling and the heartbeat.

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::*;

#[test]
fn a_poll_without_a_session_opens_one() {
    run(async |house| {
        let (client, opened) = house.open().await;
        assert_eq!(client.sid.len(), 20);
        let expected = serde_json::json!({
            "sid": client.sid, "upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000
        });
        assert_eq!(opened, expected);
        assert_ne!(house.open().await.0.sid, client.sid);
    });
}

#[test]
fn a_request_that_is_wrong_is_refused_by_the_codes_of_the_protocol() {
    run(async |house| {
        let (client, _) = house.open().await;
        let sid = Some(client.sid.as_str());
        let right = request(Method::Get, None);
        let unknown = "AAAAAAAAAAAAAAAAAAAA";
        let cases = [
            (Request { transport: None, ..right }, 0, "Transport unknown"),
            (Request { transport: Some("abc"), ..right }, 0, "Transport unknown"),
            (Request { sid: Some(unknown), ..right }, 1, "Session ID unknown"),
            (Request { sid: Some(unknown), method: Method::Post, ..right }, 1, "Session ID unknown"),
            (Request { sid: Some("abc"), ..right }, 1, "Session ID unknown"),
            (Request { sid: Some(""), ..right }, 1, "Session ID unknown"),
            (Request { method: Method::Post, ..right }, 2, "Bad handshake method"),
            (Request { method: Method::Other, ..right }, 2, "Bad handshake method"),
            (Request { method: Method::Other, sid, ..right }, 2, "Bad handshake method"),
            (Request { transport: Some("websocket"), ..right }, 3, "Bad request"),
            (Request { transport: Some("websocket"), sid, ..right }, 3, "Bad request"),
            (
                Request { transport: Some("websocket"), is_upgrade: true, sid, method: Method::Post, ..right },
                3,
                "Bad request",
            ),
            (Request { eio: None, ..right }, 5, "Unsupported protocol version"),
            (Request { eio: Some("abc"), ..right }, 5, "Unsupported protocol version"),
            (Request { eio: Some("3"), ..right }, 5, "Unsupported protocol version"),
        ];
        for (request, code, message) in cases {
            let refusal = house.call(request).err().unwrap();
            assert_eq!(refusal.body(), format!(r#"{{"code":{code},"message":"{message}"}}"#), "{request:?}");
            assert_eq!(refusal.status(), 400);
        }
        // None of it did anything to the session, nor to what waits in it (python-engineio#367).
        client.post("40").await.unwrap();
        assert!(client.poll().await.unwrap().starts_with("40{"));
    });
}

#[test]
fn packets_come_as_one_payload_and_are_answered_as_one() {
    run(async |house| {
        let client = house.join().await;
        for (body, answer) in [
            (r#"42["message","hello"]"#, r#"42["message-back","hello"]"#),
            (
                "42[\"message\",1]\x1e42[\"message\",\"2\"]\x1e42[\"message\",{\"3\":[true]}]",
                "42[\"message-back\",1]\x1e42[\"message-back\",\"2\"]\x1e42[\"message-back\",{\"3\":[true]}]",
            ),
            (
                "451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
                "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
            ),
        ] {
            assert_eq!(client.post(body).await, Ok("ok"));
            assert_eq!(client.poll().await.unwrap(), answer);
        }
    });
}

#[test]
fn what_is_not_a_packet_ends_the_session() {
    for body in [
        "abc",
        "",
        "2",
        "2probe",
        "4",
        "4abc",
        "42{}",
        "42abc[\"a\"]",
        "bAQ==",
        "3\x1e\x1e3",
        "451-[\"a\"]\x1e42[\"a\"]",
    ] {
        run(async |house| {
            let client = house.join().await;
            assert_eq!(client.post(body).await, Err(Refusal::BadRequest), "{body}");
            assert_eq!(client.poll().await, Err(Refusal::UnknownSid), "{body}");
            assert_eq!(house.app.sockets.load(std::sync::atomic::Ordering::Relaxed), 0);
        });
    }
}

#[test]
fn a_body_that_is_not_a_text_ends_the_session() {
    run(async |house| {
        let client = house.join().await;
        let binary = Request { is_binary: true, ..request(Method::Post, Some(&client.sid)) };
        assert_eq!(house.call(binary).err(), Some(Refusal::BadRequest));
        assert_eq!(client.poll().await, Err(Refusal::UnknownSid));
    });
}

#[test]
fn of_two_polls_at_once_the_first_gets_the_end_and_the_second_is_refused() {
    run(async |house| {
        let client = house.join().await;
        let first = tokio::task::spawn_local(client.begin_poll().unwrap());
        rest().await;
        assert_eq!(client.poll().await, Err(Refusal::BadRequest));
        assert_eq!(first.await.unwrap(), "1");
        assert_eq!(client.poll().await, Err(Refusal::UnknownSid));
    });
}

#[test]
fn of_two_posts_at_once_the_second_is_refused_and_what_is_left_of_the_first_goes_nowhere() {
    run(async |house| {
        let client = house.join().await;
        let polling = tokio::task::spawn_local(client.begin_poll().unwrap());
        let first = client.begin_post().unwrap();
        assert_eq!(client.post("3").await, Err(Refusal::BadRequest));
        assert_eq!(polling.await.unwrap(), "1");
        assert_eq!(first.take(house.app.clone(), "42[\"message\"]").await, Err(Refusal::BadRequest));
    });
}

#[test]
fn a_client_that_closes_ends_its_poll_and_its_session() {
    run(async |house| {
        let client = house.join().await;
        let polling = tokio::task::spawn_local(client.begin_poll().unwrap());
        rest().await;
        assert_eq!(client.post("1").await, Ok("ok"));
        assert_eq!(polling.await.unwrap(), "6");
        assert_eq!(client.poll().await, Err(Refusal::UnknownSid));
    });
}

#[test]
fn a_client_whose_poll_or_post_is_cut_off_has_gone() {
    for cuts_poll in [true, false] {
        run(async |house| {
            let client = house.join().await;
            if cuts_poll {
                let mut polling = Box::pin(client.begin_poll().unwrap());
                assert_eq!(polling.as_mut().now_or_never(), None);
            } else {
                drop(client.begin_post().unwrap());
            }
            assert_eq!(client.poll().await, Err(Refusal::UnknownSid));
        });
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_session_goes_on() {
    run(async |house| {
        let client = house.join().await;
        let post = client.begin_post().unwrap();
        assert_eq!(post.max_bytes(), 1_000_000);
        post.refuse();
        assert_eq!(client.post(r#"42["message"]"#).await, Ok("ok"));
        assert_eq!(client.poll().await.unwrap(), r#"42["message-back"]"#);
    });
}

#[test]
fn a_client_is_pinged_and_goes_on_for_as_long_as_it_answers() {
    run(async |house| {
        let client = house.join().await;
        for _ in 0..10 {
            let before = Instant::now();
            assert_eq!(client.poll().await.unwrap(), "2");
            let waited = before.elapsed();
            assert!(waited >= seconds(24) && waited <= seconds(26), "{waited:?}");
            client.post("3").await.unwrap();
        }
    });
}

#[test]
fn a_client_that_does_not_answer_a_ping_or_does_not_poll_is_gone_after_45_seconds() {
    for polls in [true, false] {
        run(async |house| {
            let client = house.join().await;
            if polls {
                assert_eq!(client.poll().await.unwrap(), "2");
            } else {
                sleep(seconds(25)).await;
            }
            sleep(seconds(19)).await;
            assert_eq!(client.post("3").await, Ok("ok"), "it is in time");
            sleep(seconds(44)).await;
            rest().await;
            assert_eq!(house.app.sockets.load(std::sync::atomic::Ordering::Relaxed), 1);
            sleep(seconds(3)).await;
            rest().await;
            // Not only can it not be reached: nothing of it is left.
            assert_eq!(house.app.sockets.load(std::sync::atomic::Ordering::Relaxed), 0);
            assert_eq!(client.poll().await, Err(Refusal::UnknownSid));
        });
    }
}

#[test]
fn a_session_that_joins_no_namespace_or_has_left_all_ends_after_45_seconds() {
    for joins in [false, true] {
        run(async |house| {
            let client = if joins { house.join().await } else { house.open().await.0 };
            if joins {
                sleep(seconds(40)).await;
                client.post("41").await.unwrap();
            }
            let begun = Instant::now();
            // It answers pings.
            assert_eq!(client.next().await, "1");
            let lasted = begun.elapsed();
            assert!(lasted >= seconds(44) && lasted <= seconds(46), "{lasted:?}");
        });
    }
}

#[test]
fn a_server_that_stops_ends_all_sessions_and_opens_no_more() {
    run(async |house| {
        let (client, other) = (house.join().await, house.join().await);
        let polling = tokio::task::spawn_local(client.begin_poll().unwrap());
        rest().await;
        house.engine.stop();
        assert_eq!(polling.await.unwrap(), "1");
        assert_eq!(other.poll().await, Err(Refusal::UnknownSid));
        let refusal = house.call(request(Method::Get, None)).err().unwrap();
        assert_eq!((refusal, refusal.status()), (Refusal::Overloaded, 503));
        assert_eq!(house.app.sockets.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}
