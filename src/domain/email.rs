use std::borrow::Cow;
use std::sync::Arc;

use idna::AsciiDenyList;
use memchr::memmem;

use super::is_blank;
use super::new_name::is_unseen;
use crate::error::Error;

/// The maximum length of an address, in bytes (RFC 5321, section 4.5.3.1.3: a path has at most 256 octets, two of them
/// its brackets).
const MAX_BYTES: usize = 254;
/// The maximum length of the part before the `@`, in bytes (section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// Services that forward to a hidden address, for as long as its owner wants. Their addresses are as good as a person's
/// own, although the `mailchecker` list has many of them. Names below them count, too.
const RELAYS: [&str; 21] = [
    "8alias.com",
    "8shield.net",
    "addy.io",
    "aleeas.com",
    "anonaddy.com",
    "anonaddy.me",
    "dralias.com",
    "duck.com",
    "mozmail.com",
    "passfwd.com",
    "passinbox.com",
    "passmail.com",
    "passmail.net",
    "privaterelay.appleid.com",
    "relay.firefox.com",
    "silomails.com",
    "simplelogin.co",
    "simplelogin.com",
    "simplelogin.fr",
    "slmail.me",
    "slmails.com",
];

/// The domains of disposable providers, each between two line breaks: see `build.rs`.
const DISPOSABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/disposable.txt"));

/// A well-formed e-mail address that is not of a disposable provider (the `mailchecker` list). It may be international
/// (RFC 6531).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(Arc<str>);

impl Email {
    /// Parses an address.
    ///
    /// # Errors
    /// [`Error::EmailInvalid`]; [`Error::EmailDisposable`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (local, domain) = text.rsplit_once('@').ok_or(Error::EmailInvalid)?;
        if text.len() > MAX_BYTES || local.len() > MAX_LOCAL_BYTES {
            return Err(Error::EmailInvalid);
        }
        let (local, domain) = (ascii_like(local)?, ascii_domain(domain)?);
        // The checks use the ASCII form, which DNS and the lists of providers use.
        if !fast_chemail::is_valid_email(&format!("{local}@{domain}")) {
            return Err(Error::EmailInvalid);
        }
        if !is_relay(&domain) && is_disposable(&domain) {
            return Err(Error::EmailDisposable);
        }
        Ok(Self(text.into()))
    }

    /// Restores an address that [`Email::parse`] accepted earlier.
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part before the `@` with a letter in place of each visible character beyond ASCII. Such characters may stand
/// where letters may (RFC 6532, section 3.2).
fn ascii_like(local: &str) -> Result<Cow<'_, str>, Error> {
    if local.is_ascii() {
        return Ok(Cow::Borrowed(local));
    }
    if local.contains(|c: char| !c.is_ascii() && (is_unseen(c) || is_blank(c))) {
        return Err(Error::EmailInvalid);
    }
    Ok(local.chars().map(|c| if c.is_ascii() { c } else { 'x' }).collect())
}

/// The form of a domain in DNS (UTS 46), in lower case.
fn ascii_domain(domain: &str) -> Result<String, Error> {
    if domain.is_ascii() {
        return Ok(domain.to_ascii_lowercase());
    }
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), AsciiDenyList::STD3);
    ascii.map(Cow::into_owned).map_err(|_| Error::EmailInvalid)
}

fn is_relay(domain: &str) -> bool {
    RELAYS.iter().any(|relay| {
        let below = domain.strip_suffix(relay);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    })
}

/// Whether the list has a domain, or one above it. No top-level domain counts.
fn is_disposable(domain: &str) -> bool {
    let beginnings = std::iter::once(0).chain(memchr::memchr_iter(b'.', domain.as_bytes()).map(|dot| dot + 1));
    let mut names = beginnings.filter_map(|at| domain.get(at..)).filter(|name| name.contains('.'));
    names.any(|name| memmem::find(DISPOSABLE.as_bytes(), format!("\n{name}\n").as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<&'static str> {
        Email::parse(text).err().map(|error| error.code())
    }

    #[test]
    fn international_addresses_are_taken_as_they_are_given() {
        for good in [
            "alice@example.com",
            "user@münchen.de",
            "user@MÜNCHEN.de",
            "用户@例子.中国",
            "jörg.müller+x@example.com",
            "Dörte@Sörensen.example.com",
            "θσερ@εχαμπλε.ψομ",
            "संपर्क@डाटामेल.भारत",
            "user@xn--mnchen-3ya.de",
        ] {
            assert_eq!(Email::parse(good).map(|email| email.as_str().to_owned()), Ok(good.to_owned()), "{good}");
        }
        let long = format!("{}@example.com", "é".repeat(33));
        for bad in [
            "",
            "@",
            "münchen.de",
            "é@",
            "@münchen.de",
            "a é@example.com",
            "é\u{a0}@example.com",
            "é\u{200b}@example.com",
            "é\u{202e}@example.com",
            "é..é@example.com",
            ".é@example.com",
            "é@example..com",
            "é@exam ple.com",
            "user@mün chen.de",
            "user@münchen_.de",
            "user@münchen.de\n",
            "user@münchen",
            "user@a@münchen.de",
            "user@é\u{ad}.de\u{0}",
            "user@\u{378}.de",
            &long,
        ] {
            assert_eq!(code(bad), Some("email_invalid"), "{bad:?}");
        }
    }

    #[test]
    fn throw_away_addresses_are_known_in_every_form_and_relays_are_none() {
        for bad in [
            "a@mailinator.com",
            "é@MAILINATOR.com",
            "a@ｍａｉｌｉｎａｔｏｒ.com",
            "a@x.mailinator.com",
            "a@mailinator。com",
            // The first and the last of the list.
            "a@0-00.usa.cc",
            "a@zzzzzzzzzzzzz.com",
        ] {
            assert_eq!(code(bad), Some("email_disposable"), "{bad}");
        }
        for good in ["a@broker-mailinator.com", "a@mailinator.com.example.org", "a@inator.com"] {
            assert_eq!(code(good), None, "{good}");
        }
        for relay in RELAYS {
            assert_eq!(code(&format!("a@{relay}")), None, "{relay}");
            assert_eq!(code(&format!("a@x.{}", relay.to_uppercase())), None, "{relay}");
        }
        assert!(!is_relay("notduck.com") && !is_relay("duck.com.evil.example"));
    }
}
