//! Guards that what a client sends is understood however it is cut, within bounds.

use proptest::prelude::*;

use super::*;
use crate::transports::ws::client::{ClientFrame, control, deflated, text};

/// Larger than any message of these tests.
const MOST: usize = 1 << 20;

/// What is decoded of pieces, one after another, and the violation that ends it.
fn decoded<'a>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Item>, Option<Violation>) {
    let mut items = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(violation) => return (items, Some(violation)),
            }
        }
        assert!(piece.is_empty(), "without an item, everything is taken");
    }
    (items, None)
}

fn new() -> Decoder {
    Decoder::new(MOST, true)
}

/// A fragment of a message.
fn fragment(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    ClientFrame { opcode, is_final, is_compressed: false, payload }.bytes()
}

/// A whole message, compressed.
fn compressed(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    ClientFrame { is_compressed: true, ..ClientFrame::whole(opcode, payload) }.bytes()
}

fn one_of(bytes: &[u8]) -> Item {
    let (mut items, violation) = decoded(&mut new(), [bytes]);
    assert_eq!((items.len(), violation), (1, None));
    items.remove(0)
}

fn violation(bytes: &[u8]) -> Option<Violation> {
    decoded(&mut new(), [bytes]).1
}

/// A message or a control frame of a client, and its bytes.
fn sent() -> impl Strategy<Value = (Vec<Item>, Vec<u8>)> {
    let texts = ("\\PC{0,200}", any::<bool>()).prop_map(|(string, is_compressed)| {
        let payload = if is_compressed { deflated(string.as_bytes()) } else { string.clone().into_bytes() };
        let frame = ClientFrame { is_compressed, ..ClientFrame::whole(Opcode::Text, &payload) };
        (vec![Item::Message(Message::Text(string))], frame.bytes())
    });
    let binaries = prop::collection::vec(any::<u8>(), 0..70_000).prop_map(|bytes| {
        let frame = ClientFrame::whole(Opcode::Binary, &bytes).bytes();
        (vec![Item::Message(Message::Binary(bytes.into()))], frame)
    });
    let pings = prop::collection::vec(any::<u8>(), 0..=125).prop_map(|payload| {
        let frame = control(Opcode::Ping, &payload);
        (vec![Item::Ping(payload.into())], frame)
    });
    let fragments = (prop::collection::vec("\\PC{0,30}", 2..6), any::<bool>()).prop_map(|(parts, has_pings)| {
        let (mut items, mut bytes) = (Vec::new(), Vec::new());
        for (at, part) in parts.iter().enumerate() {
            let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
            bytes.extend(fragment(opcode as u8, at == parts.len() - 1, part.as_bytes()));
            if has_pings && at < parts.len() - 1 {
                bytes.extend(control(Opcode::Pong, b"in between"));
                items.push(Item::Pong(Bytes::from_static(b"in between")));
            }
        }
        items.push(Item::Message(Message::Text(parts.concat())));
        (items, bytes)
    });
    prop_oneof![4 => texts, 1 => binaries, 2 => pings, 4 => fragments]
}

proptest! {
    #[test]
    fn everything_that_was_sent_comes_in_its_order_however_the_bytes_are_cut(
        sent in prop::collection::vec(sent(), 0..8),
        cuts in prop::collection::vec(1..4000_usize, 1..20),
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let expected: Vec<Item> = sent.into_iter().flat_map(|(items, _)| items).collect();
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded(&mut new(), pieces), (expected, None));
    }

    #[test]
    fn any_bytes_mean_the_same_at_once_and_one_at_a_time(
        bytes in prop::collection::vec(prop_oneof![Just(0x81), Just(0x80), Just(0x01), Just(0xc1), any::<u8>()], 0..300),
    ) {
        let at_once = decoded(&mut new(), [&bytes[..]]);
        prop_assert_eq!(decoded(&mut new(), bytes.chunks(1)), at_once);
    }
}

