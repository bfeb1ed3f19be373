//! What must hold for any text of a client. Fuzzing (`fuzz/`) searches for texts for which it does not, and `cargo test` replays what
//! that has found worth keeping.

use serde_json::{Map, Value};

use super::assembler::{Assembled, Assembler};
use super::engine_packet::{CLOSE, EnginePacket, NOOP, SEPARATOR, write_binary};
use super::outbox::{Frame, Outbox};
use super::packet::{Content, Json, MAX_ATTACHMENTS, Packet, Writer, write_event};

/// How large a packet may be with its attachments, in bytes.
const MAX_BYTES: usize = 4096;
/// How many packets a payload has at most, for python-engineio.
const MAX_PACKETS: usize = 16;

/// A payload of long polling.
///
/// - Each packet is what it was before it was written.
/// - Packets come out of an outbox as they went in, in payloads of at most 16, and it holds nothing then.
pub fn payload(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let packets: Vec<_> = text.split(SEPARATOR).filter_map(EnginePacket::parse).collect();
    let mut outbox = Outbox::default();
    let mut chunk = String::new();
    for packet in &packets {
        let written = written(packet);
        assert_eq!(EnginePacket::parse(&written).as_ref(), Some(packet), "{written}");
        // Messages in a row are a piece of an event stream.
        if let EnginePacket::Message(_) = packet {
            chunk.extend((!chunk.is_empty()).then_some(SEPARATOR));
            chunk += &written;
            continue;
        }
        push_chunk(&mut outbox, &mut chunk);
        outbox.push(match packet {
            EnginePacket::Binary(bytes) => Frame::Binary(bytes.clone()),
            _ => Frame::text(written),
        });
    }
    push_chunk(&mut outbox, &mut chunk);
    let mut come = packets.iter();
    while !outbox.is_empty() {
        let payload = outbox.take_payload();
        let payload = std::str::from_utf8(&payload).expect("a payload is UTF-8");
        assert!(payload.split(SEPARATOR).count() <= MAX_PACKETS);
        for packet in payload.split(SEPARATOR) {
            assert_eq!(EnginePacket::parse(packet).as_ref(), come.next());
        }
    }
    assert!(come.next().is_none() && outbox.held() == 0 && !outbox.has_chunk());
}

fn push_chunk(outbox: &mut Outbox, chunk: &mut String) {
    if !chunk.is_empty() {
        outbox.push(Frame::Chunk(std::mem::take(chunk).into()));
    }
}

fn written(packet: &EnginePacket<'_>) -> String {
    match packet {
        EnginePacket::Close => CLOSE.to_owned(),
        EnginePacket::Ping(text) => format!("2{text}"),
        EnginePacket::Pong => "3".to_owned(),
        EnginePacket::Message(text) => format!("4{text}"),
        EnginePacket::Upgrade => "5".to_owned(),
        EnginePacket::Nothing => NOOP.to_owned(),
        EnginePacket::Binary(bytes) => {
            let mut text = String::new();
            write_binary(bytes, &mut text);
            text
        }
    }
}

/// Packets of Socket.IO with their attachments, as a payload of long polling has them.
///
/// - What is held of an incomplete packet is counted, and nothing is held once it is complete.
/// - A packet is no larger than the text that it was, within all limits.
/// - It is the same if it is written and read again.
pub fn packets(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (mut assembler, mut come) = (Assembler::default(), 0);
    for packet in text.split(SEPARATOR) {
        come += packet.len();
        let assembled = match EnginePacket::parse(packet) {
            Some(EnginePacket::Message(text)) => assembler.text(text),
            Some(EnginePacket::Binary(bytes)) => assembler.binary(bytes, MAX_BYTES),
            _ => continue,
        };
        match assembled {
            Ok(Some(assembled)) => {
                assert_eq!(assembler.held(), 0);
                check(&assembled, come);
                come = 0;
            }
            Ok(None) => assert!((1..=4 * come + MAX_ATTACHMENTS * 64).contains(&assembler.held())),
            // The session ends. What follows is another one's.
            Err(_) => (assembler, come) = (Assembler::default(), 0),
        }
    }
}

fn check(assembled: &Assembled, come: usize) {
    let Assembled { packet, attachments } = assembled;
    let Packet { namespace, content, .. } = packet;
    assert_eq!(attachments.len(), packet.attachments());
    assert!(attachments.len() <= MAX_ATTACHMENTS);
    assert!(attachments.is_empty() || attachments.iter().map(|one| one.len()).sum::<usize>() <= MAX_BYTES);
    assert!(namespace.starts_with('/') && !namespace.contains(',') && namespace.len() <= 128);
    // A name that is a number may be written with more digits.
    assert!(size(content) <= come + 24, "{} of {come} bytes", size(content));
    let Some(again) = rewritten(packet) else { return };
    let read = Packet::parse(&again).unwrap_or_else(|_| panic!("{again} cannot be read"));
    assert_eq!(read.namespace, *namespace);
    assert_eq!(format!("{:?}", read.content), format!("{content:?}"), "{again}");
    if let Content::Event { name, args, .. } = content
        && let [data] = &args[..]
    {
        of_stream(namespace, name, data);
    }
}

/// What a packet says, in bytes of JSON.
fn size(content: &Content) -> usize {
    match content {
        Content::Event { name, args, .. } => {
            assert!(!matches!(name.as_str(), "connect" | "connect_error" | "disconnect" | "newListener"));
            assert!(args.len() < 256);
            // An escape takes more than what it stands for.
            name.len() + args.iter().map(|json| json.get().len()).sum::<usize>()
        }
        Content::Ack { args, .. } => {
            assert!(args.len() <= 256);
            args.iter().map(|json| json.get().len()).sum()
        }
        Content::Connect(auth) => auth.iter().flat_map(Map::keys).map(String::len).sum(),
        Content::Disconnect => 0,
    }
}

/// The packet as a client sends it; `None` for one with a number that is rounded when it is written.
fn rewritten(packet: &Packet) -> Option<String> {
    let Packet { namespace, content, .. } = packet;
    let written = match content {
        Content::Event { id, name, args, attachments } => Writer::event(namespace, *id, name, args, *attachments),
        Content::Ack { id, args, attachments } => Writer::ack(namespace, *id, args, *attachments),
        Content::Disconnect => Writer::disconnect(namespace),
        Content::Connect(auth) => {
            let auth = Value::Object(auth.clone()?);
            if has_fraction(&auth) {
                return None;
            }
            format!("40{namespace},{auth}")
        }
    };
    written.strip_prefix('4').map(str::to_owned)
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(entries) => entries.values().any(has_fraction),
        _ => false,
    }
}

/// An event of a stream is read as what was written, and its data stands where it is said to.
fn of_stream(namespace: &str, name: &str, data: &Json) {
    let mut buffer = b"before".to_vec();
    let place = write_event(&mut buffer, namespace, name, [data.get()], Some("17"));
    assert_eq!(&buffer[place], data.get().as_bytes());
    let text = std::str::from_utf8(&buffer).ok().and_then(|text| text.strip_prefix("before4"));
    let read = text.and_then(|text| Packet::parse(text).ok()).expect("it can be read");
    let Content::Event { id: None, name: again, args, attachments: 0 } = read.content else { panic!("{read:?}") };
    let [again_data, offset] = &args[..] else { panic!("{args:?}") };
    assert_eq!((again.as_str(), again_data.get(), offset.get()), (name, data.get(), "\"17\""));
}
