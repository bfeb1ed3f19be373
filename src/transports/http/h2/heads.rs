//! Memory limits for the heads of concurrent requests on an HTTP/2 connection.
//!
//! Closes this fault: the limit on a header list counts bytes, but a one-letter header without a value takes a
//! hundred times as much in the header map. A client could begin many requests with such lists, end none of them, and
//! do so without signing in.

use std::cell::Cell;
use std::rc::Rc;

use http::{HeaderMap, Uri};

use crate::error::Error;
use crate::transports::http::limits::{HEAD_TOO_LARGE, MAX_HEADERS};

/// Limit for all heads of a connection, in bytes. Browsers send about 2 KiB and 25 headers with each of up to 128
/// requests.
const MOST: usize = 2 << 20;
/// Bytes per connection that are not charged to a sender: the heads of a client with few concurrent requests.
const UNCOUNTED: usize = 64 << 10;
/// Memory of a header beside its name and value, rounded up generously.
const PER_HEADER: usize = 256;

/// The memory used by the heads of a connection: a cheap clone.
#[derive(Clone, Default)]
pub struct Heads(Rc<Cell<usize>>);

/// The memory used by one head, until this is dropped.
#[derive(Debug)]
pub struct Held {
    of: Heads,
    bytes: usize,
    counted: usize,
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.get().fmt(f)
    }
}

impl Heads {
    /// Counts a head for as long as the result lives.
    ///
    /// # Errors
    /// [`Error::HeadTooLarge`]; [`Error::Overloaded`] while there are so many others that there is no room for it.
    pub fn hold(&self, headers: &HeaderMap, uri: &Uri) -> Result<Held, Error> {
        if headers.len() > MAX_HEADERS {
            return Err(HEAD_TOO_LARGE);
        }
        let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let bytes =
            headers.iter().map(|(name, value)| PER_HEADER + name.as_str().len() + value.len()).sum::<usize>() + path;
        let all = self.0.get() + bytes;
        if all > MOST {
            return Err(Error::Overloaded);
        }
        self.0.set(all);
        Ok(Held { of: self.clone(), bytes, counted: all.saturating_sub(UNCOUNTED).min(bytes) })
    }
}

impl Held {
    /// The bytes of it that are charged to the sender of the body.
    pub fn counted(&self) -> usize {
        self.counted
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.set(self.of.0.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn headers(count: usize, bytes: usize) -> HeaderMap {
        let value = HeaderValue::from_bytes(&vec![b'x'; bytes]).unwrap();
        (0..count).map(|number| (HeaderName::try_from(format!("x{number:02}")).unwrap(), value.clone())).collect()
    }

    #[test]
    fn a_head_has_at_most_96_headers_and_all_of_a_connection_a_bounded_size_which_is_given_back() {
        let (heads, uri) = (Heads::default(), Uri::from_static("/login"));
        assert_eq!(heads.hold(&headers(97, 0), &uri).err(), Some(HEAD_TOO_LARGE));
        for _ in 0..3 {
            let mut held = Vec::new();
            let refused = loop {
                match heads.hold(&headers(96, 300), &uri) {
                    Ok(one) => held.push(one),
                    Err(error) => break error,
                }
            };
            assert_eq!((refused, held.len()), (Error::Overloaded, MOST / (96 * (PER_HEADER + 303) + 6)));
        }
        // The maximum number of requests, as browsers send them.
        let held: Vec<_> = (0..128).map(|_| heads.hold(&headers(30, 200), &uri).unwrap()).collect();
        drop(held);
        assert_eq!(heads.0.get(), 0);
    }

    #[test]
    fn a_few_heads_of_a_connection_count_for_nobody_and_what_they_take_is_given_back() {
        let (heads, fields, uri) = (Heads::default(), headers(90, 1), Uri::from_static("/login"));
        for _ in 0..3 {
            let held: Vec<_> = (0..5).map(|_| heads.hold(&fields, &uri).unwrap()).collect();
            let counted: Vec<_> = held.iter().map(Held::counted).collect();
            let each = held[0].bytes;
            assert_eq!(counted, [0, 0, 3 * each - UNCOUNTED, each, each]);
        }
        assert_eq!(heads.0.get(), 0);
    }
}
