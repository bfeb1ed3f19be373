//! What must hold for any bytes of a client. Fuzzing (`fuzz/`) searches for bytes for which it does not, and `cargo test` replays what
//! that has found worth keeping.

use bytes::Bytes;

use super::client;
use super::connect::Connect;
use super::decoder::{Decoder, Packet};
use super::version::Version;
use super::violation::Violation;

/// How large a packet may be, by the first byte of an input.
const LIMITS: [usize; 8] = [0, 2, 20, 127, 1000, 4096, 1 << 16, 1 << 20];
/// What a decoder may hold however little has come.
const MIN_HELD: usize = 16;

/// Everything that was decoded, and what ended it.
pub type Decoded = (Vec<Packet>, Option<Violation>);

/// Packets. The input is which limit holds and which version has connected already, how it is cut, and what a client sends.
///
/// - However the bytes are cut, the same comes out.
/// - Memory is taken for what has come alone, never more than a packet may have, and grows seldom.
/// - What is decoded is what it was before it was encoded.
pub fn packets(input: &[u8]) {
    let [options, seed, sent @ ..] = input else { return };
    let most = LIMITS[usize::from(options >> 2) % LIMITS.len()];
    let version = [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)][usize::from(options & 0b11)];
    let decoded = decode(most, version, [sent]);
    assert_eq!(decode(most, version, sent.chunks(1)), decoded, "byte by byte");
    assert_eq!(decode(most, version, cut(sent, *seed)), decoded, "cut by {seed}");
    let mut version = version;
    for packet in &decoded.0 {
        encodes(packet, version);
        if let Packet::Connect(connect) = packet {
            version = Some(connect.version);
        }
    }
}

/// Decodes what comes in these pieces after a CONNECT of this version, if any.
pub fn decode<'a>(most: usize, version: Option<Version>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut watch, mut packets) = (connected(version), Watch::new(most), Vec::new());
    decoder.set_max_packet_bytes(most);
    for piece in pieces {
        let mut rest = Bytes::copy_from_slice(piece);
        watch.come += rest.len();
        while !rest.is_empty() {
            let before = rest.len();
            match decoder.decode(&mut rest) {
                // Each packet takes a byte at least, so no input is work without end.
                Ok(Some(_)) if rest.len() == before => panic!("a packet of nothing"),
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => assert!(rest.is_empty(), "something is left"),
                Err(violation) => return (packets, Some(violation)),
            }
            watch.look(decoder.held());
        }
    }
    (packets, None)
}

/// A decoder whose client has connected with this version.
fn connected(version: Option<Version>) -> Decoder {
    let mut decoder = Decoder::new(100);
    if let Some(version) = version {
        let connected = decoder.decode(&mut client::connect(version).into());
        assert!(matches!(connected, Ok(Some(Packet::Connect(_)))), "{connected:?}");
        assert_eq!(decoder.version(), Some(version));
    }
    decoder
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
        Self { most, come: 0, held: 0, growths: 0 }
    }

    fn look(&mut self, held: usize) {
        assert!(held <= self.most.max(MIN_HELD), "{held} bytes are held of at most {}", self.most);
        assert!(held <= (2 * self.come).max(MIN_HELD), "{held} bytes are held, and {} have come", self.come);
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
pub fn cut(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut pieces, mut state) = (Vec::new(), u32::from(seed));
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + (state >> 28) as usize));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// A packet stays the same if it is sent again. The version is the one that has connected before it.
pub fn encodes(packet: &Packet, version: Option<Version>) {
    let (before, version) = match packet {
        Packet::Connect(connect) => (None, connect.version),
        _ => (version, version.unwrap_or(Version::V5)),
    };
    if let Packet::Connect(connect) = packet {
        check_connect(connect);
    }
    let bytes = client::bytes(packet, version);
    assert_eq!(decode(1 << 20, before, [&bytes[..]]), (vec![packet.clone()], None), "{bytes:02x?}");
}

/// What only MQTT 5 has is as if it were left out.
fn check_connect(connect: &Connect) {
    if !connect.version.has_properties() {
        let will = connect.will.as_ref();
        assert!(will.is_none_or(|will| will.delay == 0 && will.properties.iter().next().is_none()));
        assert!(connect.authentication.is_none());
        assert_eq!(connect.session_expiry, if connect.clean_start { 0 } else { u32::MAX });
    }
}
