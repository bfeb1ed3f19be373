//! What packets weigh while they are in flight: the memory that they take.

use super::packet::{Connect, Packet, PublishProperties};

/// How much may be in flight on a connection before nothing more is read, and how much is read before others on this thread have their
/// turn.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many bytes in memory weigh one more.
const BYTES_A_WEIGHT: usize = 32 << 10;
/// What a name and a value of user properties take beside their texts: two texts, and what the allocator adds to each.
const PAIR_BYTES: usize = 2 * size_of::<String>() + 32;
/// What a filter takes beside its text until the stream has it: a place in the session's change, in the stream's, in what would be taken
/// back, and in the answer.
const FILTER_BYTES: usize = 256;
/// In how many of them its text is.
const FILTER_TEXTS: usize = 4;

/// What a packet weighs, at least 1.
pub fn of(packet: &Packet) -> usize {
    1 + memory(packet) / BYTES_A_WEIGHT
}

/// How many bytes a packet takes until it is answered, about.
fn memory(packet: &Packet) -> usize {
    match packet {
        // A payload may be in memory as data and as it came.
        Packet::Publish(publish) => {
            publish.topic.len() + 2 * publish.payload.len() + of_properties(&publish.properties)
        }
        Packet::Subscribe(subscribe) => subscribe.subscriptions.iter().map(|one| of_filter(&one.filter)).sum(),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.iter().map(|filter| of_filter(filter)).sum(),
        // What is left of the others is a few numbers.
        _ => 0,
    }
}

/// How many bytes a CONNECT takes until its client is let in, about.
pub fn of_connect(connect: &Connect) -> usize {
    let Connect { client_id, username, password, will, authentication, .. } = connect;
    let will = will.as_ref().map_or(0, |will| will.topic.len() + will.payload.len() + of_properties(&will.properties));
    let credentials =
        username.as_ref().map_or(0, String::len) + password.as_ref().map_or(0, |password| password.0.len());
    let authentication = authentication.as_ref().map_or(0, |authentication| {
        authentication.method.len() + authentication.data.as_ref().map_or(0, |data| data.0.len())
    });
    size_of::<Connect>() + client_id.len() + will + credentials + authentication
}

fn of_properties(properties: &PublishProperties) -> usize {
    let PublishProperties { response_topic, correlation_data, user_properties, content_type, .. } = properties;
    let texts: usize = [response_topic, content_type].into_iter().flatten().map(String::len).sum();
    let pairs: usize = user_properties.iter().map(|(name, value)| PAIR_BYTES + name.len() + value.len()).sum();
    texts + correlation_data.as_ref().map_or(0, |data| data.len()) + pairs
}

fn of_filter(filter: &str) -> usize {
    FILTER_BYTES + FILTER_TEXTS * filter.len()
}

#[cfg(test)]
mod tests;
