//! Taking bytes apart into lines, each with a hash of all lines up to it.

use aws_lc_rs::digest::{Context, SHA256};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::events::MAX_BYTES_AT_ONCE;

/// How long a line may be, in bytes: as the request of one insert.
pub const MAX_LINE_BYTES: usize = MAX_BYTES_AT_ONCE;
const _: () = assert!(MAX_LINE_BYTES >= crate::domain::MAX_USER_BYTES);

/// SHA-256 of a line, and of what came before it.
pub type Digest = [u8; 32];

/// A whole line.
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// Of this line and all before it.
    pub digest: Digest,
    /// What is in it, which may be a hash of a password.
    ///
    /// # Errors
    /// [`Error::LineTooLong`].
    pub text: Result<Zeroizing<Vec<u8>>, Error>,
}

/// The lines that have come, and the beginning of the next one.
pub struct Lines {
    count: u64,
    digest: Digest,
    /// Of the digest and the beginning.
    hashed: Context,
    begun: Zeroizing<Vec<u8>>,
    /// How long the beginning is, whether or not it is kept.
    length: usize,
}

impl Default for Lines {
    fn default() -> Self {
        let digest = Digest::default();
        Self { count: 0, digest, hashed: begin(&digest), begun: Zeroizing::default(), length: 0 }
    }
}

fn begin(before: &Digest) -> Context {
    let mut hashed = Context::new(&SHA256);
    hashed.update(before);
    hashed
}

impl Lines {
    /// The next line, if it ends in these bytes, and the bytes after it. Else the bytes are its beginning.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(Line, &'a [u8])> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.add(bytes);
            return None;
        };
        self.add(&bytes[..end]);
        Some((self.end(), &bytes[end + 1..]))
    }

    /// The last line, if no line feed ends it.
    pub fn last(&mut self) -> Option<Line> {
        (self.length > 0).then(|| self.end())
    }

    /// Whether the last line, which no line feed ends, ends in the middle of its JSON. The whole line would be another one.
    pub fn is_cut_off(&self) -> bool {
        let begun = self.begun.trim_ascii();
        !begun.is_empty() && serde_json::from_slice::<IgnoredAny>(begun).is_err_and(|error| error.is_eof())
    }

    /// How many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hashed.update(bytes);
        self.length = self.length.saturating_add(bytes.len());
        if self.length <= MAX_LINE_BYTES {
            self.begun.extend_from_slice(bytes);
        } else {
            self.begun = Zeroizing::default();
        }
    }

    fn end(&mut self) -> Line {
        self.count += 1;
        let hashed = std::mem::replace(&mut self.hashed, Context::new(&SHA256)).finish();
        // SHA-256 is 32 bytes.
        self.digest.copy_from_slice(hashed.as_ref());
        self.hashed = begin(&self.digest);
        let begun = std::mem::take(&mut self.begun);
        let text = if self.length <= MAX_LINE_BYTES { Ok(begun) } else { Err(Error::LineTooLong(MAX_LINE_BYTES)) };
        self.length = 0;
        Line { number: self.count, digest: self.digest, text }
    }
}

#[cfg(test)]
mod tests {
    //! Guards that lines are the same however their bytes come, and that their hashes tell whether they are.

    use super::*;

    /// The text and the digest of each line, of bytes that come in these pieces.
    fn lines(pieces: &[&[u8]]) -> Vec<(String, Digest)> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let mut add = |line: Line| all.push((String::from_utf8(line.text.unwrap().to_vec()).unwrap(), line.digest));
        for mut piece in pieces.iter().copied() {
            while let Some((line, rest)) = lines.next(piece) {
                piece = rest;
                add(line);
            }
        }
        lines.last().map(&mut add);
        all
    }

    #[test]
    fn lines_are_the_same_however_their_bytes_come_and_whether_the_last_one_is_ended() {
        let whole = lines(&[b"one\n\ntwo\r\nthree"]);
        assert_eq!(whole.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["one", "", "two\r", "three"]);
        assert_eq!(lines(&[b"on", b"e\n", b"\ntwo\r", b"\nthree\n"]), whole);
        assert_eq!(lines(&[b"one\n\ntwo\r\nthree\nfour"])[..4], whole[..]);
        assert_eq!(lines(&[b"", b""]), []);
    }

    #[test]
    fn a_digest_is_another_one_if_anything_up_to_its_line_is() {
        let last = |text: &[u8]| lines(&[text]).pop().unwrap().1;
        let texts: [&[u8]; 7] = [b"a\nb\nc", b"a\nb", b"ab\nc", b"a\nbc", b"b\na\nc", b"a\n\nb\nc", b"abc"];
        let digests: std::collections::HashSet<_> = texts.iter().map(|text| last(text)).collect();
        assert_eq!(digests.len(), texts.len());
    }

    #[test]
    fn a_line_that_is_too_long_takes_no_memory_and_the_next_one_is_read() {
        let (mut lines, piece) = (Lines::default(), vec![b'x'; 1 << 20]);
        for _ in 0..100 {
            assert!(lines.next(&piece).is_none());
            assert!(lines.begun.capacity() <= 2 * MAX_LINE_BYTES);
        }
        let (long, rest) = lines.next(b"\nshort\n").unwrap();
        assert_eq!((long.number, long.text.err()), (1, Some(Error::LineTooLong(MAX_LINE_BYTES))));
        let (short, _) = lines.next(rest).unwrap();
        assert_eq!((short.number, &**short.text.as_ref().unwrap()), (2, &b"short".to_vec()));
    }
}
