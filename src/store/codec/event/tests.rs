//! Guards the rows of events that were published over MQTT or expire: they are read as they were written, and damage is told.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{PayloadForm, Published};

fn example(kind: EventKind, data: &str) -> Event {
    let published = Some(Arc::new(Published::example()));
    let expires_at = (kind != EventKind::Removal).then_some(Timestamp::from_millis(9));
    let by_expiry = kind == EventKind::Removal;
    Event { kind, expires_at, by_expiry, published, ..Event::example(7, &"n".repeat(256), data) }
}

/// What a row says of an event's data and of what was published, if that is in the row.
fn read(row: &[u8]) -> (StoredData<'_>, Option<Published>) {
    let parts = event_parts(row).unwrap();
    (parts.data, parts.published.map(|head| head.decode(parts.envelope).unwrap()))
}

#[test]
fn an_event_of_any_kind_has_its_moment_of_expiry_and_what_was_published() {
    for kind in [EventKind::Value, EventKind::Removal, EventKind::Transient] {
        for previous in [None, Some(Position::new(3))] {
            let event = example(kind, "[1]");
            let row = encode_event(&event, previous);
            let parts = event_parts(&row).unwrap();
            assert_eq!((parts.kind, parts.previous, parts.expires_at), (kind, previous, event.expires_at));
            assert_eq!((parts.name, parts.by_expiry), (event.name.as_str(), event.by_expiry));
            assert_eq!(parts.leaves_at().is_some(), kind == EventKind::Transient);
            assert_eq!(read(&row), (StoredData::Inline("[1]"), Some(Published::example())));
            let without = Event { published: None, expires_at: None, by_expiry: false, ..event };
            let plain = encode_event(&without, previous);
            let parts = event_parts(&plain).unwrap();
            assert!(parts.published.is_none() && parts.envelope.is_empty() && !parts.by_expiry);
            let expires = if without.kind == EventKind::Removal { 0 } else { 8 };
            assert_eq!(row.len() - plain.len(), expires + HEAD_BYTES + Published::example().bytes());
        }
    }
}

#[test]
fn another_username_leaves_the_rest_as_it_was_but_the_properties_of_a_removal() {
    let name = Username::parse("somebody else").unwrap();
    for kind in [EventKind::Value, EventKind::Removal, EventKind::Transient] {
        let event = example(kind, "null");
        let renamed = rename_event(&encode_event(&event, Some(Position::new(3))), &name).unwrap();
        let mut expected = Event { username: name.clone(), ..event };
        if kind == EventKind::Removal {
            let properties = crate::domain::Properties {
                payload_format: Published::example().properties.payload_format,
                ..Default::default()
            };
            expected.published = Some(Arc::new(Published { properties, ..Published::example() }));
        }
        assert_eq!(renamed, encode_event(&expected, Some(Position::new(3))));
    }
}

#[test]
fn what_is_large_together_with_what_was_published_is_in_chunks() {
    let raw = vec![b' '; chunks::MAX_INLINE_BYTES];
    let published = Published { form: PayloadForm::Raw(raw.into()), ..Published::example() };
    let bytes = published.bytes();
    let event = Event { published: Some(Arc::new(published)), ..example(EventKind::Value, "1") };
    let row = encode_event(&event, None);
    let parts = event_parts(&row).unwrap();
    assert_eq!((parts.data, parts.chunks(), parts.envelope), (StoredData::InChunks(1 + bytes), 2, &b""[..]));
    assert_eq!(content(&event).len(), 1 + bytes);
    // No more can have been published than the content has.
    let head = 12 + 8;
    let row = [&row[..head], &(bytes as u32 + 2).to_be_bytes(), &row[head + 4..]].concat();
    assert!(event_parts(&row).is_err());
}

proptest! {
    #[test]
    fn a_row_that_is_cut_short_or_changed_is_read_without_a_panic(cut in 0..400_usize, at in 0..400_usize, byte: u8) {
        for kind in [EventKind::Value, EventKind::Removal, EventKind::Transient] {
            let mut row = encode_event(&example(kind, "\"data\""), Some(Position::new(3)));
            let fields = 12 + 8 + HEAD_BYTES + 3 + 256;
            let is_short = cut < fields;
            prop_assert!(!is_short || event_parts(&row[..cut]).is_err());
            let changed = at % row.len();
            row[changed] = byte;
            let _ = event_parts(&row).map(|parts| parts.published.map(|head| head.decode(parts.envelope)));
            let _ = rename_event(&row, &Username::parse("u").unwrap());
        }
    }
}
