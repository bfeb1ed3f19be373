//! UTF-8 that comes in pieces.

/// Finds out at the first byte that is wrong that a text is not UTF-8, although characters may be cut between pieces.
#[derive(Debug, Default)]
pub struct Utf8 {
    /// The beginning of a character whose rest is yet to come.
    begun: [u8; 4],
    length: u8,
    /// How much of the text has been looked at.
    seen: usize,
}

impl Utf8 {
    /// Looks at what is new in a text that has grown. Returns whether it may still be UTF-8.
    pub fn grow(&mut self, text: &[u8]) -> bool {
        let new = text.get(self.seen..).unwrap_or_default();
        self.seen = text.len();
        self.push(new)
    }

    /// Looks at the next piece. Returns whether the text may still be UTF-8.
    fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((next, rest)) = piece.split_first() else { return true };
            piece = rest;
            self.begun[usize::from(self.length)] = *next;
            self.length += 1;
            match std::str::from_utf8(&self.begun[..self.length.into()]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        let Err(error) = std::str::from_utf8(piece) else { return true };
        let cut = &piece[error.valid_up_to()..];
        // At most three bytes: the beginning of a character.
        self.begun[..cut.len().min(4)].copy_from_slice(&cut[..cut.len().min(4)]);
        self.length = cut.len() as u8;
        error.error_len().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are looked at before it is found that they are no UTF-8, one at a time.
    fn wrong_at(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| !utf8.push(&[*byte]))
    }

    #[test]
    fn a_wrong_byte_is_found_at_once() {
        for (bytes, at) in [
            (&b"ab\xff"[..], Some(2)),
            (b"\xc0\x80", Some(0)),
            (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80", Some(12)),
            (b"\xed\xa0\x80", Some(1)),
            (b"\xf0\x90\x80", None),
            (b"\xe2\x82a", Some(2)),
            ("Grüße, 日本 😀".as_bytes(), None),
        ] {
            assert_eq!(wrong_at(bytes), at, "{bytes:x?}");
        }
    }

    #[test]
    fn however_a_text_is_cut_it_is_the_same() {
        let text = "aß日😀z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert!(pieces.into_iter().all(|piece| utf8.push(piece)), "{first} {second}");
                assert_eq!(utf8.length, 0);
                // A byte too much after it.
                assert!(!utf8.push(b"\x80"));
            }
        }
    }
}
