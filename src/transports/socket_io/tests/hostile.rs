//! Guards the bounds: what clients can make a server hold, and for how long.

use std::sync::atomic::Ordering::Relaxed;

use super::*;

#[test]
fn sessions_that_are_opened_and_left_are_bounded_and_go_after_45_seconds() {
    run(async |house| {
        let house = house.with_room(32 << 10);
        for _ in 0..2 {
            let (one, _) = house.open().await;
            for _ in 1..8 {
                house.open().await;
            }
            let refusal = house.call(request(Method::Get, None)).err();
            assert_eq!(refusal, Some(Refusal::Overloaded));
            assert_eq!(Refusal::Overloaded.body(), r#"{"code":3,"message":"Too many sessions"}"#);
            // One that ends makes room at once.
            one.post("1").await.unwrap();
            house.open().await;
            assert!(house.call(request(Method::Get, None)).is_err());
            tokio::time::sleep(seconds(46)).await;
        }
        house.open().await;
    });
}

#[test]
fn a_client_with_all_sessions_and_all_memory_gives_way_to_others() {
    run(async |house| {
        let house = house.with_room(200 << 10);
        let there = house.elsewhere();
        // So many that there is no room for another.
        let (mut crowd, event) = (Vec::new(), format!("42[\"message\",\"{}\"]", "x".repeat(20_000)));
        for _ in 0..8 {
            let client = house.join().await;
            client.post(&event).await.unwrap();
            crowd.push(client);
        }
        while let Ok(Call::Poll(poll)) = house.call(request(Method::Get, None)) {
            poll.answer().await;
        }
        let mut others = Vec::new();
        for _ in 0..4 {
            let client = there.join().await;
            client.post(&format!("42[\"message\",\"{}\"]", "x".repeat(3_000))).await.unwrap();
            client.post(r#"42["message",1]"#).await.unwrap();
            others.push(client);
        }
        for client in &others {
            assert!(client.poll().await.unwrap().ends_with(r#"42["message-back",1]"#));
        }
        rest().await;
        // The largest have ended, the oldest of them first, and count no more.
        let mut gone = Vec::new();
        for client in &crowd {
            gone.push(client.poll().await == Err(Refusal::UnknownSid));
        }
        assert!(gone[0] && !gone[7] && gone.is_sorted_by(|one, other| one >= other), "{gone:?}");
    });
}

#[test]
fn what_a_client_says_before_it_has_joined_a_namespace_is_short() {
    run(async |house| {
        let (client, _) = house.open().await;
        let post = client.begin_post().unwrap();
        assert_eq!(post.max_bytes(), 32 << 10);
        post.refuse();
        let auth = |length: usize| format!("40{{\"a\":\"{}\"}}", "x".repeat(length - "{\"a\":\"\"}".len()));
        client.post(&auth((16 << 10) + 1)).await.unwrap();
        let refusal = r#"44{"message":"The option auth has more than 16384 bytes"}"#;
        assert_eq!(client.poll().await.unwrap(), refusal);
        client.post("451-/custom,[\"message\"]").await.unwrap();
        let attachment = format!("b{}", "AAAA".repeat(6_000));
        assert_eq!(client.post(&attachment).await, Err(Refusal::BadRequest), "it has not joined");

        let (client, _) = house.open().await;
        client.post(&auth(16 << 10)).await.unwrap();
        assert!(client.poll().await.unwrap().starts_with("40{"));
        let post = client.begin_post().unwrap();
        assert_eq!(post.max_bytes(), 1_000_000);
        post.refuse();
        client.post("41").await.unwrap();
        let post = client.begin_post().unwrap();
        assert_eq!(post.max_bytes(), 32 << 10, "it has left");
        post.refuse();
        // Of its attachments there is no more than that, in however many posts they come.
        client.post("453-[\"message\"]").await.unwrap();
        client.post(&attachment).await.unwrap();
        assert_eq!(client.post(&attachment).await, Err(Refusal::BadRequest));
    });
}

#[test]
fn what_a_client_says_of_itself_counts_while_it_waits_to_be_admitted() {
    run(async |house| {
        let (client, _) = house.open().await;
        let posting = tokio::task::spawn_local({
            let client = client.clone();
            async move { client.post(&format!("40{{\"slow\":[{}0]}}", "0,".repeat(5_000))).await }
        });
        rest().await;
        let session = house.session(&client);
        assert!(session.held() > 5_000 * size_of::<Value>(), "{}", session.held());
        house.app.gate.permits.add_permits(1);
        posting.await.unwrap().unwrap();
        assert!(session.held() < 20_000);
    });
}

#[test]
fn of_a_session_a_mebibyte_is_worked_on_at_once_and_counts() {
    run(async |house| {
        let client = house.join().await;
        let events = vec![format!("42[\"slow\",\"{}\"]", "x".repeat(200_000)); 4].join("\x1e");
        let posting = tokio::task::spawn_local({
            let (client, events) = (client.clone(), events.clone());
            async move {
                client.post(&events).await.unwrap();
                client.post(&events).await
            }
        });
        rest().await;
        let gate = &house.app.gate;
        assert_eq!(gate.waiting.load(Relaxed), 6);
        let session = house.session(&client);
        assert!((1_200_000..1_210_000).contains(&session.held()), "{}", session.held());
        gate.permits.add_permits(8);
        assert_eq!(posting.await.unwrap(), Ok("ok"));
        rest().await;
        assert_eq!((gate.waiting.load(Relaxed), session.held()), (0, 0));
    });
}

#[test]
fn a_session_that_others_need_the_memory_of_ends_with_its_work() {
    run(async |house| {
        let house = house.with_room(1 << 20);
        let event = format!("42[\"slow\",\"{}\"]", "x".repeat(600_000));
        let [one, two] = [house.join().await, house.join().await];
        let polling = tokio::task::spawn_local(one.begin_poll().unwrap());
        one.post(&event).await.unwrap();
        rest().await;
        let idle = std::sync::Arc::strong_count(&house.app.gate);
        two.post(&event).await.unwrap();
        rest().await;
        assert_eq!(polling.await.unwrap(), "1");
        assert_eq!(one.poll().await, Err(Refusal::UnknownSid));
        assert_eq!(std::sync::Arc::strong_count(&house.app.gate), idle, "it has work of one");
        house.app.gate.permits.add_permits(2);
        rest().await;
        two.post("42[\"message\"]").await.unwrap();
        assert_eq!(two.poll().await.unwrap(), "42[\"message-back\"]");
    });
}

#[test]
fn a_client_that_sends_and_does_not_poll_is_read_no_further() {
    run(async |house| {
        let client = house.join().await;
        let event = format!("42[\"message\",\"{}\"]", "x".repeat(10_000));
        let body = vec![event; 50].join("\x1e");
        let posting = tokio::task::spawn_local({
            let client = client.clone();
            async move { client.post(&body).await }
        });
        rest().await;
        let session = house.session(&client);
        let held = session.line(|line| line.held());
        assert!((64 << 10..80 << 10).contains(&held), "{held}");
        drop(session);
        let mut got = 0;
        while got < 50 {
            got += client.poll().await.unwrap().matches("message-back").count();
        }
        assert_eq!(posting.await.unwrap(), Ok("ok"));
    });
}

#[test]
fn of_a_session_64_events_are_worked_on_at_once() {
    run(async |house| {
        let client = house.join().await;
        let events: Vec<_> = (0..200).map(|id| format!("42{id}[\"slow\",{id}]")).collect();
        let posting = tokio::task::spawn_local({
            let client = client.clone();
            async move { client.post(&events.join("\x1e")).await }
        });
        rest().await;
        let gate = &house.app.gate;
        assert_eq!(gate.waiting.load(Relaxed), MAX_IN_FLIGHT);
        gate.permits.add_permits(10);
        rest().await;
        assert_eq!(gate.waiting.load(Relaxed), MAX_IN_FLIGHT);
        assert_eq!(client.poll().await.unwrap().matches("]").count(), 10);
        gate.permits.add_permits(126);
        rest().await;
        assert_eq!(posting.await.unwrap(), Ok("ok"), "what is left is done after the post");
        assert_eq!(gate.waiting.load(Relaxed), 64);
        // And counts: a further post waits.
        let posting = tokio::task::spawn_local({
            let client = client.clone();
            async move { client.post("42[\"message\"]").await }
        });
        rest().await;
        assert!(!posting.is_finished());
        gate.permits.add_permits(64);
        assert_eq!(posting.await.unwrap(), Ok("ok"));
    });
}

#[test]
fn work_ends_with_its_session() {
    run(async |house| {
        let idle = std::sync::Arc::strong_count(&house.app.gate);
        let client = house.join().await;
        client.post("42[\"slow\"]\x1e42[\"slow\"]").await.unwrap();
        client.post("42[\"slow\"]").await.unwrap();
        rest().await;
        assert_eq!(house.app.gate.waiting.load(Relaxed), 3);
        client.post("1").await.unwrap();
        rest().await;
        drop(client);
        assert_eq!(std::sync::Arc::strong_count(&house.app.gate), idle);
    });
}

#[test]
fn packets_that_are_never_completed_count_for_their_client() {
    run(async |house| {
        let house = house.with_room(1 << 20);
        let half = format!("452-[\"message\",\"{}\"]\x1eb{}", "x".repeat(10_000), "AAAA".repeat(200_000));
        let one = house.join().await;
        one.post(&half).await.unwrap();
        let two = house.join().await;
        two.post(&half).await.unwrap();
        rest().await;
        // Of two that are as large, the older ends.
        assert_eq!(one.poll().await, Err(Refusal::UnknownSid));
        assert_eq!(two.post("bAQIDBA==").await, Ok("ok"));
        assert!(two.poll().await.unwrap().ends_with("bAQIDBA=="));
    });
}

#[test]
fn a_packet_has_at_most_ten_attachments_and_a_million_bytes_with_them() {
    run(async |house| {
        for (count, is_right) in [(10, true), (11, false), (1_000_000_000, false)] {
            let client = house.join().await;
            assert_eq!(client.post(&format!("45{count}-[\"message\"]")).await.is_ok(), is_right, "{count}");
        }
        let client = house.join().await;
        client.post("453-[\"message\"]").await.unwrap();
        let attachment = format!("b{}", "AAAA".repeat(150_000));
        client.post(&attachment).await.unwrap();
        client.post(&attachment).await.unwrap();
        assert_eq!(client.post(&attachment).await, Err(Refusal::BadRequest));
    });
}

#[test]
fn a_session_joins_at_most_16_namespaces() {
    run(async |house| {
        let client = house.join().await;
        let session = house.engine.0.get(&client.sid).unwrap();
        // The echo application has two, so that this is asked of the session alone.
        for number in 0..20 {
            let namespace = format!("/{number}");
            let may = session.may_join(&namespace).unwrap();
            assert_eq!(may, number < 15, "{number}");
            if may {
                let state =
                    house.app.connect(Connect { namespace: "/", auth: serde_json::Map::new(), peer: &() }).await;
                let state = state.ok().unwrap().state;
                let member = super::super::members::Member {
                    namespace: namespace.into(),
                    id: "".into(),
                    keeps_offset: false,
                    state,
                };
                let member = std::sync::Arc::new(member);
                assert!(session.join(&member, None).unwrap() && session.join(&member, None).is_err());
            } else {
                let state = super::echo::EchoSocket::default();
                let member = super::super::members::Member {
                    namespace: namespace.into(),
                    id: "".into(),
                    keeps_offset: false,
                    state,
                };
                assert_eq!(session.join(&member.into(), None), Ok(false), "nor if it was let in before it had so many");
            }
        }
        client.post("40/another").await.unwrap();
        assert!(client.poll().await.unwrap().ends_with(r#"44/another,{"message":"Too many namespaces"}"#));
        drop(session);
    });
}

#[test]
fn what_is_kept_of_a_session_is_small() {
    fn size_of_result<A, B, C, D, R>(_: impl Fn(A, B, C, D) -> R) -> usize {
        size_of::<R>()
    }
    // With two reference counts: the allocator's next larger size is 384 bytes.
    let session = size_of::<super::super::session::Session<Echo>>() + 2 * size_of::<usize>();
    let member = size_of::<super::super::members::Member<Echo>>() - size_of::<<Echo as Types>::State>();
    let connection = size_of_result(WebSocketCall::<Echo>::run) - size_of::<Echo>();
    assert!(session <= 320, "{session}");
    assert!(member <= 40, "{member}");
    assert!(connection <= 112, "{connection}");
}
