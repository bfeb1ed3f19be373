//! Guards how much memory a connection of MQTT takes while it waits.

use std::mem::size_of;

use super::client::Client;
use super::sink::{PacketSink, Shared};
use crate::events::Subscription;

#[test]
fn what_is_kept_of_a_connection_that_waits_is_small() {
    // Each is at most a size of the allocator: the next larger ones are 768, 448 and 384 bytes.
    assert!(size_of::<Client>() <= 640, "{}", size_of::<Client>());
    // With two reference counts.
    let counted = 2 * size_of::<usize>();
    let [shared, subscription] =
        [size_of::<Shared>(), size_of::<Subscription<PacketSink>>()].map(|size| size + counted);
    assert!(shared <= 384, "{shared}");
    assert!(subscription <= 320, "{subscription}");
}
