//! The length of an HTTP/1 request: its head and its body (RFC 9112, sections 6 and 7.1). actix parses the same bytes
//! itself and refuses every ambiguous request; this only determines which bytes belong to the request.

use memchr::memchr_iter;

use crate::transports::http::limits::MAX_HEADERS;

/// The offset just after the empty line that ends a head, if there is one.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).map(|at| at + 1).find_map(|next| match bytes.get(next..)? {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// The length of the leading empty lines, which may precede a request (RFC 9112, section 2.2).
pub fn blank_lines(bytes: &[u8]) -> usize {
    let mut blank = 0;
    loop {
        match bytes[blank..] {
            [b'\n', ..] => blank += 1,
            [b'\r', b'\n', ..] => blank += 2,
            _ => return blank,
        }
    }
}

/// The body that a head announces.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// A body to be read.
    Body(Body),
    /// An HTTP/1.0 `POST` without a length: its body is empty (RFC 9112, section 6.3). actix refuses it unless the
    /// length is inserted at this offset.
    Unsaid(usize),
    /// There are too many headers.
    TooMany,
}

impl Framing {
    /// Reads a complete head.
    pub fn of(head: &[u8]) -> Self {
        let mut begin = 0;
        let mut lines = memchr_iter(b'\n', head).map(|at| {
            let line = &head[begin..=at];
            begin = at + 1;
            line
        });
        let first = lines.next().unwrap_or_default().trim_ascii_end();
        let mut length = None;
        let mut last = 0;
        for (before, line) in lines.enumerate() {
            // The last line is empty.
            if before > MAX_HEADERS {
                return Self::TooMany;
            }
            last = line.len();
            match line {
                [b'c' | b'C', ..] => {
                    if let Some(value) = value_of(line, b"content-length") {
                        // actix refuses a value that is not a number.
                        length =
                            Some(std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(0));
                    }
                }
                // actix refuses other codings, and a length beside this one.
                [b't' | b'T', ..] if value_of(line, b"transfer-encoding").is_some() => {
                    return Self::Body(Body::Chunked(Chunks::Size(0)));
                }
                _ => {}
            }
        }
        match length {
            None if first.starts_with(b"POST ") && first.ends_with(b" HTTP/1.0") => Self::Unsaid(head.len() - last),
            length => Self::Body(Body::Sized(length.unwrap_or(0))),
        }
    }
}

/// The value in a header line, if the line has this name.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (given, value) = line.split_at_checked(name.len())?;
    (given.eq_ignore_ascii_case(name) && value.first() == Some(&b':')).then(|| value[1..].trim_ascii())
}

/// The part of a body that has yet to arrive.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes.
    Sized(u64),
    /// Chunks.
    Chunked(Chunks),
}

/// The position in a chunked body. It follows actix's parser, which refuses everything else.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In a chunk size; the value so far.
    Size(u64),
    /// In the rest of the size line; the chunk size.
    Extension(u64),
    /// In a chunk; the bytes left, its line ending included.
    Data(u64),
    /// At the start of a line after the last chunk.
    Line,
    /// In a trailer line.
    Trailer,
    /// At the end of a trailer line.
    TrailerEnd,
    /// At the end of the final empty line.
    End,
}

impl Body {
    /// Consumes the next bytes; returns how many belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Sized(left) => pass(left, bytes),
            Self::Chunked(chunks) => {
                let mut at = 0;
                while at < bytes.len() {
                    match chunks.take(&bytes[at..]) {
                        (taken, Some(next)) => (at, *chunks) = (at + taken, next),
                        (taken, None) => {
                            *self = Self::Sized(0);
                            return at + taken;
                        }
                    }
                }
                at
            }
        }
    }

    /// Whether all of it has arrived.
    pub fn is_whole(&self) -> bool {
        *self == Self::Sized(0)
    }
}

/// Consumes up to `left` bytes.
fn pass(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= taken as u64;
    taken
}

impl Chunks {
    /// Consumes at least one byte of a non-empty slice; returns the number and the next state, or `None` at the end
    /// of the body.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Self>) {
        let byte = bytes[0];
        let next = match *self {
            Self::Size(size) => match char::from(byte).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => return Self::Extension(size).take(bytes),
            },
            Self::Extension(0) if byte == b'\n' => Self::Line,
            Self::Extension(size) if byte == b'\n' => Self::Data(size.saturating_add(2)),
            Self::Extension(size) => Self::Extension(size),
            Self::Data(mut left) => {
                let taken = pass(&mut left, bytes);
                return (taken, Some(if left == 0 { Self::Size(0) } else { Self::Data(left) }));
            }
            Self::Line if byte == b'\r' => Self::End,
            Self::Line => Self::Trailer,
            Self::Trailer if byte == b'\r' => Self::TrailerEnd,
            Self::Trailer => Self::Trailer,
            Self::TrailerEnd => Self::Line,
            Self::End => return (1, None),
        };
        (1, Some(next))
    }
}

