//! Arguments as they are received: how deep they go, and what stands in them for binary attachments.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::malformed::Malformed;

/// Checks that the JSON of a packet goes no deeper than serde_json reads (128 levels), and that each of its placeholders
/// `{"_placeholder":true,"num":0}` is for one of the attachments. A packet without attachments has no placeholders: what looks like one
/// is data.
///
/// # Errors
/// [`Malformed`].
pub fn check(json: &str, attachments: Option<usize>) -> Result<(), Malformed> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let seen = Look { attachments }.deserialize(&mut deserializer);
    seen.and_then(|_| deserializer.end()).map_err(|_| Malformed)
}

/// Looks at a value without keeping it.
#[derive(Clone, Copy)]
struct Look {
    attachments: Option<usize>,
}

/// What a value is, as far as it matters for a placeholder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Look {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look {
    type Value = Seen;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
        Ok(if value { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut values: S) -> Result<Seen, S::Error> {
        while values.next_element_seed(self)?.is_some() {}
        Ok(Seen::Other)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut entries: M) -> Result<Seen, M::Error> {
        let Some(attachments) = self.attachments else {
            while entries.next_key::<IgnoredAny>()?.is_some() {
                entries.next_value_seed(self)?;
            }
            return Ok(Seen::Other);
        };
        let (mut is_placeholder, mut number) = (false, Seen::Other);
        while let Some(key) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = entries.next_value_seed(self)?;
            // The last one of a key counts, as in JavaScript.
            match &*key {
                "_placeholder" => is_placeholder = value == Seen::True,
                "num" => number = value,
                _ => {}
            }
        }
        let is_known = matches!(number, Seen::Number(number) if number < attachments as u64);
        if is_placeholder && !is_known {
            return Err(M::Error::custom("a placeholder stands for no attachment"));
        }
        Ok(Seen::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_stands_for_an_attachment() {
        let nested = |number: &str| format!(r#"["a",{{"b":[{{"_placeholder":true,"num":{number}}}]}}]"#);
        for (number, attachments, is_right) in
            [("0", 1, true), ("1", 2, true), ("1", 1, false), ("-1", 1, false), ("0.0", 1, false), ("\"0\"", 1, false)]
        {
            assert_eq!(check(&nested(number), Some(attachments)).is_ok(), is_right, "{number} of {attachments}");
            assert!(check(&nested(number), None).is_ok(), "without attachments it is data");
        }
        for (json, is_right) in [
            (r#"[{"num":0,"_placeholder":true}]"#, true),
            (r#"[{"_placeholder":true}]"#, false),
            (r#"[{"_placeholder":false}]"#, true),
            (r#"[{"_placeholder":1}]"#, true),
            (r#"[{"\u005fplaceholder":true}]"#, false),
        ] {
            assert_eq!(check(json, Some(1)).is_ok(), is_right, "{json}");
        }
    }

    #[test]
    fn arguments_go_at_most_127_levels_deep() {
        for attachments in [None, Some(1)] {
            let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            assert!(check(&deep(127), attachments).is_ok());
            assert!(check(&deep(128), attachments).is_err());
            assert!(check(&deep(1_000_000), attachments).is_err());
        }
        assert!(check("[] []", None).is_err());
    }
}
