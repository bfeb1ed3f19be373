use std::fmt;
use std::sync::Arc;

/// How deep arrays and objects in a payload may be nested.
pub const MAX_DEPTH: usize = 128;

/// One JSON value as it was received, without white space between its tokens.
///
/// The order of keys, the form of numbers, and escapes in strings are kept. The value is never parsed into another
/// form, so nothing of it can be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Arc<str>);

/// Why a value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// More than [`MAX_DEPTH`] nested arrays and objects, which could exhaust the stack of a reader.
    TooDeep,
}

impl Payload {
    /// Takes one value that a JSON parser has already accepted.
    ///
    /// # Errors
    /// [`PayloadError::TooDeep`].
    pub fn from_valid_json(json: &str) -> Result<Self, PayloadError> {
        let mut compact = String::with_capacity(json.len());
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        // Runs are copied whole. Only white space outside strings ends one.
        let mut run = 0;
        for (at, byte) in json.bytes().enumerate() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(PayloadError::TooDeep);
                    }
                }
                // Valid JSON closes only what it has opened, so this never underflows.
                b']' | b'}' => depth = depth.saturating_sub(1),
                b' ' | b'\t' | b'\n' | b'\r' => {
                    compact.push_str(&json[run..at]);
                    run = at + 1;
                }
                _ => {}
            }
        }
        compact.push_str(&json[run..]);
        Ok(Self(compact.into()))
    }

    /// Restores a value that [`Payload::from_valid_json`] made earlier.
    pub fn from_stored(json: &str) -> Self {
        Self(json.into())
    }

    /// The value `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The value, on one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(json: &str) -> String {
        Payload::from_valid_json(json).unwrap().to_string()
    }

    #[test]
    fn only_white_space_between_tokens_goes() {
        assert_eq!(compact("{ \"b\" : 1 ,\r\n\t\"a b\": \"x \\\" y\" }"), r#"{"b":1,"a b":"x \" y"}"#);
        assert_eq!(compact("\"\\\\\" "), r#""\\""#);
        assert_eq!(compact(" 123456789012345678901234567890.10e+5 "), "123456789012345678901234567890.10e+5");
    }

    #[test]
    fn nesting_is_allowed_to_128_and_refused_beyond() {
        let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Payload::from_valid_json(&nested(128)).is_ok());
        assert_eq!(Payload::from_valid_json(&nested(129)), Err(PayloadError::TooDeep));
        assert!(Payload::from_valid_json(&format!("\"{}\"", "[".repeat(500))).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn the_value_stays_the_same(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            proptest::prop_assert_eq!(compact(&pretty), serde_json::to_string(&value).unwrap());
        }
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,8}".prop_map(serde_json::Value::from),
            "[ \"\\\\\\n]{0,6}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map("[a-z \"]{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
