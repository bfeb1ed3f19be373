//! Guards payloads of MQTT as the data of events: any bytes come back as they were, and everybody else gets JSON.

use proptest::prelude::*;

use super::*;
use crate::domain::MAX_DEPTH;

/// The data of a payload, after it was seen that the payload follows from it.
fn data_of(payload: &[u8]) -> (String, PayloadForm) {
    let (data, form) = PayloadForm::read(payload);
    assert_eq!(form.payload_bytes(data.as_str()), payload);
    let text = data.to_string();
    let value: &RawValue = serde_json::from_str(&text).unwrap();
    assert_eq!(Payload::from_valid_json(value.get()), Ok(data), "the data is compact JSON");
    (text, form)
}

#[test]
fn a_payload_is_json_if_it_can_be_and_else_text_and_else_base64() {
    let cases: [(&[u8], &str, PayloadForm); 13] = [
        (b"", r#""""#, PayloadForm::Text),
        (b" ", r#"" ""#, PayloadForm::Text),
        (b"21.5", "21.5", PayloadForm::Data),
        (b"on", r#""on""#, PayloadForm::Text),
        (b"1 2", r#""1 2""#, PayloadForm::Text),
        ("grün\n\0".as_bytes(), r#""grün\n\u0000""#, PayloadForm::Text),
        (br#""on""#, r#""on""#, PayloadForm::Data),
        (br#"{"b":1e400,"b":[]}"#, r#"{"b":1e400,"b":[]}"#, PayloadForm::Data),
        (b"{\"a\": [1]}\n", r#"{"a":[1]}"#, PayloadForm::Raw(b"{\"a\": [1]}\n"[..].into())),
        (b"{\"a\": [1}", r#""{\"a\": [1}""#, PayloadForm::Text),
        (b"\xff\0a", r#"{"$base64":"/wBh"}"#, PayloadForm::Base64),
        (br#"{"$base64":"/wBh"}"#, r#"{"$base64":"/wBh"}"#, PayloadForm::Data),
        (b"\"\xff\"", r#"{"$base64":"Iv8i"}"#, PayloadForm::Base64),
    ];
    for (payload, data, form) in cases {
        assert_eq!(data_of(payload), (data.to_owned(), form));
    }
}

#[test]
fn json_that_is_nested_too_deep_is_text() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(data_of(nested(MAX_DEPTH).as_bytes()).1, PayloadForm::Data);
    let deep = nested(100_000);
    assert_eq!(data_of(deep.as_bytes()), (format!("\"{deep}\""), PayloadForm::Text));
}

#[test]
fn data_that_is_no_payload_of_its_form_gives_no_bytes() {
    for form in [PayloadForm::Text, PayloadForm::Base64] {
        assert!(form.payload_bytes("null").is_empty());
    }
    assert!(PayloadForm::Base64.payload_bytes(r#"{"$base64":"/"}"#).is_empty());
}

#[test]
fn everything_that_is_kept_counts_also_if_it_is_empty() {
    let empty = Published { properties: Properties::default(), ..Published::example() };
    assert_eq!(empty.bytes(), 0);
    assert!(empty.properties.are_none() && !Published::example().properties.are_none());
    let form = PayloadForm::Raw(b" 1"[..].into());
    assert_eq!(Published { form, ..empty.clone() }.bytes(), 7);
    let user_properties = vec![(String::new(), String::new()); 100];
    let properties = Properties { user_properties, ..Properties::default() };
    assert_eq!(Published { properties, ..empty }.bytes(), 1000);
}

#[test]
fn a_quality_of_service_is_0_1_or_2() {
    let all = (0..=u8::MAX).map_while(Qos::from_number).collect::<Vec<_>>();
    assert_eq!(all.iter().map(|qos| qos.number()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(all.is_sorted() && Qos::from_number(3).is_none() && Qos::from_number(255).is_none());
}

/// Bytes that are JSON more often than chance would have it, with white space and mistakes.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let near_json = r#"[ \n\t]?[\[{"]{0,3}[ 1,:"\\ua\[\]{}ü-]{0,12}[\]}"]{0,3}[ \r]?"#.prop_map(String::into_bytes);
    let json = (any::<Vec<(String, f64)>>(), any::<bool>()).prop_map(|(pairs, is_pretty)| {
        let value = serde_json::Value::from_iter(pairs);
        if is_pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap()
    });
    prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes), near_json, json]
}

proptest! {
    #[test]
    fn any_bytes_come_back_as_they_were(payload in any_payload()) {
        data_of(&payload);
    }
}

#[test]
fn data_of_another_way_is_the_payload_that_would_be_read_as_it() {
    for (data, payload) in [
        (r#""ON""#, "ON"),
        (r#""a\"b\\n""#, "a\"b\\n"),
        // These would be read as something else without their quotes.
        (r#""""#, r#""""#),
        (r#""21.5""#, r#""21.5""#),
        (r#""null""#, r#""null""#),
        (r#""\"x\"""#, r#""\"x\"""#),
        ("21.5", "21.5"),
        (r#"{"$base64":"/w=="}"#, "\u{ff}"),
        // It has other keys, or is what is text.
        (r#"{"$base64":"/w==","a":1}"#, r#"{"$base64":"/w==","a":1}"#),
        (r#"{"$base64":"T04="}"#, r#"{"$base64":"T04="}"#),
        (r#"{"$base64":"?"}"#, r#"{"$base64":"?"}"#),
    ] {
        let expected: Vec<u8> = if payload == "\u{ff}" { vec![0xff] } else { payload.into() };
        let form = PayloadForm::of_data(data);
        assert_eq!(form.payload_bytes(data), expected, "{data}");
        assert_eq!(PayloadForm::read(&expected).0.as_str(), data);
    }
}
