//! How values are written. A user is JSON, which an operator can read in a dump. An event, of which there are thousands
//! a second, is a header of lengths and then its text.

mod answer;
mod channel_token;
mod erasure;
mod event;
mod invite;
mod mqtt_session;
mod name;
mod names;
mod numbers;
mod published;
mod removal;
mod session;
mod stored;
mod tidings;
mod user;

pub use answer::{Answered, decode_answer_numbers, decode_answered, encode_answer_numbers, encode_answered};
pub use channel_token::{decode_channel_token, encode_channel_token};
pub use erasure::{decode_erasure, encode_erasure};
pub use event::{EventParts, StoredData, content, encode_event, encode_expired, event_parts, rename_event};
pub use invite::{decode_invite, encode_invite};
pub use mqtt_session::{
    MqttSessionRow, decode_mqtt_exact, decode_mqtt_number, decode_mqtt_numbers, decode_mqtt_outgoing,
    decode_mqtt_progress, decode_mqtt_session, decode_mqtt_subscription, decode_mqtt_unreleased, decode_mqtt_will,
    encode_mqtt_exact, encode_mqtt_number, encode_mqtt_numbers, encode_mqtt_outgoing, encode_mqtt_progress,
    encode_mqtt_session, encode_mqtt_subscription, encode_mqtt_unreleased, encode_mqtt_will,
};
pub use name::{LatestRow, NameRow, decode_name, encode_name};
pub use names::{decode_names, encode_names};
pub use numbers::{
    Decoded, decode_count, decode_epochs, decode_moment, decode_position, decode_progress, decode_size, encode_count,
    encode_moment, encode_position, encode_progress, encode_size,
};
pub use published::HEAD_BYTES as PUBLISHED_HEAD_BYTES;
pub use removal::{Expiry, decode_bound, decode_expiry, encode_bound, encode_expiry, encode_transient_expiry};
pub use session::{SessionRow, decode_session, decode_sessions_of, encode_session, encode_sessions_of};
pub use tidings::{CURSOR_BYTES, FOUND_BYTES, NAME_HEAD_BYTES, TIDINGS_BYTES, decode_tidings, encode_tidings};
pub use user::{decode_account, decode_user, encode_user, user_bytes_at_most};

#[cfg(test)]
mod tests;
