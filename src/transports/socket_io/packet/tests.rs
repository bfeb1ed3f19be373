//! Guards the packets of Socket.IO: those of its protocol document, those that the original refuses, and any text.

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// A packet in words that can be compared.
fn read(text: &str) -> Option<String> {
    let Packet { namespace, content, .. } = Packet::parse(text).ok()?;
    let args = |args: &[Json]| args.iter().map(|json| json.get()).collect::<Vec<_>>().join(" ");
    Some(match content {
        Content::Connect(None) => format!("{namespace} connect with too much"),
        Content::Connect(Some(auth)) => format!("{namespace} connect {}", Value::Object(auth)),
        Content::Disconnect => format!("{namespace} disconnect"),
        Content::Event { id, name, args: said, attachments } => {
            format!("{namespace} event {id:?} {name}: {} +{attachments}", args(&said))
        }
        Content::Ack { id, args: said, attachments } => format!("{namespace} ack {id}: {} +{attachments}", args(&said)),
    })
}

#[test]
fn the_packets_of_the_protocol_document_are_read() {
    let cases = [
        ("0", "/ connect {}"),
        (r#"0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}"#, r#"/admin connect {"sid":"oSO0OpakMV_3jnilAAAA"}"#),
        ("0/admin,", "/admin connect {}"),
        ("0/admin", "/admin connect {}"),
        (r#"0{"token":"123"}"#, r#"/ connect {"token":"123"}"#),
        (r#"2["foo"]"#, "/ event None foo:  +0"),
        (r#"2/admin,["bar"]"#, "/admin event None bar:  +0"),
        (r#"212["foo"]"#, "/ event Some(12) foo:  +0"),
        (r#"2["message",1,"2",{"3":[true]}]"#, r#"/ event None message: 1 "2" {"3":[true]} +0"#),
        (r#"51-["baz",{"_placeholder":true,"num":0}]"#, r#"/ event None baz: {"_placeholder":true,"num":0} +1"#),
        (
            r#"52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            r#"/admin event None baz: {"_placeholder":true,"num":0} {"_placeholder":true,"num":1} +2"#,
        ),
        (r#"3/admin,13["bar"]"#, r#"/admin ack 13: "bar" +0"#),
        ("3456[]", "/ ack 456:  +0"),
        (r#"61-15["bar",{"_placeholder":true,"num":0}]"#, r#"/ ack 15: "bar" {"_placeholder":true,"num":0} +1"#),
        ("1", "/ disconnect"),
        ("1/admin,", "/admin disconnect"),
        ("1/admin", "/admin disconnect"),
        // JavaScript takes a number for a name.
        ("2[7,1]", "/ event None 7: 1 +0"),
        // What looks like a placeholder is data without attachments, and no digit or key changes.
        (
            r#"2["a",{"_placeholder":true,"num":9},1.00e2,{"b":1,"a":2}]"#,
            r#"/ event None a: {"_placeholder":true,"num":9} 1.00e2 {"b":1,"a":2} +0"#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_the_original_refuses_is_malformed() {
    let long = format!("0/{},", "a".repeat(128));
    let cases = [
        "",
        "abc",
        "7",
        "9[\"a\"]",
        "ü",
        "2",
        "2[]",
        "2{}",
        "2\"a\"",
        "2[\"a\"",
        "2[\"a\"]x",
        "2[null]",
        "2[{}]",
        "2[true]",
        "2abc[\"a\"]",
        "2-1[\"a\"]",
        "299999999999999999999[\"a\"]",
        "2/admin[\"a\"]",
        "3[]",
        "31",
        "31{}",
        "0null",
        "0[]",
        "0\"a\"",
        "01",
        "1{}",
        "11",
        "4",
        "4{\"message\":\"x\"}",
        "5[\"a\"]",
        "5-[\"a\"]",
        "5a-[\"a\"]",
        "511-[\"a\"]",
        "599999999999999999999-[\"a\"]",
        "51.0-[\"a\"]",
        "51-",
        "51-[\"a\",{\"_placeholder\":true,\"num\":1}]",
        "51[\"a\"]",
        "2[\"connect\"]",
        "2[\"connect_error\"]",
        "2[\"disconnect\"]",
        "2[\"disconnecting\"]",
        "2[\"newListener\"]",
        "2[\"removeListener\"]",
        "2[\"discon\\u006eect\"]",
        "2[\"a\",\"\x1e\"]",
        &long,
    ];
    for text in cases {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn arguments_are_bounded_in_number_and_depth() {
    let many = |count: usize| format!(r#"2["a"{}]"#, ",1".repeat(count - 1));
    assert!(read(&many(MAX_ARGUMENTS)).is_some() && read(&many(MAX_ARGUMENTS + 1)).is_none());
    let deep = |levels: usize| format!(r#"2["a",{}{}]"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(read(&deep(127)).is_some() && read(&deep(128)).is_none());
    assert!(read(&format!("0{}{}", r#"{"a":"#.repeat(128), "}".repeat(128))).is_none());
}

#[test]
fn packets_are_written_as_in_the_protocol_document() {
    let placeholder = json(r#"{"_placeholder":true,"num":0}"#);
    assert_eq!(Writer::connect("/", "abc", None), r#"40{"sid":"abc"}"#);
    assert_eq!(Writer::connect("/admin", "abc", Some("p")), r#"40/admin,{"sid":"abc","pid":"p"}"#);
    assert_eq!(Writer::connect_error("/", "Not \"you\"", None), r#"44{"message":"Not \"you\""}"#);
    assert_eq!(Writer::connect_error("/x", "No", Some(&json("[1]"))), r#"44/x,{"message":"No","data":[1]}"#);
    assert_eq!(Writer::disconnect("/"), "41");
    assert_eq!(Writer::disconnect("/admin"), "41/admin,");
    assert_eq!(Writer::event("/", None, "foo", &[], 0), r#"42["foo"]"#);
    assert_eq!(Writer::event("/admin", Some(7), "foo", &[json("1"), json("[]")], 0), r#"42/admin,7["foo",1,[]]"#);
    assert_eq!(
        Writer::event("/", None, "baz", std::slice::from_ref(&placeholder), 1),
        r#"451-["baz",{"_placeholder":true,"num":0}]"#
    );
    assert_eq!(Writer::ack("/", 456, &[], 0), "43456[]");
    assert_eq!(Writer::ack("/admin", 1, &[placeholder], 1), r#"461-/admin,1[{"_placeholder":true,"num":0}]"#);
}

#[test]
fn an_event_of_a_stream_has_its_offset_behind_its_data() {
    for (namespace, offset, expected) in [
        ("/", None, r#"x42["na\"me",{"a": 1}]"#),
        ("/", Some("7"), r#"x42["na\"me",{"a": 1},"7"]"#),
        ("/custom", Some("7"), r#"x42/custom,["na\"me",{"a": 1},"7"]"#),
    ] {
        let mut buffer = b"x".to_vec();
        let data = write_event(&mut buffer, namespace, "na\"me", [r#"{"a": 1}"#], offset);
        assert_eq!(buffer, expected.as_bytes());
        assert_eq!(&buffer[data], br#"{"a": 1}"#);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text: String, kind in 0..8_u8, rest in r#"[0-9,/a\[\]{}":\-]{0,24}"#) {
        let _ = Packet::parse(&text);
        let _ = Packet::parse(&format!("{kind}{rest}"));
    }

    #[test]
    fn what_is_written_is_read_as_it_was(
        namespace in "/|/[^,]{0,20}",
        id: Option<u64>,
        name: String,
        args in prop::collection::vec(any_json(), 0..4),
    ) {
        prop_assume!(!RESERVED.contains(&name.as_str()) && namespace.len() <= MAX_NAMESPACE_BYTES);
        let args: Vec<Json> = args.iter().map(|value| json(&value.to_string())).collect();
        let text = Writer::event(&namespace, id, &name, &args, 0);
        // A payload of long polling can hold it.
        prop_assert!(!text.contains('\x1e') || namespace.contains('\x1e'));
        let Packet { namespace: read, content, .. } = Packet::parse(&text[1..]).unwrap();
        prop_assert_eq!(read, namespace.as_str());
        let Content::Event { id: read_id, name: read_name, args: read_args, attachments: 0 } = content else { panic!() };
        prop_assert_eq!((read_id, read_name), (id, name));
        let texts = |args: &[Json]| args.iter().map(|json| json.get().to_owned()).collect::<Vec<_>>();
        prop_assert_eq!(texts(&read_args), texts(&args));

        let text = Writer::ack(&namespace, id.unwrap_or(1), &args, 0);
        let Content::Ack { args: read_args, .. } = Packet::parse(&text[1..]).unwrap().content else { panic!() };
        prop_assert_eq!(texts(&read_args), texts(&args));
    }
}
