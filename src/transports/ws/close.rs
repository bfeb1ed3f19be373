//! Close frames (RFC 6455, sections 5.5.1 and 7.4).

use super::violation::Violation;

/// How long the reason may be, in bytes: a control frame has at most 125.
pub const MAX_REASON_BYTES: usize = 123;

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// One of [`code`](super::code), or one of an application from 3000 to 4999.
    pub code: u16,
    /// For people, at most 123 bytes. It may be empty.
    pub reason: String,
}

impl Close {
    /// With this code, and the beginning of a reason.
    pub fn new(code: u16, reason: &str) -> Self {
        let reason = reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned();
        Self { code, reason }
    }

    /// Reads the payload of a close frame; `None` if it says nothing.
    pub fn read(payload: &[u8]) -> Result<Option<Self>, Violation> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
            [_] => return Err(Violation::Protocol("half a close code")),
        };
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Violation::Protocol("a close code that must not be sent"));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
        Ok(Some(Self { code, reason: reason.to_owned() }))
    }

    /// The payload of a close frame.
    pub fn payload(&self) -> Vec<u8> {
        [&self.code.to_be_bytes()[..], self.reason.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_must_not_be_sent_is_refused_and_others_are_read_as_they_were_written() {
        let refused = (0..=999).chain([1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]);
        for code in refused {
            assert!(matches!(Close::read(&u16::to_be_bytes(code)), Err(Violation::Protocol(_))), "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4401, 4999] {
            for reason in ["", "Grüße"] {
                let close = Close::new(code, reason);
                assert_eq!(Close::read(&close.payload()), Ok(Some(close)));
            }
        }
        assert_eq!(Close::read(b""), Ok(None));
        assert!(matches!(Close::read(b"\x03"), Err(Violation::Protocol(_))));
        assert_eq!(Close::read(b"\x03\xe8\xff"), Err(Violation::NotUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        for before in 0..3 {
            let close = Close::new(1000, &("x".repeat(before) + &"日".repeat(100)));
            assert!(close.reason.len() <= MAX_REASON_BYTES && close.reason.len() > MAX_REASON_BYTES - 3);
        }
    }
}
