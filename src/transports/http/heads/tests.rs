//! Guards the order in which requests are passed on, their limits and their deadlines.

use super::*;

/// Gives on what comes.
struct Connection {
    heads: Heads,
}

impl Connection {
    fn new() -> Self {
        Self::with(Heads::default())
    }

    fn with(heads: Heads) -> Self {
        Self { heads }
    }

    /// Something comes; what is given on then.
    fn read(&mut self, part: &[u8]) -> Vec<u8> {
        let mut room = vec![0; 100 << 10];
        let mut buffer = ReadBuf::new(&mut room);
        buffer.put_slice(b"before");
        buffer.put_slice(part);
        self.heads.take(&mut buffer, 6);
        let mut given = buffer.filled()[6..].to_vec();
        given.extend(self.rest());
        given
    }

    fn rest(&mut self) -> Vec<u8> {
        let (mut given, mut small) = (Vec::new(), [0; 7]);
        loop {
            let mut buffer = ReadBuf::new(&mut small);
            if !self.heads.give(&mut buffer) {
                return given;
            }
            given.extend_from_slice(buffer.filled());
        }
    }

    /// What was given on is answered; what is given on then.
    fn answer(&mut self) -> Vec<u8> {
        self.heads.request();
        self.heads.answered();
        self.heads.flushed();
        self.rest()
    }
}

#[test]
fn requests_are_given_on_one_at_a_time_however_they_come() {
    let requests: [&[u8]; 5] = [
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nA\n\nB\n",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 00\r\n\r\n",
        b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let all = requests.join(&b"\r\n"[..]);
    for size in [1, 2, 3, 7, 20, 60, all.len()] {
        let mut connection = Connection::new();
        let mut given: Vec<u8> = all.chunks(size).flat_map(|part| connection.read(part)).collect();
        for request in &requests {
            assert_eq!(given, *request, "{size}");
            assert!(connection.rest().is_empty());
            given = connection.answer();
        }
        assert!(given.is_empty() && connection.heads.is_between());
    }
}

#[test]
fn the_next_request_waits_for_the_end_of_the_body_and_for_the_answer_to_be_written() {
    let post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
    let mut connection = Connection::new();
    assert_eq!(connection.read(post), post);
    assert!(connection.answer().is_empty());
    // It is answered, and its body is still to come.
    assert!(!connection.heads.is_between());
    assert_eq!(connection.read(b"12345GET / HTTP/1.1\r\n\r\nGET"), b"12345GET / HTTP/1.1\r\n\r\n");
    connection.heads.request();
    connection.heads.flushed();
    assert!(connection.rest().is_empty() && !connection.heads.is_between());
    connection.heads.answered();
    assert!(connection.read(b" /a HTTP/1.1\r\n\r\n").is_empty());
    assert!(connection.heads.flushed());
    assert_eq!(connection.rest(), b"GET /a HTTP/1.1\r\n\r\n");
}

#[test]
fn no_more_is_read_than_one_head_while_a_request_is_under_way() {
    let mut connection = Connection::new();
    connection.read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut read = 0;
    while connection.heads.has_room() {
        assert!(connection.read(&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(10)).is_empty());
        read += 270;
    }
    assert!((MAX_HEADER_BYTES..MAX_HEADER_BYTES + 300).contains(&read), "{read}");
    for _ in 0..read / 27 {
        assert_eq!(connection.answer().len(), 27);
    }
    assert!(connection.answer().is_empty() && connection.heads.has_room() && connection.heads.is_between());
}

#[test]
fn a_head_that_is_too_large_is_refused_whether_it_ends_or_not() {
    for (more, is_taken) in [(0, true), (1, false)] {
        let length = MAX_HEADER_BYTES - b"GET / HTTP/1.1\r\na: \r\n\r\n".len() + more;
        let head = [&b"GET / HTTP/1.1\r\na: "[..], &vec![b'x'; length], b"\r\n\r\n"].concat();
        for size in [head.len(), 1000] {
            let mut connection = Connection::new();
            let given: Vec<u8> = head.chunks(size).flat_map(|part| connection.read(part)).collect();
            assert_eq!(given == head, is_taken);
            assert_eq!(connection.heads.is_too_large.get(), !is_taken);
        }
    }
    let mut connection = Connection::new();
    connection.read(&vec![b'x'; MAX_HEADER_BYTES + 1]);
    assert!(connection.heads.is_too_large.get());
}

#[test]
fn a_post_of_http_1_0_without_a_length_has_an_empty_body() {
    let whole = |head: &str| String::from_utf8(Connection::new().read(head.as_bytes())).unwrap();
    assert_eq!(whole("POST /a HTTP/1.0\r\nb: c\r\n\r\n"), "POST /a HTTP/1.0\r\nb: c\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(whole("POST /a HTTP/1.0\r\n\r\n"), "POST /a HTTP/1.0\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn a_request_must_come_in_time_and_its_answer_may_take_any() {
    let due = |connection: &Connection| {
        let left = connection.heads.due.get()?.saturating_duration_since(Instant::now());
        Some(left.as_secs_f64().round() as u64)
    };
    let mut connection = Connection::new();
    assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs()));
    connection.read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    connection.heads.request();
    connection.read(b"GET /next");
    assert_eq!(due(&connection), None);
    connection.heads.answered();
    assert_eq!(due(&connection), None);
    connection.heads.flushed();
    // The beginning of the next has been there, but it is its turn only now.
    assert_eq!(due(&connection), Some((KEEP_ALIVE + HEAD_WITHIN).as_secs()));
    assert!(connection.rest().is_empty());
    assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs()));
    // More of it is no reason to wait for longer.
    connection.heads.due.set(Some(Instant::now() + HEAD_WITHIN / 2));
    connection.read(b" HTTP/1.1\r\n");
    assert_eq!(due(&connection), Some(HEAD_WITHIN.as_secs() / 2));
    connection.read(b"\r\n");
    connection.answer();
    assert_eq!(due(&connection), Some((KEEP_ALIVE + HEAD_WITHIN).as_secs()));
}

#[test]
fn a_connection_that_comes_back_says_with_which_head_if_that_is_all() {
    const HEAD: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let brought = |received: &str, next: &str| {
        let mut connection = Connection::with(Heads::of(received.as_bytes().to_vec()));
        let mut given = connection.rest();
        given.extend(connection.read(next.as_bytes()));
        assert_eq!(String::from_utf8(given).unwrap(), HEAD, "{received:?}");
        connection.heads.take_request().map(|request| String::from_utf8(request).unwrap())
    };
    assert_eq!(brought(HEAD, "").as_deref(), Some(HEAD));
    for blank in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n", "\r\n", "\n"] {
        assert_eq!(brought(blank, HEAD), None, "{blank:?}");
        assert_eq!(brought(&format!("{blank}{HEAD}"), ""), None, "{blank:?}");
    }
    for at in [0, 1, 10, HEAD.len() - 1] {
        assert_eq!(brought(&HEAD[..at], &HEAD[at..]), None);
    }
    // The next request has another head.
    let mut connection = Connection::with(Heads::of(HEAD.as_bytes().to_vec()));
    connection.rest();
    connection.answer();
    connection.read(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(connection.heads.take_request(), None);
    // One that comes back with nothing is kept as long as others, and ends without a word.
    let kept = Connection::with(Heads::of(Vec::new()));
    let left = kept.heads.due.get().unwrap().saturating_duration_since(Instant::now());
    assert!(kept.heads.is_kept() && left.as_secs_f64().round() as u64 == KEEP_ALIVE.as_secs());
}
