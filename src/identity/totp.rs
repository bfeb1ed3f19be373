//! Six-digit codes: those of an authenticator app (RFC 6238), and those of a password reset.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use qrcode::{Color, QrCode};
use totp_rs::{Builder, Totp};

use crate::domain::{Secret, Timestamp, Username, is_blank};
use crate::error::Error;

/// RFC 4226, section 4: 160 bits are recommended.
const SECRET_BYTES: usize = 20;

/// A new secret for an authenticator app.
pub fn new_secret() -> Secret {
    Secret::new(crate::random::bytes::<SECRET_BYTES>())
}

/// SHA-1, six digits, 30 seconds, one step of skew. Every authenticator app supports this.
fn totp(secret: &Secret) -> Totp {
    Builder::new().with_secret(secret.expose().to_vec()).build_noncompliant()
}

/// Removes blanks from a code. Apps show it as `123 456`, with various blanks, and people type what they see.
pub fn without_blanks(mut code: String) -> String {
    code.retain(|c| !is_blank(c) && c != '-');
    code
}

/// The time step of this code, if it is valid now.
pub fn matching_step(secret: &Secret, code: &str, now: Timestamp) -> Option<u64> {
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { totp(secret).check(code, now.as_secs()) } else { None }
}

/// A code for one password reset, from a new secret that is used for nothing else.
pub fn reset_code() -> Secret {
    Secret::new(totp(&new_secret()).generate(0).to_string())
}

/// The issuer of codes, as an authenticator app shows it.
pub struct Issuer<'a>(&'a str);

impl<'a> Issuer<'a> {
    /// Parses an issuer.
    ///
    /// # Errors
    /// [`Error::IssuerInvalid`] if the key URI format has no place for it: apps show nothing for an empty issuer, and a
    /// colon ends it.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let is_invalid = text.trim_matches(is_blank).is_empty() || text.contains(|c: char| c == ':' || c.is_control());
        if is_invalid { Err(Error::IssuerInvalid) } else { Ok(Self(text)) }
    }
}

/// The light modules around a QR code, which scanners need (ISO/IEC 18004, section 9.1).
const QUIET_MODULES: usize = 4;
/// The minimum width and height of the picture, in pixels.
const MIN_PIXELS: usize = 256;

/// The QR code for an authenticator app: a PNG in base64.
///
/// # Errors
/// [`Error::QrTooLarge`] if issuer and username do not fit.
pub fn qr(issuer: &Issuer<'_>, username: &Username, secret: &Secret) -> Result<String, Error> {
    let url = otpauth_url(issuer, username, secret);
    let code = QrCode::new(url.as_bytes()).map_err(|_| Error::QrTooLarge)?;
    let png = picture(&code).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(BASE64_STANDARD.encode(png))
}

/// A PNG of a code, black on white, with one bit per pixel.
fn picture(code: &QrCode) -> Result<Vec<u8>, png::EncodingError> {
    let modules = code.width() + 2 * QUIET_MODULES;
    let scale = MIN_PIXELS.div_ceil(modules);
    let size = modules * scale;
    let is_dark = |x: usize, y: usize| match (x.checked_sub(QUIET_MODULES), y.checked_sub(QUIET_MODULES)) {
        (Some(x), Some(y)) if x < code.width() && y < code.width() => code[(x, y)] == Color::Dark,
        _ => false,
    };
    let mut pixels = Vec::with_capacity(size.div_ceil(8) * size);
    for y in 0..size {
        let mut row = vec![0xff_u8; size.div_ceil(8)];
        for x in (0..size).filter(|x| is_dark(x / scale, y / scale)) {
            row[x / 8] &= !(0x80 >> (x % 8));
        }
        pixels.extend_from_slice(&row);
    }
    let mut png = Vec::new();
    // A code has at most 177 modules, so the size fits.
    let mut encoder = png::Encoder::new(&mut png, size as u32, size as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(png)
}

/// A secret as people type it into an authenticator app that cannot scan.
pub fn base_32(secret: &Secret) -> String {
    totp_rs::Secret::from(secret.expose().to_vec()).to_base32()
}

/// The secret that a text in base32 stands for, if it is long enough to be one (RFC 4226, section 4: 128 bits) and not too long.
pub fn of_base_32(text: &str) -> Option<Secret> {
    let secret = totp_rs::Secret::try_from_base32(text).ok()?;
    let secret = Secret::new(secret.as_bytes().to_vec());
    (16..=64).contains(&secret.expose().len()).then_some(secret)
}

/// `otpauth://totp/<issuer>:<username>?secret=…&issuer=…` (Google Authenticator's "Key Uri Format").
pub fn otpauth_url(issuer: &Issuer<'_>, username: &Username, secret: &Secret) -> String {
    let (issuer, username) = (percent_encoded(issuer.0), percent_encoded(username.as_str()));
    let secret = base_32(secret);
    format!("otpauth://totp/{issuer}:{username}?secret={secret}&issuer={issuer}")
}

/// Percent-encodes everything but the unreserved characters (RFC 3986).
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the SHA-1 column, the last six digits.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        let secret = Secret::new("12345678901234567890");
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(matching_step(&secret, code, Timestamp::from_secs(time)), Some(time / 30), "{time}");
        }
    }

    #[test]
    fn a_code_holds_one_step_before_and_after_and_no_longer() {
        let secret = Secret::new("12345678901234567890");
        for (seconds, holds) in [(29, false), (30, true), (89, true), (90, true), (119, true), (120, false)] {
            // The code of step 2, from 60 to 89 seconds.
            let code = totp(&secret).generate(60).to_string();
            assert_eq!(matching_step(&secret, &code, Timestamp::from_secs(seconds)).is_some(), holds, "{seconds}");
        }
    }

    #[test]
    fn the_url_is_percent_encoded() {
        let username = Username::parse("zoë@x y").unwrap();
        let url = otpauth_url(&Issuer("A & B/ c"), &username, &Secret::new("12345678901234567890"));
        assert_eq!(
            url,
            "otpauth://totp/A%20%26%20B%2F%20c:zo%C3%AB%40x%20y?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=A%20%26%20B%2F%20c"
        );
    }

    #[test]
    fn text_that_does_not_fit_a_qr_code_is_an_error() {
        let username = Username::parse("u").unwrap();
        assert_eq!(qr(&Issuer(&"x".repeat(3000)), &username, &new_secret()), Err(Error::QrTooLarge));
    }

    #[test]
    fn a_reset_code_is_six_digits() {
        let code = reset_code();
        assert!(code.expose().len() == 6 && code.expose().iter().all(u8::is_ascii_digit));
    }
}
