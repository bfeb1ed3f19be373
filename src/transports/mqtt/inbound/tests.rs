//! Guards what is kept for a client of the topics that it has aliases for.

use super::*;

/// The topic of a message with this one and an alias.
fn topic(inbound: &mut Inbound, topic: &str, alias: u16) -> Option<Box<str>> {
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
    let topic = topic.to_owned();
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties,
        payload: bytes::Bytes::new(),
    };
    inbound.topic(&publish).ok()
}

#[test]
fn a_text_that_is_no_topic_takes_no_memory_under_its_alias_and_is_refused_by_it() {
    let mut inbound = Inbound::default();
    let (longest, too_long) = ("x".repeat(256), "x".repeat(65_535));
    for alias in 1..=MAX_ALIASES {
        assert_eq!(topic(&mut inbound, &longest, alias).as_deref(), Some(&*longest));
        assert_eq!(topic(&mut inbound, "", alias).as_deref(), Some(&*longest));
    }
    for alias in 1..=MAX_ALIASES {
        for given in [&too_long, ""] {
            let taken = topic(&mut inbound, given, alias).unwrap();
            assert_eq!(EventName::parse(&taken), Err(Error::EventNameInvalid));
        }
    }
    assert_eq!(inbound.aliases.iter().flatten().map(|topic| topic.len()).sum::<usize>(), 0);
}
