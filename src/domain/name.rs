use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// The maximum length of a username, tenant name or event name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Texts that end or split a field of an SSE frame for `broker-client` 0.0.8, which cuts a frame at the first of them.
const FIELD_PREFIXES: [&str; 4] = ["data:", "event:", "id:", "retry:"];

/// Characters that some client drops at the ends of a name: white space in Unicode, and white space for JavaScript's
/// `trim` and for earlier versions of it and of other languages.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{180e}' | '\u{200b}')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

/// Declares a name: cheap to clone, ordered by its bytes, created only by `parse`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A username: 1 to 256 bytes without control characters, and without a colon, which HTTP Basic cannot carry in a
    /// user-id (RFC 7617, section 2). It is unique in the database, compared byte by byte. New users have stricter
    /// rules: [`super::NewUsername`].
    Username
}

name! {
    /// A tenant. Its users see each other's events, and nobody else does.
    TenantName
}

name! {
    /// An event name: 1 to 256 bytes without control characters, line breaks, or the start of an SSE field. Earlier
    /// versions allowed names with blanks at their ends; no new event has one ([`EventName::is_trimmed`]).
    EventName
}

/// So that a map by names can be searched with text.
impl std::borrow::Borrow<str> for EventName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Username {
    /// Parses a username.
    ///
    /// # Errors
    /// [`Error::UsernameInvalid`] if it breaks the rules above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plain(text) && !text.contains(':') { Ok(Self(text.into())) } else { Err(Error::UsernameInvalid) }
    }

    /// Whether it is one segment of a path. Users of earlier versions may have a `/` in their names.
    pub fn is_one_segment(&self) -> bool {
        !self.0.contains('/')
    }
}

impl TenantName {
    /// Parses a tenant name.
    ///
    /// # Errors
    /// [`Error::TenantNameInvalid`] for an empty or too long name, or one with control characters.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plain(text) { Ok(Self(text.into())) } else { Err(Error::TenantNameInvalid) }
    }
}

impl EventName {
    /// Parses an event name.
    ///
    /// # Errors
    /// [`Error::EventNameInvalid`] if it breaks the rules above. With a line break, one user could inject frames into
    /// the streams of all others.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // U+2028 and U+2029 are no control characters in Unicode, but some readers treat them as line breaks.
        let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
        if is_plain(text) && !text.contains(breaks) && !FIELD_PREFIXES.iter().any(|prefix| text.contains(prefix)) {
            Ok(Self(text.into()))
        } else {
            Err(Error::EventNameInvalid)
        }
    }
}

impl EventName {
    /// Whether no client can mistake it for another name. The SSE standard drops one space after the colon of a field,
    /// and many clients drop all white space around its value. To them, `" $reset"` would be a control event, and `"
    /// @bob/x"`, which every user may insert and see, would seem to come from an inbox.
    pub fn is_trimmed(&self) -> bool {
        !self.0.starts_with(is_blank) && !self.0.ends_with(is_blank)
    }

    /// Whether the name is reserved for the server.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_name_that_could_forge_a_field_is_refused() {
        for bad in ["", "a\nb", "a\rb", "a\u{0}b", "a\u{85}b", "x data:y", "event:", "my id:", "retry: 1", "a\u{2028}b"]
        {
            assert!(EventName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["news", "chat/room 1", "a:b", "Ünïcödé", "data", "id", "$odd_but-fine"] {
            assert!(EventName::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn every_character_that_a_client_may_drop_at_the_ends_of_a_name_is_a_blank() {
        // White space and line ends of ECMA-262, sections 12.2 and 12.3, and of Unicode.
        let blanks = "\u{9}\u{a}\u{b}\u{c}\u{d} \u{85}\u{a0}\u{1680}\u{180e}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\
                      \u{2007}\u{2008}\u{2009}\u{200a}\u{200b}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
        for blank in blanks.chars() {
            assert!(is_blank(blank), "{blank:?}");
            for name in [format!("{blank}a"), format!("a{blank}"), blank.to_string()] {
                assert!(!EventName::parse(&name).is_ok_and(|name| name.is_trimmed()), "{name:?}");
            }
        }
        for name in ["a", "a b", "a\u{a0}b", "chat/❤\u{fe0f}", "_", "\u{200d}a"] {
            assert!(EventName::parse(name).unwrap().is_trimmed(), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_at_most_256_bytes() {
        assert!(EventName::parse(&"é".repeat(128)).is_ok());
        assert!(EventName::parse(&"é".repeat(129)).is_err());
    }

    #[test]
    fn a_username_has_no_colon_since_basic_could_not_carry_it() {
        assert!(Username::parse("a:b").is_err());
        assert!(TenantName::parse("a:b").is_ok());
    }
}
