use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// The longest username, tenant name or event name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// What would end or split a field of an SSE frame for `broker-client` 0.0.8, which cuts a frame at the first of these.
const FIELD_PREFIXES: [&str; 4] = ["data:", "event:", "id:", "retry:"];

/// What some reader of a stream, or of a list, drops at the ends of a name: white space to Unicode, and what JavaScript's `trim` and
/// earlier versions of it and of other languages take for some.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{180e}' | '\u{200b}')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

/// Declares a name: cheap to clone, ordered by its bytes, made only by `parse`.
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
    /// Who signs in: 1 to 256 bytes without control characters and without a colon, which HTTP Basic cannot carry in a
    /// user-id (RFC 7617, section 2). Unique in the whole database, compared byte by byte. What a new user may be called is
    /// less: [`super::NewUsername`].
    Username
}

name! {
    /// Whose events are shared: the users of one tenant see each other's events and nobody else's.
    TenantName
}

name! {
    /// What an event is called: 1 to 256 bytes without control characters, line breaks, or the start of an SSE field. Earlier
    /// versions let in names with blanks at their ends, which no new event has: [`EventName::is_trimmed`].
    EventName
}

/// So that a table by names can be asked for what is only text yet.
impl std::borrow::Borrow<str> for EventName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Username {
    /// # Errors
    /// [`Error::UsernameInvalid`] where the rules above are broken.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plain(text) && !text.contains(':') { Ok(Self(text.into())) } else { Err(Error::UsernameInvalid) }
    }

    /// Whether it is one segment of a path: users of earlier versions may have a `/` in their names.
    pub fn is_one_segment(&self) -> bool {
        !self.0.contains('/')
    }
}

impl TenantName {
    /// # Errors
    /// [`Error::TenantNameInvalid`] for an empty or too long name, or one with control characters.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plain(text) { Ok(Self(text.into())) } else { Err(Error::TenantNameInvalid) }
    }
}

impl EventName {
    /// # Errors
    /// [`Error::EventNameInvalid`] where the rules above are broken: a line break would let one user inject frames into
    /// the streams of all the others.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // U+2028 and U+2029 are no control characters to Unicode, but they are line breaks to a reader.
        let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
        if is_plain(text) && !text.contains(breaks) && !FIELD_PREFIXES.iter().any(|prefix| text.contains(prefix)) {
            Ok(Self(text.into()))
        } else {
            Err(Error::EventNameInvalid)
        }
    }
}

impl EventName {
    /// Whether no client can take it for another name. The standard drops a space after the colon of a field, and many clients drop
    /// all white space around its value: `" $reset"` would be a mark to them, and `" @bob/x"`, which everybody may insert and
    /// see, would come out of an inbox.
    pub fn is_trimmed(&self) -> bool {
        !self.0.starts_with(is_blank) && !self.0.ends_with(is_blank)
    }

    /// Whether only the server itself says something under this name.
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
    fn what_a_client_may_drop_at_the_ends_of_a_name_is_known() {
        // White space and line ends by ECMA-262, sections 12.2 and 12.3, and by Unicode.
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
