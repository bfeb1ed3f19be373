use std::fmt;
use std::num::NonZeroU64;

/// The name of a session: a random number. It is in tokens and lists, and is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    /// The name with this number; zero is none.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_written_so = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_written_so { Self::new(u64::from_str_radix(text, 16).ok()?) } else { None }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_is_written_in_one_way() {
        let id = SessionId::new(0xab).unwrap();
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(SessionId::parse("00000000000000ab"), Some(id));
        for text in ["", "ab", "00000000000000AB", "0000000000000000", "+0000000000000ab", "000000000000000ab"] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }
}
