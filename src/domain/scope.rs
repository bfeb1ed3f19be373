use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::is_blank;
use crate::error::Error;

/// The maximum length of a scope, in bytes.
const MAX_SCOPE_BYTES: usize = 256;
/// How many scopes one user may have.
const MAX_SCOPES: usize = 1000;

/// A scope, written `resource:operation`: one colon, and neither part is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Parses a scope.
    ///
    /// # Errors
    /// [`Error::ScopesInvalid`] for any other form. A comma is refused, too, because `aud` in a JWT joins scopes by
    /// commas.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = text.len() <= MAX_SCOPE_BYTES && !text.chars().any(|c| c.is_control() || c == ',');
        match text.split_once(':') {
            Some((resource, operation))
                if plain && !resource.is_empty() && !operation.is_empty() && !operation.contains(':') =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(Error::ScopesInvalid),
        }
    }

    /// Parses a list of scopes in its order, without duplicates.
    ///
    /// # Errors
    /// [`Error::ScopesInvalid`] if an entry is not a scope, or has blanks at an end of either part, or if there are
    /// more than 1,000.
    pub fn parse_all(texts: &[impl AsRef<str>]) -> Result<Vec<Self>, Error> {
        if texts.len() > MAX_SCOPES {
            return Err(Error::ScopesInvalid);
        }
        let mut known = HashSet::with_capacity(texts.len());
        let new = texts.iter().map(AsRef::as_ref).filter(|text| known.insert(*text));
        new.map(|text| Self::parse(text)?.trimmed()).collect()
    }

    /// The scope, if a client that drops blanks cannot mistake it for another. Earlier versions allowed such scopes.
    fn trimmed(self) -> Result<Self, Error> {
        let (resource, operation) = self.parts();
        let has_blanks = |part: &str| part.starts_with(is_blank) || part.ends_with(is_blank);
        if has_blanks(resource) || has_blanks(operation) { Err(Error::ScopesInvalid) } else { Ok(self) }
    }

    /// Parses a stored list.
    ///
    /// # Errors
    /// [`Error::ScopesInvalid`] if an entry is not a scope.
    pub fn all_from_stored(texts: &[impl AsRef<str>]) -> Result<Vec<Self>, Error> {
        texts.iter().map(AsRef::as_ref).map(Self::parse).collect()
    }

    /// The scope as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The two sides of the colon.
    pub fn parts(&self) -> (&str, &str) {
        // `parse` accepts nothing without a colon. The fallback only avoids an unwrap.
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_two_parts_and_one_colon() {
        assert_eq!(Scope::parse("news:get").unwrap().parts(), ("news", "get"));
        for bad in ["", ":", "news", "news:", ":get", "a:b:c", "a:b,c", "a:\n"] {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_scope_with_blanks_at_an_end_is_only_kept() {
        for bad in [" a:get", "a :get", "a: get", "a:get\u{a0}", "\u{feff}a:get"] {
            assert!(Scope::parse_all(&[bad]).is_err() && Scope::all_from_stored(&[bad]).is_ok(), "{bad:?}");
        }
        assert!(Scope::parse_all(&["chat room/*:get"]).is_ok());
    }

    #[test]
    fn duplicates_in_a_list_keep_their_first_place() {
        let list =
            |texts: &[&str]| Scope::parse_all(texts).map(|all| all.iter().map(Scope::to_string).collect::<Vec<_>>());
        assert_eq!(list(&["b:get", "a:get", "b:get", "c:get", "a:get"]).unwrap(), ["b:get", "a:get", "c:get"]);
        assert!(list(&["a:get", "a"]).is_err() && list(&["a:get"; 1001]).is_err());
        let kept = Scope::all_from_stored(&["a:get", "a:get"]).unwrap();
        assert_eq!(kept.len(), 2, "it is as it was written");
    }
}
