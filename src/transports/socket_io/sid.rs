use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The id of a session, by which requests belong to it. Whoever knows it has the session, so it cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid([u8; Sid::BYTES]);

impl Sid {
    /// How many random bytes it is made of: as many as in the original.
    pub const BYTES: usize = 15;

    /// An id of random bytes.
    pub fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    /// The id that a client names, if it may be one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == Self::BYTES).then_some(Self(bytes))
    }

    /// As clients see it: 20 characters of base64url.
    pub fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let sid = Sid::new([0xff, 0xfe, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(sid.text(), "__4CAwQFBgcICQoLDA0O");
        assert!(Sid::parse(&sid.text()) == Some(sid));
        for other in ["", "abc", "__4CAwQFBgcICQoLDA0", "__4CAwQFBgcICQoLDA0OA", "//4CAwQFBgcICQoLDA0O"] {
            assert!(Sid::parse(other).is_none(), "{other}");
        }
    }
}
