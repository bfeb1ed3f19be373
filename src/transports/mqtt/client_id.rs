//! Client identifiers (MQTT 5.0, 3.1.3.1).

use std::fmt;

use crate::domain::{ClientAddress, Username};

/// How long one may be, in bytes. MQTT asks for 23, and allows more.
const MAX_BYTES: usize = 256;

/// What a client calls itself: its session is known by this and its user, so that no user can take that of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// One that a client has chosen; `None` if it is too long.
    pub fn parse(text: &str) -> Option<Self> {
        (1..=MAX_BYTES).contains(&text.len()).then(|| Self(text.into()))
    }

    /// One for a client that has chosen none.
    pub fn assign() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string().into())
    }

    /// The same of a stranger, who shares a user with all other strangers: those of another network are other clients.
    pub fn of_stranger(self, from: ClientAddress) -> Self {
        // No client can choose one like this: there is no U+0000 in a text of MQTT (MQTT 5.0, 1.5.4-2).
        Self(format!("\0{}\0{}", from.network(), self.0).into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that is the client's, as far as anybody can tell: what its messages are known by. Never 0.
    pub fn publisher(&self, username: &Username) -> u64 {
        use aws_lc_rs::digest::{SHA256, digest};
        let digest = digest(&SHA256, &[username.as_str().as_bytes(), b"\0", self.0.as_bytes()].concat());
        let mut number = [0; 8];
        number.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_be_bytes(number).max(1)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_of_two_networks_are_two_clients_and_of_one_are_one() {
        let of =
            |id: &str, from: &str| ClientId::parse(id).unwrap().of_stranger(ClientAddress::of(from.parse().unwrap()));
        assert_eq!(of("x", "2001:db8::1"), of("x", "2001:db8::2"));
        let ids = [of("x", "192.0.2.1"), of("x", "192.0.2.2"), of("y", "192.0.2.1"), ClientId::parse("x").unwrap()];
        let username = Username::parse("u").unwrap();
        let different: std::collections::BTreeSet<_> = ids.iter().map(|id| id.publisher(&username)).collect();
        assert_eq!(different.len(), 4);
    }
}
