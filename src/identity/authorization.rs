use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::domain::{Password, Secret, Username};
use crate::error::Error;

/// Base64 with or without padding, because clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A parsed `Authorization` header.
pub enum Authorization {
    /// A JWT (RFC 6750).
    Bearer(String),
    /// A name and a password (RFC 7617).
    Basic(Username, Password),
}

impl Authorization {
    /// Parses the value of the header. The scheme is case-insensitive. The password is everything after the first
    /// colon.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for anything else.
    pub fn parse(header: &[u8]) -> Result<Self, Error> {
        let header = std::str::from_utf8(header).map_err(|_| Error::Unauthorized)?;
        let (scheme, value) = header.trim().split_once(' ').ok_or(Error::Unauthorized)?;
        let value = value.trim_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Error::Unauthorized);
        }
        let decoded = Secret::new(BASE64.decode(value).map_err(|_| Error::Unauthorized)?);
        let text = std::str::from_utf8(decoded.expose()).map_err(|_| Error::Unauthorized)?;
        let (username, password) = text.split_once(':').ok_or(Error::Unauthorized)?;
        Self::basic(username, password)
    }

    fn basic(username: &str, password: &str) -> Result<Self, Error> {
        let unauthorized = |_| Error::Unauthorized;
        Ok(Self::Basic(
            Username::parse(username).map_err(unauthorized)?,
            Password::parse(password).map_err(unauthorized)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<Authorization, Error> {
        Authorization::parse(header.as_bytes())
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for header in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert!(matches!(parse(header), Ok(Authorization::Bearer(token)) if token == "abc"), "{header}");
        }
        assert!(matches!(parse("bAsIc dTpw"), Ok(Authorization::Basic(..))));
    }

    #[test]
    fn the_password_is_all_that_follows_the_first_colon() {
        // u:p:q:
        let Ok(Authorization::Basic(username, password)) = parse("Basic dTpwOnE6") else { panic!("not read") };
        assert_eq!((username.as_str(), password.expose()), ("u", &b"p:q:"[..]));
    }

    #[test]
    fn a_malformed_header_is_unauthorized() {
        for header in ["", "Bearer", "Basic", "Basic ", "Basic !!!", "Basic dQ==", "Digest x", "Basic /w=="] {
            assert_eq!(parse(header).err(), Some(Error::Unauthorized), "{header:?}");
        }
    }
}
