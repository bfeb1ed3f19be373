use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::error::Error;

/// The maximum length of a username, tenant name or event name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Texts that end or split a field of an SSE frame for `broker-client` 0.0.8, which cuts a frame at the first of them.
const FIELD_PREFIXES: [&str; 4] = ["data:", "event:", "id:", "retry:"];

/// What the name of every guest has in it, and that of no user.
const GUEST_SIGN: char = ':';
/// The name of the streams of shared subscriptions. With the sign of guests, so that no user has it.
const SHARES: &str = "mqtt_share:";

/// Characters that some client drops at the ends of a name: white space in Unicode, and white space for JavaScript's
/// `trim` and for earlier versions of it and of other languages.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{180e}' | '\u{200b}')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

/// Whether some client could take the rest of a name for another field of its frame.
fn could_forge(name: &str) -> bool {
    // U+2028 and U+2029 are no control characters in Unicode, but some readers treat them as line breaks.
    let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
    name.contains(breaks) || FIELD_PREFIXES.iter().any(|prefix| name.contains(prefix))
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
    ///
    /// Or the name of a [guest](super::Guest), which has a colon, so that nobody takes one for the other.
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
    /// Parses the name of a user.
    ///
    /// # Errors
    /// [`Error::UsernameInvalid`] if it breaks the rules above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plain(text) && !text.contains(GUEST_SIGN) { Ok(Self(text.into())) } else { Err(Error::UsernameInvalid) }
    }

    /// The name of a guest: where their token is from, a colon, and whom it calls them. Each subject has a name of its
    /// own: one that cannot stand in a name is replaced by a colon and its SHA-256 in hexadecimal.
    pub fn of_guest(of: &str, subject: &str) -> Self {
        let name = format!("{of}{GUEST_SIGN}{subject}");
        if is_plain(&name) && !could_forge(&name) && !subject.starts_with(GUEST_SIGN) {
            return Self(name.into());
        }
        let hash = digest::digest(&digest::SHA256, subject.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{of}{GUEST_SIGN}{GUEST_SIGN}{hash}").into())
    }

    /// The name of the streams of shared subscriptions, which are nobody's alone.
    pub fn of_shares() -> Self {
        Self(SHARES.into())
    }

    /// Whether it is that name.
    pub fn is_of_shares(&self) -> bool {
        &*self.0 == SHARES
    }

    /// Restores the name of a user or a guest that was stored with what they inserted.
    ///
    /// # Errors
    /// [`Error::UsernameInvalid`] if neither can have this name.
    pub fn from_stored(text: &str) -> Result<Self, Error> {
        if is_plain(text) { Ok(Self(text.into())) } else { Err(Error::UsernameInvalid) }
    }

    /// Whether it is the name of a guest, and of no user.
    pub fn is_guest(&self) -> bool {
        self.0.contains(GUEST_SIGN)
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
        if is_plain(text) && !could_forge(text) { Ok(Self(text.into())) } else { Err(Error::EventNameInvalid) }
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

    #[test]
    fn each_guest_has_a_name_that_no_user_and_no_other_guest_has() {
        let subjects =
            ["alice", "", ":alice", "a\nb", "id:5", "a\u{2028}b", "a:b", " ", &"x".repeat(256), &"x".repeat(257)];
        let names: Vec<_> = subjects.iter().map(|subject| Username::of_guest("notiflux", subject)).collect();
        assert_eq!((names[0].as_str(), names[6].as_str()), ("notiflux:alice", "notiflux:a:b"));
        for name in &names {
            assert!(name.is_guest() && Username::parse(name.as_str()).is_err(), "{name}");
            assert_eq!(Username::from_stored(name.as_str()).as_ref(), Ok(name));
            assert!(EventName::parse(&format!("$presence/{name}")).is_ok() || name.as_str().len() > 240, "{name}");
        }
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        // The name of one cannot be had by calling oneself like the hash of another.
        let hashed = names[3].as_str().split_once(':').unwrap().1;
        assert_ne!(Username::of_guest("notiflux", hashed), names[3]);
        assert!(!Username::parse("alice").unwrap().is_guest());
    }
}
