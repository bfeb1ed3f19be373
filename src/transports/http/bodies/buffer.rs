//! The memory of a body. If the body may hold a secret, it is wiped before it is given back.

use std::ops::Deref;

use bytes::Bytes;
use zeroize::Zeroize;

/// The bytes of a body that is being read.
pub struct Buffer {
    bytes: Vec<u8>,
    is_secret: bool,
}

/// A body that has been read.
pub struct Text {
    text: String,
    is_secret: bool,
}

impl Buffer {
    /// An empty buffer.
    pub fn new(is_secret: bool) -> Self {
        Self { bytes: Vec::new(), is_secret }
    }

    /// The memory that it takes, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds a chunk, unless the body would have more than `max_bytes` with it. Returns whether it was added.
    pub fn push(&mut self, chunk: Bytes, max_bytes: usize) -> bool {
        let length = self.bytes.len() + chunk.len();
        let fits = length <= max_bytes;
        if fits {
            if length > self.bytes.capacity() {
                // Doubled, to avoid moving it with each chunk, but never beyond the maximum.
                self.move_to((2 * self.bytes.capacity()).clamp(length, max_bytes));
            }
            self.bytes.extend_from_slice(&chunk);
        }
        // A chunk that shares its memory cannot be wiped. Over HTTP/1.1 it is a part of the buffer that actix reads the connection
        // into and lends out, so a copy stays there until that memory is used again, which may be after the connection.
        if self.is_secret
            && let Ok(mut chunk) = chunk.try_into_mut()
        {
            chunk.zeroize();
        }
        fits
    }

    /// Moves the bytes to where there is more room. A vector that grows by itself leaves them in its old memory, too.
    fn move_to(&mut self, capacity: usize) {
        let mut moved = Vec::with_capacity(capacity);
        moved.extend_from_slice(&self.bytes);
        let mut outgrown = std::mem::replace(&mut self.bytes, moved);
        if self.is_secret {
            outgrown.zeroize();
        }
    }

    /// The text that the bytes are, if they are UTF-8.
    pub fn into_text(mut self) -> Option<Text> {
        match String::from_utf8(std::mem::take(&mut self.bytes)) {
            Ok(text) => Some(Text { text, is_secret: self.is_secret }),
            Err(error) => {
                self.bytes = error.into_bytes();
                None
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.is_secret {
            self.bytes.zeroize();
        }
    }
}

impl Text {
    /// The memory that it takes, in bytes.
    pub fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if self.is_secret {
            self.text.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::FileExt;

    use serde::Deserialize;

    use super::*;
    use crate::domain::{Password, Secret};

    /// How many bytes of the password are looked for, from the hundredth on: the allocator writes over the first bytes of what
    /// it is given back.
    const WINDOW: usize = 64;

    /// The bytes of the password. They are calculated, so that they stand nowhere in memory but where the code puts them.
    fn letter(at: usize) -> u8 {
        b'a' + (at.wrapping_mul(at) % 97 % 26) as u8
    }

    /// How many copies of the password there are in the memory of this process.
    fn copies() -> usize {
        let (maps, memory) = (File::open("/proc/self/maps").unwrap(), File::open("/proc/self/mem").unwrap());
        let (mut piece, zeros) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut found = 0;
        for map in BufReader::new(maps).lines() {
            let map = map.unwrap();
            let (range, rest) = map.split_once(' ').unwrap();
            if !rest.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let (mut from, to) = (address(from), address(to));
            // In pieces, each of which overlaps the next by the window.
            while to - from >= WINDOW as u64 {
                let size = piece.len().min((to - from) as usize);
                let Ok(read) = memory.read_at(&mut piece[..size], from) else { break };
                // Most of what an allocator has set aside was never touched.
                if piece[..read] != zeros[..read] {
                    found += piece[..read].windows(WINDOW).filter(|bytes| is_copy(bytes)).count();
                    // It may be looked at itself.
                    piece.fill(0);
                }
                if read < WINDOW {
                    break;
                }
                from += (read - WINDOW + 1) as u64;
            }
        }
        found
    }

    fn is_copy(bytes: &[u8]) -> bool {
        bytes.iter().enumerate().all(|(at, byte)| *byte == letter(100 + at))
    }

    #[derive(Deserialize)]
    struct Body {
        password: Secret,
    }

    /// A body with a password of 601 bytes, in three chunks. It has an escape, and has to be moved as it comes.
    fn read() -> Text {
        let mut buffer = Buffer::new(true);
        for third in 0..3 {
            let mut chunk = Vec::with_capacity(300);
            if third == 0 {
                chunk.extend_from_slice(b"{\"password\":\"");
            }
            chunk.extend((third * 200..third * 200 + 200).map(letter));
            if third == 2 {
                chunk.extend_from_slice(b"\\n\"}");
            }
            assert!(buffer.push(chunk.into(), 8 << 10));
        }
        buffer.into_text().unwrap()
    }

    #[test]
    fn no_copy_of_a_password_is_left_in_memory_that_its_body_had_for_itself() {
        let text = read();
        let Body { password } = serde_json::from_str(&text).unwrap();
        let password = Password::parse(password).unwrap();
        assert_eq!(password.expose().len(), 601);
        assert!(copies() >= 2, "neither the body nor the password is found in memory");
        drop((password, text));
        assert_eq!(copies(), 0);
    }
}