#[test]
fn a_text_that_is_not_utf8_is_found_before_it_is_whole() {
    let wrong = "κόσμε".as_bytes();
    for wrong in [&[wrong, b"\xf4\x90\x80\x80"].concat(), &[wrong, b"\xed\xa0\x80edited"].concat()] {
        // Of one frame, byte by byte: at the byte that cannot be.
        let frame = fragment(0x1, true, &[wrong, &[b'x'; 1000][..]].concat());
        let mut decoder = new();
        let at = (0..frame.len()).find(|at| decoder.decode(&mut &frame[*at..=*at]) == Err(Violation::NotUtf8));
        assert_eq!(at, Some(8 + "κόσμε".len() + 1));
        // In the first of several frames.
        assert_eq!(violation(&fragment(0x1, false, wrong)), Some(Violation::NotUtf8));
    }
    let cut = [fragment(0x1, false, &"κ".as_bytes()[..1]), fragment(0x0, true, &"κ".as_bytes()[1..])].concat();
    assert_eq!(one_of(&cut), Item::Message(Message::Text("κ".to_owned())));
    // A character whose end never comes.
    assert_eq!(violation(&fragment(0x1, true, &"κ".as_bytes()[..1])), Some(Violation::NotUtf8));
    assert_eq!(violation(&compressed(Opcode::Text, &deflated(b"\xff"))), Some(Violation::NotUtf8));
}

#[test]
fn frames_that_have_no_place_where_they_stand_are_a_violation() {
    for (frames, what) in [
        (fragment(0x0, true, b"x"), "continuation of nothing"),
        ([fragment(0x1, false, b"x"), fragment(0x1, true, b"x")].concat(), "within another"),
        ([fragment(0x2, false, b""), fragment(0x2, false, b"")].concat(), "within another"),
        ([text("x"), fragment(0x0, true, b"x")].concat(), "continuation of nothing"),
    ] {
        let Some(Violation::Protocol(said)) = violation(&frames) else { panic!("{what}") };
        assert!(said.contains(what), "{said}");
    }
    let mut decoder = Decoder::new(MOST, false);
    let bytes = compressed(Opcode::Text, &deflated(b"x"));
    assert!(matches!(decoder.decode(&mut &bytes[..]), Err(Violation::Protocol(_))), "nothing was agreed upon");
}

#[test]
fn a_message_that_is_too_large_is_refused_at_its_header_and_when_it_is_announced_in_pieces() {
    let header = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), b"mask"].concat();
    for length in [MOST as u64 + 1, 1 << 40, (1 << 63) - 1] {
        assert_eq!(violation(&header(length)), Some(Violation::TooLarge), "{length}");
    }
    let mut decoder = new();
    assert_eq!(decoded(&mut decoder, [&header(MOST as u64)[..]]), (Vec::new(), None));
    assert!(decoder.held() < 64, "what is only announced takes no memory: {}", decoder.held());
    // A thousand fragments, and one byte too much.
    let part = fragment(0x0, false, &vec![0; MOST / 1024]);
    let mut decoder = new();
    assert_eq!(decoded(&mut decoder, [&fragment(0x2, false, b"")[..]]).1, None);
    for _ in 0..1024 {
        assert_eq!(decoded(&mut decoder, [&part[..]]).1, None);
        assert!(decoder.held() <= MOST);
    }
    assert_eq!(decoded(&mut decoder, [&fragment(0x0, true, b"x")[..]]).1, Some(Violation::TooLarge));
}

