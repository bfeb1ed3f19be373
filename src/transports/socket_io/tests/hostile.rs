//! Guards the bounds: what clients can make a server hold, and for how long.

use std::sync::atomic::Ordering::Relaxed;

use super::*;

#[test]
fn sessions_that_are_opened_and_left_are_bounded_and_go_after_45_seconds() {
    run(async |mut house| {
        let shares = Shares::of(8, 1 << 20);
        house.engine = SocketIo(std::sync::Arc::new(Sessions::new(Settings::default(), shares, ids)));
        let clock = tokio::task::spawn_local(house.engine.clone().keep_time());
        for _ in 0..2 {
            // A quarter.
            let (one, _) = house.open().await;
            house.open().await;
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
        clock.abort();
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
        let session = house.engine.0.get(&client.sid).unwrap();
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
    run(async |mut house| {
        let shares = Shares::of(100, 4 << 20);
        house.engine = SocketIo(std::sync::Arc::new(Sessions::new(Settings::default(), shares, ids)));
        // A client has a quarter: 1 MiB.
        let half = format!("452-[\"message\",\"{}\"]\x1eb{}", "x".repeat(10_000), "AAAA".repeat(200_000));
        let one = house.join().await;
        one.post(&half).await.unwrap();
        let two = house.join().await;
        assert_eq!(two.post(&half).await, Err(Refusal::BadRequest));
        // With the first one, what it held has gone.
        one.post("1").await.unwrap();
        house.join().await.post(&half).await.unwrap();
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
                let member = super::super::members::Member { namespace, id: String::new(), keeps_offset: false, state };
                assert!(session.join(&member.into(), None));
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
    let session = size_of::<super::super::session::Session<Echo>>();
    let connection = size_of_result(WebSocketCall::<Echo>::run);
    assert!(session <= 384, "{session}");
    assert!(connection <= 512, "{connection}");
}
