//! Guards what is said twice before the first is answered: filters within a packet.

use super::{client, server_with};

#[tokio::test]
async fn a_filter_that_comes_many_times_in_a_packet_is_one() {
    let (server, alice) = server_with(&["--mqtt_filters=2"]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    publisher.publish("a", b"1", true).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let filters = [("a", 0), ("$share/g/a", 0), ("a+", 0), ("b", 0), ("a", 1), ("$share/g/a", 2)].repeat(2000);
    assert_eq!(mqtt.subscribe(&filters).await, [0, 0, 0x8F, 0x97, 1, 2].repeat(2000));
    let message = mqtt.message().await;
    assert_eq!(message.brief(), ("a", "1", 1, true));
    mqtt.acknowledge(message.id.unwrap()).await;
    mqtt.nothing_comes().await;
    assert_eq!(mqtt.unsubscribe(&["a", "a"]).await, [0, 0, 0x11]);
}