#[test]
fn a_billion_empty_fragments_take_no_memory() {
    let mut decoder = new();
    decoded(&mut decoder, [&fragment(0x1, false, b"")[..]]);
    let empty = fragment(0x0, false, b"").repeat(10_000);
    assert_eq!(decoded(&mut decoder, [&empty[..]]), (Vec::new(), None));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn memory_grows_with_what_has_come_and_is_given_back() {
    let bytes = fragment(0x2, true, &vec![7; 900_000]);
    let mut decoder = new();
    let mut come = 0;
    for end in [1000, 10_000, 300_000, 899_000] {
        assert_eq!(decoded(&mut decoder, [&bytes[come..end]]).0, []);
        assert!((end - 14..=2 * end).contains(&decoder.held()), "{} of {end}", decoder.held());
        come = end;
    }
    assert_eq!(decoded(&mut decoder, [&bytes[come..]]).0.len(), 1);
    assert_eq!(decoder.held(), 0);
}

#[test]
fn a_message_in_many_small_fragments_is_moved_seldom() {
    let mut decoder = new();
    decoded(&mut decoder, [&fragment(0x2, false, b"x")[..]]);
    let (part, mut growths, mut held) = (fragment(0x0, false, b"x"), 0, decoder.held());
    for come in 2..=100_000 {
        assert_eq!(decoded(&mut decoder, [&part[..]]), (Vec::new(), None));
        growths += usize::from(decoder.held() != held);
        held = decoder.held();
        assert!(held <= 2 * come, "{held} for {come}");
    }
    assert!(growths <= 17, "it was moved {growths} times");
}

#[test]
fn a_compressed_message_is_inflated_no_further_than_a_message_may_be_long() {
    let most = 100_000;
    let bomb = |length| compressed(Opcode::Binary, &deflated(&vec![b'x'; length]));
    let decode = |bytes: &[u8]| decoded(&mut Decoder::new(most, true), [bytes]);
    let (items, _) = decode(&bomb(most));
    assert_eq!(items, [Item::Message(Message::Binary(vec![b'x'; most].into()))]);
    for length in [most + 1, 50_000_000] {
        assert!(bomb(length).len() < 60_000);
        assert_eq!(decode(&bomb(length)).1, Some(Violation::TooLarge), "{length}");
    }
    // What cannot be compressed may be a little longer than it is.
    let mut random = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    })
    .take(most)
    .collect();
    let bytes = compressed(Opcode::Binary, &deflated(&noise));
    assert!(bytes.len() > most);
    assert_eq!(decode(&bytes).0, [Item::Message(Message::Binary(noise.into()))]);
}

#[test]
fn what_is_marked_as_compressed_and_is_not_is_a_violation_and_blocks_that_end_are_bounded() {
    assert_eq!(violation(&compressed(Opcode::Text, b"\xff\xff\xff")), Some(Violation::NotDeflate));
    // RFC 7692, sections 7.2.3.1 to 7.2.3.4: compressed, in two blocks, not compressed, and in a last block.
    for (payload, expected) in [
        (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
        (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
        (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
        (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
        (&[0x00], ""),
    ] {
        assert_eq!(one_of(&compressed(Opcode::Text, payload)), Item::Message(Message::Text(expected.to_owned())));
    }
    // An empty last block, again and again: each would have the inflater made anew.
    let lasts = |times| compressed(Opcode::Text, &[&[0x03, 0x00].repeat(times)[..], &[0x00]].concat());
    assert_eq!(one_of(&lasts(10)), Item::Message(Message::Text(String::new())));
    assert_eq!(violation(&lasts(100)), Some(Violation::NotDeflate));
}

#[test]
fn messages_that_are_passed_over_are_not_kept_or_looked_at_and_control_frames_among_them_are_items() {
    let mut decoder = new();
    let begun = fragment(0x1, false, &vec![b'x'; 10_000]);
    let (begin, rest) = begun.split_at(begun.len() - 1);
    assert_eq!(decoded(&mut decoder, [begin]), (Vec::new(), None));
    assert!(decoder.held() > 0);
    decoder.skip_messages();
    assert_eq!(decoder.held(), 0);
    let late = [
        fragment(0x0, true, b"\xff"),
        compressed(Opcode::Text, b"\xff\xff\xff"),
        fragment(0x2, true, &vec![0; 3 << 20]),
        fragment(0x1, false, b"\xff"),
        fragment(0x9, true, b"p"),
        fragment(0x0, true, b""),
    ];
    let bytes = [rest, &late.concat()].concat();
    for cut in [1, 7, 5000] {
        let mut decoder = new();
        assert_eq!(decoded(&mut decoder, [begin]), (Vec::new(), None));
        decoder.skip_messages();
        let items = decoded(&mut decoder, bytes.chunks(cut));
        assert_eq!(items, (vec![Item::Ping(Bytes::from_static(b"p"))], None), "in pieces of {cut}");
        assert_eq!(decoder.held(), 0);
    }
}
