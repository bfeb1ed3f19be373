//! What must hold for any bytes of a client. Fuzzing (`fuzz/`) searches for bytes for which it does not, and `cargo test` replays what
//! that has found worth keeping.

use super::client::{ClientFrame, deflated};
use super::close::Close;
use super::decoder::{Decoder, Item};
use super::deflate::{compressed_frame, inflate};
use super::extension::agree;
use super::frame::{Opcode, frame};
use super::handshake::Handshake;
use super::message::Message;
use super::violation::Violation;

/// How large a message may be, by the first byte of an input.
const LIMITS: [usize; 8] = [0, 1, 125, 126, 1000, 4096, 1 << 16, 1 << 20];

/// Everything that was decoded, and what ended it.
type Decoded = (Vec<Item>, Option<Violation>);

/// Messages and control frames. The input is which limits hold, how it is cut, and what a client sends.
///
/// - However the bytes are cut, the same comes out.
/// - Memory is taken for what has come alone, never more than a message may have, and grows seldom.
/// - What is decoded is what it was before it was encoded.
pub fn messages(input: &[u8]) {
    let [options, seed, sent @ ..] = input else { return };
    let (inflates, most) = (options & 1 != 0, LIMITS[usize::from(options >> 1) % LIMITS.len()]);
    let decoded = decode(most, inflates, [sent]);
    assert_eq!(decode(most, inflates, sent.chunks(1)), decoded, "byte by byte");
    assert_eq!(decode(most, inflates, cut(sent, *seed)), decoded, "cut by {seed}");
    for item in &decoded.0 {
        encodes(item, most);
    }
}

fn decode<'a>(most: usize, inflates: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut watch, mut items) = (Decoder::new(most, inflates), Watch::new(most), Vec::new());
    for mut rest in pieces {
        watch.come += rest.len();
        while !rest.is_empty() {
            let before = rest.len();
            match decoder.decode(&mut rest) {
                // Each item takes a byte at least, so no input is work without end.
                Ok(Some(_)) if rest.len() == before => panic!("an item of nothing"),
                Ok(Some(item)) => items.push(item),
                Ok(None) => assert!(rest.is_empty(), "something is left"),
                Err(violation) => return (items, Some(violation)),
            }
            watch.look(decoder.held());
        }
    }
    (items, None)
}

/// Watches the memory of a decoder.
struct Watch {
    most: usize,
    come: usize,
    held: usize,
    growths: u32,
}

impl Watch {
    fn new(most: usize) -> Self {
        // As much more as compression may add.
        Self { most: most + most / 512 + 64, come: 0, held: 0, growths: 0 }
    }

    fn look(&mut self, held: usize) {
        assert!(held <= self.most, "{held} bytes are held of at most {}", self.most);
        assert!(held <= 2 * self.come, "{held} bytes are held, and {} have come", self.come);
        // Whoever moved what has come with each piece would work for its square.
        if held > self.held {
            self.growths += 1;
            assert!(self.growths <= 2 + usize::BITS - held.leading_zeros(), "{} growths to {held}", self.growths);
        } else if held < self.held {
            self.growths = 0;
        }
        self.held = held;
    }
}

/// Pieces of 1 to 16 bytes.
fn cut(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut pieces, mut state) = (Vec::new(), u32::from(seed));
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + (state >> 28) as usize));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// An item stays the same if it is sent again, by a client or from here.
fn encodes(item: &Item, most: usize) {
    let (opcode, payload) = match item {
        Item::Message(Message::Text(text)) => (Opcode::Text, text.as_bytes()),
        Item::Message(Message::Binary(bytes)) => (Opcode::Binary, &bytes[..]),
        Item::Ping(payload) => (Opcode::Ping, &payload[..]),
        Item::Pong(payload) => (Opcode::Pong, &payload[..]),
        Item::Close(None) => (Opcode::Close, &b""[..]),
        Item::Close(Some(close)) => {
            assert_eq!(Close::read(&close.payload()), Ok(Some(close.clone())));
            (Opcode::Close, &close.payload()[..])
        }
    };
    assert!(payload.len() <= if opcode.is_control() { 125 } else { most });
    let mut sent = vec![ClientFrame::whole(opcode, payload).bytes(), masked(&frame(opcode, payload))];
    if let Item::Message(Message::Text(text)) = item {
        sent.push(masked(&compressed_frame(text)));
    }
    for bytes in sent {
        assert_eq!(decode(most, true, [&bytes[..]]), (vec![item.clone()], None));
    }
}

