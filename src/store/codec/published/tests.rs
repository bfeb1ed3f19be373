//! Guards what was published over MQTT in the rows of events: it is read as it was written, in as many bytes as it counts for, and
//! damage is told.

use proptest::prelude::*;

use super::*;

/// Properties and a payload of any content.
pub fn any_published() -> impl Strategy<Value = Published> {
    let format = prop_oneof![Just(None), Just(Some(PayloadFormat::Bytes)), Just(Some(PayloadFormat::Text))];
    let form = prop_oneof![
        Just(PayloadForm::Data),
        Just(PayloadForm::Text),
        Just(PayloadForm::Base64),
        any::<Vec<u8>>().prop_map(|raw| PayloadForm::Raw(raw.into())),
    ];
    let texts = any::<(Option<String>, Option<String>, Option<Vec<u8>>, Vec<(String, String)>)>();
    (format, form, 0..3_u8, any::<u64>(), texts).prop_map(|(payload_format, form, qos, publisher, texts)| {
        let (content_type, response_topic, correlation_data, user_properties) = texts;
        let properties = Properties { payload_format, content_type, response_topic, correlation_data, user_properties };
        Published { form, qos: Qos::from_number(qos).unwrap(), publisher: PublisherId(publisher), properties }
    })
}

#[test]
fn what_is_not_what_was_written_is_told() {
    let published = Published::example();
    let (head, envelope) = (encode_published(&published), encode_envelope(&published));
    assert_eq!(PublishedHead(&head).decode(&envelope), Ok(published));
    let with = |flags: u8, envelope: &[u8]| {
        let mut head = head;
        head[4] = flags;
        PublishedHead(&head).decode(envelope).is_err()
    };
    assert!(!with(0, b"") && !with(head[4], b""), "the envelope is cut off by an erasure");
    // QoS 3, a payload format that does not exist, and raw bytes beside data that is the payload.
    assert!(with(3 << 2, b"") && with(3 << 4, b"") && with(0, &[RAW, 0, 0, 0, 0]) && !with(3, &[RAW, 0, 0, 0, 0]));
    // An unknown part, a name without its value, a value without its name, and a text that is none.
    assert!(with(0, &[7, 0, 0, 0, 0]) && with(0, &[0, 0, 0, 0, 0]));
    assert!(with(0, &[USER_PROPERTY_NAME, 0, 0, 0, 0]) && with(0, &[USER_PROPERTY_VALUE, 0, 0, 0, 0]));
    assert!(with(0, &[CONTENT_TYPE, 0, 0, 0, 1, 0xff]));
}

proptest! {
    #[test]
    fn it_is_read_as_it_was_written_and_is_as_long_as_it_counts_for(published in any_published()) {
        let (head, envelope) = (encode_published(&published), encode_envelope(&published));
        prop_assert_eq!(envelope.len(), published.bytes());
        let head = PublishedHead(&head);
        prop_assert_eq!(head.envelope_bytes(), envelope.len());
        prop_assert_eq!(head.decode(&envelope), Ok(published));
        for cut in 0..envelope.len() {
            // It may end between two properties, and the row says how long it is.
            let _ = head.decode(&envelope[..cut]);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(head: [u8; HEAD_BYTES], envelope: Vec<u8>) {
        let _ = PublishedHead(&head).decode(&envelope);
    }
}
