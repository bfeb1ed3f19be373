//! Guards how connections end that the server ends, and who is refused since there are too many already.

use std::time::{Duration, Instant};

use super::super::support::mqtt::{Connect, Mqtt, property, text};
use super::super::support::within;
use super::{client, code, server_with};

#[tokio::test]
async fn a_client_that_says_nothing_for_one_and_a_half_times_its_keep_alive_is_told_and_one_that_pings_goes_on() {
    let (server, alice) = server_with(&[]).await;
    let login = Some(("JWT", alice.jwt()));
    for level in [4, 5] {
        let connect = Connect { level, client_id: "silent", login, keep_alive: 2, ..Connect::default() };
        let since = Instant::now();
        let (mut silent, _) = Mqtt::open(&server, &connect).await;
        let (mut pings, _) = Mqtt::open(&server, &Connect { client_id: "pings", ..connect.clone() }).await;
        let (mut forever, _) = Mqtt::open(&server, &Connect { client_id: "0", keep_alive: 0, ..connect }).await;
        let pinging = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                pings.nothing_comes().await;
            }
        };
        let (ended, ()) = tokio::join!(silent.ended(), pinging);
        assert_eq!(ended, (level == 5).then_some(0x8D), "{level}");
        assert!(since.elapsed() >= Duration::from_secs(3));
        forever.nothing_comes().await;
    }
}

#[tokio::test]
async fn clients_are_told_that_the_server_stops() {
    let (mut server, alice) = server_with(&[]).await;
    let mut five = client(&server, 5, "five", &alice).await;
    let mut four = client(&server, 4, "four", &alice).await;
    let (_, ended) = tokio::join!(server.stop(), async { (five.ended().await, four.ended().await) });
    assert_eq!(ended, (Some(0x8B), None));
}

#[tokio::test]
async fn of_a_users_connections_beyond_what_a_user_may_have_the_oldest_goes() {
    let (server, alice) = server_with(&["--streams_per_user=2"]).await;
    let bob = server.user("bob", "acme").await;
    let mut bobs = client(&server, 5, "b", &bob).await;
    for level in [4, 5] {
        let mut oldest = client(&server, level, "1", &alice).await;
        let mut second = client(&server, level, "2", &alice).await;
        let mut third = client(&server, level, "3", &alice).await;
        assert_eq!(oldest.ended().await, (level == 5).then_some(0x97));
        second.nothing_comes().await;
        third.nothing_comes().await;
    }
    bobs.nothing_comes().await;
}

#[tokio::test]
async fn a_user_has_no_more_sessions_that_are_connected_than_a_user_may_have() {
    let (server, alice) = server_with(&["--mqtt_sessions=2"]).await;
    let keeps = |level, client_id| Connect {
        level,
        client_id,
        login: Some(("JWT", alice.jwt())),
        keeps_session: true,
        properties: [&[property::SESSION_EXPIRY][..], &3600_u32.to_be_bytes()].concat(),
        ..Connect::default()
    };
    let (_one, _) = Mqtt::open(&server, &keeps(5, "1")).await;
    let (two, _) = Mqtt::open(&server, &keeps(4, "2")).await;
    for (level, expected) in [(4, 3), (5, 0x97)] {
        assert_eq!(code(&server, &keeps(level, "3")).await, expected, "{level}");
        // One that is not to outlive its connection counts for nothing.
        let brief = Connect { keeps_session: false, properties: Vec::new(), ..keeps(level, "4") };
        assert_eq!(code(&server, &brief).await, 0, "{level}");
    }
    // Once another has gone, there is room.
    drop(two);
    within("room", async {
        while code(&server, &keeps(5, "3")).await != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_guesses_wrong_too_often_is_told_so_the_right_password_included() {
    let (server, _) = server_with(&[]).await;
    let password = super::super::support::password_of("alice");
    for (level, expected) in [(5, 0x9F), (4, 3)] {
        let with = |password| Connect { level, client_id: "x", login: Some(("alice", password)), ..Connect::default() };
        let mut codes = Vec::new();
        while codes.last() != Some(&expected) {
            assert!(codes.len() < 100, "{codes:?}");
            codes.push(code(&server, &with("wrong password")).await);
        }
        let wrong = if level == 5 { 0x86 } else { 4 };
        assert!(codes[..codes.len() - 1].iter().all(|code| *code == wrong), "{codes:?}");
        assert_eq!(code(&server, &with(&password)).await, expected);
    }
}

#[tokio::test]
async fn a_method_of_authentication_that_is_unknown_is_told_so() {
    let (server, alice) = server_with(&[]).await;
    let properties = |method: &str| [&[0x15][..], &text(method), &[0x16], &text(alice.jwt())].concat();
    for (method, expected) in [("JWT", 0), ("SCRAM-SHA-1", 0x8C), ("jwt", 0x8C)] {
        let connect = Connect { level: 5, client_id: "x", properties: properties(method), ..Connect::default() };
        assert_eq!(code(&server, &connect).await, expected, "{method}");
    }
    // The method alone shows nothing.
    let properties = [&[0x15][..], &text("JWT")].concat();
    let connect = Connect { level: 5, client_id: "x", properties, ..Connect::default() };
    assert_eq!(code(&server, &connect).await, 0x86);
}
