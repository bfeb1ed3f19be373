//! Refresh tokens: `<session>.<family>.<rotation>`, the name of a session and two secrets. All tokens of a session share the secret of
//! its family, and each has a rotation of its own. So whoever shows the right family with another rotation shows a token that was
//! replaced, and whoever shows another family shows nothing.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::{HashKeyId, Secret, SecretHash, SessionId};

/// The secrets of a token have 128 bits, so a hash without salt is as good as one with.
const SECRET_BYTES: usize = 16;
/// No token is longer.
const MAX_BYTES: usize = 16 + 1 + 22 + 1 + 22;

type TokenSecret = Zeroizing<[u8; SECRET_BYTES]>;

/// Issues and reads refresh tokens.
///
/// Their secrets are hashed with a key that is made from the secret of JWTs: with another one of those, every session has ended. Without
/// that, a restored backup would take tokens that were replaced or ended after it was made.
pub struct RefreshTokens {
    key: hmac::Key,
}

/// The secret that all tokens of a session share.
pub struct Family(TokenSecret);

/// The secret of one token.
pub struct Rotation(TokenSecret);

/// A refresh token that was shown. What it names need not exist.
pub struct Shown {
    pub session: SessionId,
    pub family: Family,
    pub rotation: Rotation,
}

impl Family {
    /// A new one.
    pub fn random() -> Self {
        Self(Zeroizing::new(crate::random::bytes()))
    }
}

impl Rotation {
    /// A new one.
    pub fn random() -> Self {
        Self(Zeroizing::new(crate::random::bytes()))
    }
}

impl RefreshTokens {
    pub fn new(jwt_secret: &Secret) -> Self {
        // A JWT has no zero bytes, so that nothing that is signed with the same secret is this key.
        let of_jwts = hmac::Key::new(hmac::HMAC_SHA256, jwt_secret.expose());
        let key = hmac::sign(&of_jwts, b"\0Broker refresh tokens");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    /// The hash of a family.
    pub fn hash_family(&self, Family(secret): &Family) -> SecretHash {
        self.hash(b'f', &**secret)
    }

    /// The hash of a rotation.
    pub fn hash_rotation(&self, Rotation(secret): &Rotation) -> SecretHash {
        self.hash(b'r', &**secret)
    }

    /// Tells the key of these hashes from another one.
    pub fn hash_key(&self) -> HashKeyId {
        let [a, b, c, d, e, f, g, h, ..] = self.hash(b'k', &[]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn hash(&self, kind: u8, secret: &[u8]) -> SecretHash {
        let mut hash = SecretHash::default();
        // An HMAC-SHA-256 has 32 bytes.
        hash.copy_from_slice(hmac::sign(&self.key, &[&[kind], secret].concat()).as_ref());
        hash
    }
}

/// Whether two hashes are the same, in constant time.
pub fn is_same(one: &SecretHash, other: &SecretHash) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Writes a token.
pub fn write(session: SessionId, Family(family): &Family, Rotation(rotation): &Rotation) -> String {
    let [family, rotation] = [family, rotation].map(|secret| BASE64_URL_SAFE_NO_PAD.encode(**secret));
    format!("{session}.{family}.{rotation}")
}

/// Reads a token; `None` if no server wrote it.
pub fn read(token: &Secret) -> Option<Shown> {
    let token = std::str::from_utf8(token.expose()).ok().filter(|token| token.len() <= MAX_BYTES)?;
    let mut parts = token.split('.');
    let mut next = || parts.next();
    let (session, family, rotation) = (SessionId::parse(next()?)?, secret(next()?)?, secret(next()?)?);
    next().is_none().then_some(Shown { session, family: Family(family), rotation: Rotation(rotation) })
}

fn secret(text: &str) -> Option<TokenSecret> {
    let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(tokens: &RefreshTokens, token: &str) -> Option<(SessionId, SecretHash, SecretHash)> {
        let Shown { session, family, rotation } = read(&Secret::new(token))?;
        Some((session, tokens.hash_family(&family), tokens.hash_rotation(&rotation)))
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let tokens = RefreshTokens::new(&Secret::new("secret"));
        let (session, family, rotation) = (SessionId::new(7).unwrap(), Family::random(), Rotation::random());
        let token = write(session, &family, &rotation);
        assert_eq!(token.len(), MAX_BYTES);
        let expected = (session, tokens.hash_family(&family), tokens.hash_rotation(&rotation));
        assert_eq!(hashes(&tokens, &token), Some(expected));
        let cut = &token[..token.len() - 1];
        let parts: Vec<_> = token.split('.').collect();
        for other in [
            "".to_owned(),
            "..".to_owned(),
            cut.to_owned(),
            format!("{token}."),
            format!("{token}A"),
            format!(" {token}"),
            parts[..2].join("."),
            [parts[0], parts[1], "", parts[2]].join("."),
            [&parts[0].to_uppercase().replace('0', "A"), parts[1], parts[2]].join("."),
        ] {
            assert_eq!(hashes(&tokens, &other), None, "{other}");
        }
    }

    #[test]
    fn the_hashes_of_a_secret_depend_on_its_part_and_on_the_secret_of_jwts() {
        let secret = [5; SECRET_BYTES];
        let (family, rotation) = (Family(Zeroizing::new(secret)), Rotation(Zeroizing::new(secret)));
        let [one, other] = ["one", "other"].map(|secret| RefreshTokens::new(&Secret::new(secret)));
        let all = [&one, &other].map(|tokens| [tokens.hash_family(&family), tokens.hash_rotation(&rotation)]);
        let different: std::collections::HashSet<_> = all.into_iter().flatten().collect();
        assert_eq!(different.len(), 4);
        assert_ne!(one.hash_key(), other.hash_key());
    }
}
