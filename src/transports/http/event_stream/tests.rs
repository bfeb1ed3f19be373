//! Guards what a stream of Server-Sent Events says, byte by byte.

use std::collections::HashSet;

use super::*;
use serde_json::Value;

use crate::domain::{Epoch, Event, Position, Published, Username};
use crate::events::Reset;

const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

/// The frame of an event, which must say rightly where the data is.
fn frame_of(event: &EventParts<'_>, shape: Shape) -> String {
    let mut buffer = b"before".to_vec();
    let at = EventStream::bare(shape).event(event, &mut buffer).unwrap();
    let before: &[u8] = if shape == Shape::Plain { b"data:" } else { b"\"data\":" };
    assert!(buffer[..at.start].ends_with(before));
    assert_eq!(value(std::str::from_utf8(&buffer[at]).unwrap()), value(event.data));
    String::from_utf8(buffer.split_off("before".len())).unwrap()
}

fn frame(name: &str, data: &str) -> String {
    frame_of(&EventParts { name, data, ..EventParts::of(&Event::example(7, "news", "1"), ID) }, Shape::Plain)
}

fn enveloped(name: &str, data: &str, username: &str) -> String {
    frame_of(
        &EventParts { name, data, username, ..EventParts::of(&Event::example(7, "news", "1"), ID) },
        Shape::Envelope,
    )
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn control(control: &ControlEvent<'_>) -> String {
    let mut buffer = Vec::new();
    EventStream::bare(Shape::Plain).control(control, ID, &mut buffer);
    let mut with_envelope = Vec::new();
    EventStream::bare(Shape::Envelope).control(control, ID, &mut with_envelope);
    assert_eq!(buffer, with_envelope);
    String::from_utf8(buffer).unwrap()
}

#[test]
fn an_event_is_event_id_data_without_spaces() {
    let expected = "event:news\nid:0000000000000007000042\ndata:{\"b\":1,\"a\":[2]}\n\n";
    assert_eq!(frame("news", r#"{"b":1,"a":[2]}"#), expected);
}

#[test]
fn with_an_envelope_the_data_is_the_whole_event_as_an_object() {
    let object = r#"{"event":"news","data":{"b":1,"a":[2]},"id":"0000000000000007000042","timestamp":1795327184269,"username":"bob"}"#;
    let expected = format!("event:news\nid:0000000000000007000042\ndata:{object}\n\n");
    assert_eq!(enveloped("news", r#"{"b":1,"a":[2]}"#, "bob"), expected);
}

#[test]
fn in_frames_every_message_is_data_alone_as_over_a_websocket() {
    let object =
        r#"{"event":"news","data":1,"id":"0000000000000007000042","timestamp":1795327184269,"username":"bob"}"#;
    let event = Event::example(7, "news", "1");
    let frame = frame_of(&EventParts { username: "bob", ..EventParts::of(&event, ID) }, Shape::Frames);
    assert_eq!(frame, format!("data:{object}\n\n"));
    let mut control = Vec::new();
    let left = ControlEvent::Left { name: "a" };
    EventStream::bare(Shape::Frames).control(&left, ID, &mut control);
    let object = String::from_utf8(control).unwrap();
    let object = value(object.strip_prefix("data:").unwrap().strip_suffix("\n\n").unwrap());
    assert_eq!(object, json!({ "event": "$left", "data": { "event": "a" }, "id": ID.to_string() }));
    assert_eq!(EventStream::bare(Shape::Frames).heartbeat(), b"data:{}\n\n");
    let id = StreamId::parse("c4429f81d667fdad").unwrap();
    assert_eq!(
        EventStream::bare(Shape::Frames).opening(id, false),
        "data:{\"ok\":{\"stream\":\"c4429f81d667fdad\"}}\n\n"
    );
    assert_eq!(
        EventStream::chunked(Shape::Frames).opening(id, false),
        "2b\r\ndata:{\"ok\":{\"stream\":\"c4429f81d667fdad\"}}\n\n\r\n"
    );
    assert_eq!(EventStream::chunked(Shape::Envelope).opening(id, false), "");
}

#[test]
fn only_a_stream_that_says_so_tells_when_to_come_back() {
    let id = StreamId::parse("c4429f81d667fdad").unwrap();
    let (bare, chunked) = (EventStream::bare(Shape::Plain), EventStream::chunked(Shape::Plain));
    assert_eq!((bare.opening(id, true).as_str(), bare.opening(id, false).as_str()), ("retry:2000\n", ""));
    assert_eq!(chunked.opening(id, true), "b\r\nretry:2000\n\r\n");
    assert!(EventStream::bare(Shape::Frames).opening(id, true).starts_with("retry:2000\ndata:{"));
    let stopping = Ending::untold(End::Stopping { back_in: 1500 });
    assert_eq!(bare.last(stopping, true), "retry:1500\n");
    assert_eq!(bare.last(stopping, false), "");
    assert_eq!(bare.last(Ending::untold(End::Expired), true), "");
}

#[test]
fn properties_of_mqtt_are_in_no_shape() {
    let event = Event::example(7, "news", "1");
    let published = Some(std::sync::Arc::new(Published::example()));
    let with = Event { published, ..event.clone() };
    for shape in [Shape::Plain, Shape::Envelope, Shape::Frames] {
        let [with, without] = [&with, &event].map(|event| frame_of(&EventParts::of(event, ID), shape));
        assert_eq!(with, without);
    }
}

#[test]
fn nothing_is_wasted_on_an_event_that_is_kept() {
    let event = Event::example(7, "news", r#"{"b":1,"a":[2]}"#);
    for shape in [Shape::Plain, Shape::Envelope, Shape::Frames] {
        let mut buffer = Vec::new();
        EventStream::bare(shape).event(&EventParts::of(&event, ID), &mut buffer);
        assert_eq!(buffer.capacity(), buffer.len());
    }
}

#[test]
fn streams_that_get_other_bytes_have_another_key_and_events_are_shared_whatever_the_framing_is() {
    let shapes = [Shape::Plain, Shape::Envelope, Shape::Frames];
    let [bare, chunked] = [EventStream::bare, EventStream::chunked].map(|of| shapes.map(|shape| of(shape).key()));
    assert_eq!(bare.map(|key| key.encoding), chunked.map(|key| key.encoding));
    assert!(bare.iter().all(|key| key.framing == bare[0].framing && key.framing != chunked[0].framing));
    let encodings: HashSet<_> = bare.iter().map(|key| key.encoding).collect();
    assert_eq!(encodings.len(), shapes.len());
}

#[test]
fn a_name_of_an_earlier_version_cannot_be_taken_for_another() {
    for (name, sent) in [
        (" $reset", "\u{fffd}$reset"),
        ("\u{feff} @bob/x \u{3000}", "\u{fffd}\u{fffd}@bob/x\u{fffd}\u{fffd}"),
        (" ", "\u{fffd}"),
        ("a b", "a b"),
    ] {
        assert!(frame(name, "1").starts_with(&format!("event:{sent}\nid:")), "{name:?}");
        // In an envelope it stands in quotes, from which nothing is dropped: there it is the name that it is.
        let (line, object) = enveloped(name, "1", "bob")
            .split_once("data:")
            .map(|(line, object)| (line.to_owned(), value(object)))
            .unwrap();
        assert!(line.starts_with(&format!("event:{sent}\nid:")), "{name:?}");
        assert_eq!(object["event"], *name);
    }
}

#[test]
fn data_is_ascii_and_means_the_same() {
    let data = r#"["Grüße","日本","😀","a\u00e9\\é"]"#;
    let frame = frame("n", data);
    assert!(frame.is_ascii());
    let sent = frame.split_once("data:").unwrap().1;
    assert!(sent.contains("\\ud83d\\ude00"));
    assert_eq!(value(sent), value(data));
}

#[test]
fn an_envelope_is_ascii_in_all_of_its_fields_and_means_the_same() {
    let (name, data, username) = ("grüße/日本 \"😀\"", r#"["Grüße","a\u00e9"]"#, "zoë \\ 李");
    let frame = enveloped(name, data, username);
    let (line, sent) = frame.split_once("data:").unwrap();
    assert!(line.starts_with(&format!("event:{name}\n")) && sent.is_ascii(), "{frame}");
    let object = value(sent);
    assert_eq!(
        [&object["event"], &object["username"], &object["data"]],
        [&name.into(), &username.into(), &value(data)]
    );
}

#[test]
fn nothing_in_the_data_looks_like_the_retry_field() {
    let data = r#"{"retry: x":"retry:retry:","\retry:":1,"retry":2}"#;
    let (frame, enveloped) = (frame("n", data), enveloped("retry", data, "retry"));
    assert!(!frame.contains("retry:") && !enveloped.contains("retry:"));
    assert_eq!(value(frame.split_once("data:").unwrap().1), value(data));
    assert_eq!(value(enveloped.split_once("data:").unwrap().1)["data"], value(data));
}

#[test]
fn each_control_event_is_an_event_with_a_name_of_its_own() {
    let id = "id:0000000000000007000042\ndata:";
    let bob = Username::parse("bob").unwrap();
    for (event, expected) in [
        (
            ControlEvent::Synced { change: None },
            format!("event:$synced\n{id}{{\"id\":\"0000000000000007000042\"}}\n\n"),
        ),
        (
            ControlEvent::Synced { change: Some(3) },
            format!("event:$synced\n{id}{{\"change\":3,\"id\":\"0000000000000007000042\"}}\n\n"),
        ),
        (ControlEvent::Reset(Reset::NotKept), format!("event:$reset\n{id}{{\"reason\":\"not_kept\"}}\n\n")),
        (
            ControlEvent::Presence { username: &bob, person: None },
            format!("event:$presence/bob\n{id}{{\"online\":false}}\n\n"),
        ),
        (ControlEvent::End(End::Revoked), format!("event:$end\n{id}{{\"reason\":\"revoked\",\"retry\":null}}\n\n")),
        (
            ControlEvent::End(End::Stopping { back_in: 1234 }),
            format!("retry:1234\nevent:$end\n{id}{{\"reason\":\"stopping\",\"retry\":1234}}\n\n"),
        ),
        (ControlEvent::Left { name: "grün" }, format!("event:$left\n{id}{{\"event\":\"gr\\u00fcn\"}}\n\n")),
    ] {
        assert_eq!(control(&event), expected);
    }
}

#[test]
fn a_chunk_is_its_length_in_hexadecimal_and_its_content() {
    for length in [1, 15, 16, 255, 256, 4095, 4096, 70_000] {
        let name = "x".repeat(length);
        let left = || [ControlEvent::Left { name: &name }];
        let bare = (EventStream::bare(Shape::Plain) as &dyn Format).controls(left(), ID);
        let chunk = (EventStream::chunked(Shape::Plain) as &dyn Format).controls(left(), ID);
        assert_eq!(chunk, [format!("{:x}\r\n", bare.len()).as_bytes(), &bare, b"\r\n"].concat());
    }
}