/// A frame of the server's as a client might send it: masked with zeros.
fn masked(frame: &[u8]) -> Vec<u8> {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut bytes = [&frame[..header], &[0; 4], &frame[header..]].concat();
    bytes[1] |= 0x80;
    bytes
}

/// What a client calls a compressed message. The input is a limit and the message.
///
/// - It is never inflated further than it may be, and takes no more memory than that.
/// - Of any limit, the same comes out, or that it is too large.
/// - What one message leaves behind changes none of the next.
pub fn deflate(input: &[u8]) {
    let [limit, compressed @ ..] = input else { return };
    let most = LIMITS[usize::from(*limit) % LIMITS.len()];
    let inflated = inflate(compressed.to_vec(), most);
    if let Ok(message) = &inflated {
        assert!(message.len() <= most && message.capacity() <= most + 1, "{} of {most}", message.capacity());
        for most in [message.len(), most + 1] {
            assert_eq!(inflate(compressed.to_vec(), most).as_ref(), Ok(message));
        }
        if let Some(less) = message.len().checked_sub(1) {
            assert_eq!(inflate(compressed.to_vec(), less), Err(Violation::TooLarge));
        }
    }
    assert_eq!(inflate(deflated(compressed), compressed.len()).as_deref(), Ok(compressed));
    assert_eq!(inflate(compressed.to_vec(), most), inflated);
}

/// The headers of a request to switch to WebSocket, a line each.
///
/// - What is agreed upon is what was offered, and would be agreed upon again.
/// - A list in one header is as good as in several.
pub fn handshake(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()))
    });
    let headers: Vec<_> = lines.collect();
    let handshake = read(&headers);
    let joined = read(&joined(&headers));
    let Ok(handshake) = handshake else { return assert!(joined.is_err()) };
    assert_eq!(format!("{:?}", joined.as_ref()), format!("{:?}", Ok::<_, ()>(&handshake)));
    assert!(handshake.accept().len() == 28 && handshake.accept().is_ascii());
    let compression = handshake.compression();
    assert_eq!(handshake.extensions().is_some(), compression.inflates);
    if let Some(answer) = handshake.extensions() {
        let again = agree([answer.as_bytes()].into_iter());
        assert!(again.is_some_and(|again| again.answer == answer && again.compression == compression));
    }
    if let Some(chosen) = handshake.choose(&["broker.v1", "mqtt"]) {
        let is_offered = |(name, value): &(Vec<u8>, Vec<u8>)| {
            name == b"sec-websocket-protocol"
                && value.split(|byte| *byte == b',').any(|one| one.trim_ascii() == chosen.as_bytes())
        };
        assert!(headers.iter().any(is_offered), "{chosen}");
    }
}

fn read(headers: &[(Vec<u8>, Vec<u8>)]) -> Result<Handshake, super::handshake::Refusal> {
    Handshake::read(true, |name| {
        let name = name.as_bytes().to_vec();
        headers.iter().filter(move |(one, _)| *one == name).map(|(_, value)| &value[..])
    })
}

/// The same headers with each list in one.
fn joined(headers: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut joined = headers.to_vec();
    for list in [&b"sec-websocket-protocol"[..], b"sec-websocket-extensions"] {
        // One that is not UTF-8 offers nothing, whatever else is in it.
        let is_of_list = |(name, value): &(Vec<u8>, Vec<u8>)| {
            name == list && (list != b"sec-websocket-extensions" || std::str::from_utf8(value).is_ok())
        };
        let values: Vec<_> = joined.iter().filter(|one| is_of_list(one)).map(|(_, value)| value.clone()).collect();
        joined.retain(|one| !is_of_list(one));
        joined.push((list.to_vec(), values.join(&b","[..])));
    }
    joined
}
