//! Guards the event stream of a session of long polling.

use futures_util::FutureExt;

use super::*;

/// The numbers in what a client got.
fn numbers(said: &str) -> Vec<usize> {
    let numbers = said.split('\x1e').filter_map(|packet| packet.strip_prefix("42[\"number\","));
    numbers.map(|rest| rest.split(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_stream_gives_every_event_once_and_in_order_between_answers() {
    run(async |house| {
        let client = house.join().await;
        client.post(r#"42["listen"]"#).await.unwrap();
        let (mut got, mut answers) = (Vec::new(), 0);
        for round in 0..50 {
            house.app.feed.add(round * 7);
            client.post(r#"420["message-with-ack"]"#).await.unwrap();
            rest().await;
            let said = client.poll().await.unwrap();
            answers += said.matches("430[]").count();
            got.extend(numbers(&said));
        }
        while got.len() < 50 * 49 / 2 * 7 || answers < 50 {
            let said = client.next().await;
            answers += said.matches("430[]").count();
            got.extend(numbers(&said));
        }
        assert!(got.into_iter().eq(0..50 * 49 / 2 * 7));
        assert_eq!(*house.app.feed.began.lock().unwrap(), ["polling"]);
    });
}

#[test]
fn a_stream_whose_client_does_not_poll_holds_nothing_and_ends_with_the_session() {
    run(async |house| {
        let client = house.join().await;
        client.post(r#"42["listen"]"#).await.unwrap();
        house.app.feed.add(100_000);
        rest().await;
        let session = house.engine.0.get(&client.sid).unwrap();
        assert_eq!(session.line(|line| line.held()), 0);
        drop(session);
        client.post("41").await.unwrap();
        rest().await;
        assert_eq!(std::sync::Arc::strong_count(&house.app.feed), 2, "the stream of a socket that has left has gone");
        client.post("40\x1e42[\"listen\"]").await.unwrap();
        assert_eq!(std::sync::Arc::strong_count(&house.app.feed), 3);
        client.post("1").await.unwrap();
        rest().await;
        assert_eq!(std::sync::Arc::strong_count(&house.app.feed), 2, "the stream has gone");
    });
}

#[test]
fn a_client_that_is_disconnected_gets_nothing_more_of_its_stream() {
    for (ends, said) in [("leave", "42[\"message-back\"]\x1e41"), ("close", "42[\"message-back\"]\x1e1")] {
        run(async |house| {
            let client = house.join().await;
            client.post(r#"42["listen"]"#).await.unwrap();
            house.app.feed.add(100);
            assert_eq!(numbers(&client.poll().await.unwrap()).len(), 16);
            // Of one chunk, much is left.
            let session = house.engine.0.get(&client.sid).unwrap();
            assert!(session.line(|line| line.held()) > 84 * 20);
            let polling = client.begin_poll().unwrap();
            client.post(&format!(r#"42["message"]{}42["{ends}"]"#, '\x1e')).await.unwrap();
            assert_eq!(polling.await, said);
            if ends == "leave" {
                // Nor with the next poll, nor of what comes now.
                house.app.feed.add(100);
                let mut polling = Box::pin(client.begin_poll().unwrap());
                rest().await;
                assert_eq!(polling.as_mut().now_or_never(), None);
                rest().await;
                assert_eq!(polling.as_mut().now_or_never(), None);
            }
        });
    }
}

#[test]
fn a_socket_that_joins_again_has_a_stream_of_its_own_and_the_end_of_the_other_does_it_nothing() {
    // The other one ends before or after it has begun, as the thread of that has time.
    for ends_first in [true, false] {
        run(async |house| {
            let client = house.join().await;
            client.post(r#"42["listen"]"#).await.unwrap();
            house.app.feed.add(5);
            assert_eq!(numbers(&client.next().await), [0, 1, 2, 3, 4]);
            if ends_first {
                client.post("41").await.unwrap();
                rest().await;
                client.post("40\x1e42[\"listen\"]").await.unwrap();
            } else {
                client.post("41\x1e40\x1e42[\"listen\"]").await.unwrap();
            }
            house.app.feed.add(100);
            let mut got = Vec::new();
            while got.len() < 105 {
                let said = tokio::time::timeout(seconds(1), client.poll()).await.expect("it has a stream");
                got.extend(numbers(&said.unwrap()));
            }
            assert!(got.into_iter().eq(0..105), "it is a new socket, which begins anew");
            // And it is the only one.
            client.post(r#"42["listen"]"#).await.unwrap();
            rest().await;
            assert_eq!(house.app.feed.began.lock().unwrap().len(), 2);
        });
    }
}

#[test]
fn after_an_upgrade_a_stream_begins_when_what_was_written_for_a_poll_has_gone() {
    run(async |house| {
        let client = house.join().await;
        client.post(r#"42["listen"]"#).await.unwrap();
        house.app.feed.add(100);
        assert_eq!(numbers(&client.poll().await.unwrap()).len(), 16);
        let session = house.session(&client);
        assert!(session.line(|line| line.begin_upgrade()) && session.upgrade());
        rest().await;
        assert!(session.begin_stream(true).is_none());
        let context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(session.line(|line| line.poll_packet(0, &context)).is_ready());
        // The first one finds out that it may end.
        rest().await;
        assert!(session.begin_stream(true).is_some());
    });
}

#[test]
fn a_session_has_one_stream_and_another_socket_has_one_when_the_first_has_left() {
    run(async |house| {
        let client = house.join().await;
        client.post("40/custom").await.unwrap();
        client.poll().await.unwrap();
        client.post("42[\"listen\"]\x1e42/custom,[\"listen\"]\x1e42[\"listen\"]").await.unwrap();
        rest().await;
        assert_eq!(house.app.feed.began.lock().unwrap().len(), 1);
        client.post("41\x1e42/custom,[\"listen\"]").await.unwrap();
        rest().await;
        assert_eq!(house.app.feed.began.lock().unwrap().len(), 2);
        house.app.feed.add(1);
        assert!(client.next().await.starts_with("42/custom,[\"number\",0"));
    });
}
