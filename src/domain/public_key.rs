use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// The beginning of every key of this kind in DER (RFC 5480, section 2): the algorithm `id-ecPublicKey`, the curve P-256, and the
/// head of the point.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The sign of a point that is not compressed, and how long one is (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
const POINT_BYTES: usize = 65;

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A public key with which tokens of the algorithm ES256 are checked (RFC 7518, section 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Es256PublicKey(Vec<u8>);

impl Es256PublicKey {
    /// Reads a key: PEM (`-----BEGIN PUBLIC KEY-----`), or base64 of it.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let pem = if text.starts_with("-----") {
            text.as_bytes().to_vec()
        } else {
            let base64: String = text.split_whitespace().collect();
            BASE64.decode(base64).map_err(|_| "it is neither PEM nor base64 of PEM".to_owned())?
        };
        let key = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
            .map_err(|_| "there is no -----BEGIN PUBLIC KEY----- in it".to_owned())?;
        match key.strip_prefix(&P256) {
            Some(point) if point.len() == POINT_BYTES && point[0] == UNCOMPRESSED => Ok(Self(point.to_vec())),
            _ => Err("it is no key of ES256: make one with openssl ecparam -name prime256v1".to_owned()),
        }
    }

    /// The point on the curve: 65 bytes, not compressed.
    pub fn point(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;

    /// Of `openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEhhIOY2ZgUYtRS7AC/A4vHYOUquwI\n\
kHXOZuhoYX6RxzmnjGLS9b6wOVM9esmgYEFocoKkd7uUxOBkr7cn9nyoiA==\n-----END PUBLIC KEY-----\n";
    /// Of the curve P-384.
    const OTHER_CURVE: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEcrLdC/9ecz8r5rtGvOgbVApwSnKRwVDL\n\
dLmg7yhfF2Fp59+gXaoFAGZzY4ugmsGlazy3BaXevTva5rI97RV3J5B74h20Snex\n\
qswI0iD+Y4yRbiUzfoiqSywV3Y8vXj+y\n-----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_read_from_pem_and_from_base64_of_it_in_one_line_or_several() {
        let key = Es256PublicKey::parse(PEM).unwrap();
        assert_eq!((key.point().len(), key.point()[0]), (65, 4));
        let base64 = BASE64_STANDARD.encode(PEM);
        let (first, rest) = base64.split_at(64);
        for text in
            [base64.as_str(), &format!("{first}\n{rest}\n"), &PEM.replace('\n', "\r\n"), base64.trim_end_matches('=')]
        {
            assert_eq!(Es256PublicKey::parse(text).as_ref(), Ok(&key), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let private = PEM.replace("PUBLIC", "PRIVATE");
        for (text, why) in [
            ("", "no -----BEGIN"),
            ("not base64!", "neither PEM"),
            (&BASE64_STANDARD.encode("hello"), "no -----BEGIN"),
            (&private, "no -----BEGIN"),
            (OTHER_CURVE, "no key of ES256"),
        ] {
            let refused = Es256PublicKey::parse(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