#[cfg(test)]
mod tests {
    use actix_http::HttpMessage;
    use actix_http::h1::{Codec, Message};
    use bytes::BytesMut;
    use tokio_util::codec::Decoder;

    use super::*;

    /// The length of the first request as computed here and by actix; `None` from actix if it refuses the request or
    /// needs more.
    fn lengths(bytes: &[u8]) -> (Option<usize>, Option<usize>) {
        let blank = blank_lines(bytes);
        let here = end_of_head(&bytes[blank..]).map(|end| end + blank).and_then(|end| {
            let Framing::Body(mut body) = Framing::of(&bytes[blank..end]) else { return None };
            // A byte at a time, and all at once.
            let mut at = end;
            while at < bytes.len() && !body.is_whole() {
                at += body.take(&bytes[at..=at]);
            }
            let Framing::Body(mut again) = Framing::of(&bytes[blank..end]) else { return None };
            assert_eq!((again.take(&bytes[end..]) + end, again.is_whole()), (at, body.is_whole()));
            body.is_whole().then_some(at)
        });
        let (mut codec, mut left) = (Codec::default(), BytesMut::from(bytes));
        let mut is_whole = false;
        if let Ok(Some(Message::Item(request))) = codec.decode(&mut left) {
            let headers = request.headers();
            is_whole = headers.contains_key("transfer-encoding")
                || headers
                    .get("content-length")
                    .is_some_and(|length| !length.to_str().unwrap().trim_matches('0').is_empty());
            is_whole = !is_whole
                || loop {
                    match codec.decode(&mut left) {
                        Ok(Some(Message::Chunk(None))) => break true,
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => break false,
                    }
                };
        }
        (here, is_whole.then(|| bytes.len() - left.len()))
    }

    #[actix_web::test]
    async fn a_request_ends_where_actix_has_it_end() {
        const NEXT: &str = "GET /next HTTP/1.1\r\nhost: y\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut ended = 0;
        for request in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "\r\n\n\r\nGET / HTTP/1.1\nhost: x\n\n",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nA\n\nB\n",
            "POST / HTTP/1.1\r\nhost: x\r\nConTent-Length:5 \r\nx-content-length: 7\r\n\r\nA\n\nB\n",
            "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 00\r\n\r\n",
            &format!("{chunked}0\r\n\r\n"),
            &format!("{chunked}5\r\nab\r\nc\r\n00A;x=\"y\"\r\n0123456789\r\n000\r\n\r\n"),
            &format!("{chunked}5 \r\nabcde\r\n0;x\r\na: b\r\nc: d\r\n\r\n"),
            &format!("{chunked}0\r\na\n\r\n\n\r\n\r\n"),
        ] {
            let request = request.to_owned() + NEXT;
            let (here, actix) = lengths(request.as_bytes());
            assert_eq!(here, Some(request.len() - NEXT.len()), "{request}");
            assert_eq!(here, actix, "{request}");
            // Nor before.
            for end in 0..request.len() - NEXT.len() {
                assert_eq!(lengths(&request.as_bytes()[..end]), (None, None), "{end} of {request}");
                ended += 1;
            }
        }
        assert!(ended > 500, "{ended}");
    }

    #[actix_web::test]
    async fn what_can_be_understood_in_two_ways_is_refused() {
        for headers in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "content-length: +5",
            "content-length: 0x5",
            "content-length : 5",
            "content-length:\r\n 5",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding : chunked",
        ] {
            let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
            assert_eq!(lengths(request.as_bytes()).1, None, "{request}");
        }
    }

    #[actix_web::test]
    async fn a_head_has_as_many_headers_as_actix_reads() {
        for (more, is_whole) in [(95, true), (96, false)] {
            let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(more));
            let (here, actix) = lengths(request.as_bytes());
            assert_eq!((here.is_some(), actix.is_some()), (is_whole, is_whole), "{more}");
        }
    }

    #[test]
    fn a_length_is_put_in_where_a_post_of_http_1_0_tells_none() {
        for (head, place) in [
            ("POST /a HTTP/1.0\r\nb: c\r\n\r\n", Some(24)),
            ("POST /a HTTP/1.0\r\n\r\n", Some(18)),
            ("POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\n", None),
            ("POST /a HTTP/1.1\r\nb: c\r\n\r\n", None),
            ("GET /a HTTP/1.0\r\nb: c\r\n\r\n", None),
        ] {
            let is_at = match Framing::of(head.as_bytes()) {
                Framing::Unsaid(place) => Some(place),
                Framing::Body(_) | Framing::TooMany => None,
            };
            assert_eq!(is_at, place, "{head}");
        }
    }
}
