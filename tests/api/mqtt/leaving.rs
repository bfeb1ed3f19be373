//! Guards members of shared subscriptions that leave in the middle, and what counts for them.

use tokio::net::TcpSocket;

use super::super::support::mqtt::{Connect, Mqtt, property};
use super::super::support::{TestServer, User, until, within};
use super::shares::come;
use super::{client, server_with};

/// How many messages a share has on the way to one member.
const AT_ONCE: usize = 16;

/// A client that has little room for what it does not read.
async fn narrow(server: &TestServer, client_id: &str, user: &User) -> Mqtt {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let socket = within("a connection", socket.connect(server.mqtt().parse().unwrap())).await.unwrap();
    let mut mqtt = Mqtt::over(socket, 4);
    let connect = Connect { level: 4, client_id, login: Some(("JWT", user.jwt())), ..Connect::default() };
    mqtt.send(&connect.bytes()).await;
    assert_eq!(mqtt.packet().await.unwrap().body, [0, 0]);
    mqtt
}

#[tokio::test]
async fn what_is_read_for_a_member_that_unsubscribes_meanwhile_goes_to_another() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let (one_at_a_time, login) = ([&[property::RECEIVE_MAXIMUM][..], &[0, 1]].concat(), Some(("JWT", alice.jwt())));
    for round in 0..4 {
        let share = format!("$share/g{round}/w");
        let mut first = client(&server, 4, "first", &alice).await;
        first.subscribe(&[(&share, 1)]).await;
        for number in 0..AT_ONCE {
            let payload = format!("{number:02}{}", "x".repeat(90_000));
            publisher.publish("w", payload.as_bytes(), false).await;
            first.message().await;
        }
        let stays =
            Connect { level: 5, client_id: "stays", login, properties: one_at_a_time.clone(), ..Connect::default() };
        let (mut stays, _) = Mqtt::open(&server, &stays).await;
        stays.subscribe(&[(&share, 1)]).await;
        let mut leaves = narrow(&server, "leaves", &alice).await;
        leaves.subscribe(&[(&share, 1)]).await;
        // What it has not acknowledged goes to the others: one to whom takes one at a time, and the rest to whom does not read.
        drop(first);
        let begun = stays.message().await;
        assert!(leaves.unsubscribe(&[&share]).await.is_empty());
        let mut came: Vec<_> = vec![begun.payload[..2].to_vec()];
        stays.acknowledge(begun.id.unwrap()).await;
        until("everything that was given back", async || {
            for member in [&mut stays, &mut leaves] {
                came.extend(come(member, true).await.into_iter().map(|message| message.payload[..2].to_vec()));
            }
            (came.len() >= AT_ONCE).then_some(())
        })
        .await;
        came.sort();
        let all: Vec<_> = (0..AT_ONCE).map(|number| format!("{number:02}").into_bytes()).collect();
        assert_eq!(came, all, "round {round}");
    }
}

#[tokio::test]
async fn shares_of_ones_own_inbox_are_no_streams_of_the_user() {
    let (server, alice) = server_with(&["--streams_per_user=1"]).await;
    let bob = server.user("bob", "acme").await;
    let mut member = client(&server, 4, "member", &alice).await;
    assert_eq!(member.subscribe(&[("$share/one/@alice/+", 1), ("$share/two/@alice/+", 1)]).await, [1, 1]);
    bob.insert("@alice/x", 1.into()).await;
    for _ in 0..2 {
        let message = member.message().await;
        assert_eq!(message.brief(), ("@alice/x", "1", 1, false));
        member.acknowledge(message.id.unwrap()).await;
    }
    member.nothing_comes().await;
}
