use std::sync::Arc;

use crate::error::Error;

/// An e-mail address that is well formed and not of a throw-away provider (the `mailchecker` list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(Arc<str>);

impl Email {
    /// # Errors
    /// [`Error::EmailInvalid`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        // RFC 5321, section 4.5.3.1.3: a path has at most 256 octets, two of them its brackets.
        if text.len() <= 254 && mailchecker::is_valid(text) { Ok(Self(text.into())) } else { Err(Error::EmailInvalid) }
    }

    /// Takes an address that [`Email::parse`] accepted earlier and the store kept.
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
