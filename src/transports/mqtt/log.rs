//! What is logged of clients: who is not let in; and at the level `debug`, since a client of MQTT 3 is told nothing of it, what is refused
//! and how connections end.

use super::client_id::ClientId;
use super::packet::{Connect, Reason};
use crate::domain::{ClientAddress, Username};
use crate::identity::Principal;
use crate::log::{ACCESS, RequestId};

/// A client is not let in, whose CONNECT could be read or not.
pub fn not_let_in(connect: Option<&Connect>, address: ClientAddress, reason: Reason) {
    // What nobody can be called may be a secret in the wrong place.
    let user = connect.and_then(|connect| Username::parse(connect.username.as_ref()?).ok());
    let user = user.as_ref().map(Username::as_str);
    let client = connect.and_then(|connect| ClientId::parse(&connect.client_id));
    let client = client.as_ref().map(ClientId::as_str);
    let (outcome, request_id) = (code(reason), RequestId::current());
    let request_id = request_id.as_deref();
    tracing::info!(target: ACCESS, door = "mqtt", user, client, %address, outcome, request_id, "not let in");
}

/// The connection of a client ends; it is told why, if there is a reason.
pub fn ended(principal: &Principal, client: Option<&str>, reason: Option<Reason>, why: Option<&'static str>) {
    let (user, request_id) = (principal.username.as_str(), RequestId::current());
    let request_id = request_id.as_deref();
    match reason {
        Some(reason) => {
            let outcome = code(reason);
            tracing::debug!(user, client, outcome, why, request_id, "an MQTT client is disconnected");
        }
        None => tracing::debug!(user, client, request_id, "an MQTT client has gone"),
    }
}

/// A message is not taken, on a topic that is known if [`is_detailed`].
pub fn not_taken(principal: &Principal, topic: Option<&str>, reason: Reason) {
    let (user, request_id) = (principal.username.as_str(), RequestId::current());
    tracing::debug!(
        user,
        topic,
        outcome = code(reason),
        request_id = request_id.as_deref(),
        "an MQTT message is refused"
    );
}

/// A filter is not granted.
pub fn not_granted(principal: &Principal, filter: &str, reason: Reason) {
    let (user, request_id) = (principal.username.as_str(), RequestId::current());
    tracing::debug!(
        user,
        filter,
        outcome = code(reason),
        request_id = request_id.as_deref(),
        "an MQTT subscription is refused"
    );
}

/// Whether anybody reads what is refused.
pub fn is_detailed() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// A reason as the pages have it.
fn code(reason: Reason) -> String {
    format!("{:#04x}", reason as u8)
}
