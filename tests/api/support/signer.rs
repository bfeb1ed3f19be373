//! Another service that signs tokens of notiflux.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::contract::now_millis;

/// A key of ES256 (RFC 7518, section 3.4).
pub struct Signer(KeyPair);

impl Signer {
    pub fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// The flags of a server that takes its tokens, with the topics in the tenant acme.
    pub fn flags(&self) -> [String; 2] {
        let key = BASE64_STANDARD.encode(self.0.public_key_pem());
        ["--notiflux_tenant=acme".to_owned(), format!("--jwt_public_key_b64={key}")]
    }

    /// A token for an hour.
    pub fn token(&self, scope: &str, topics: &[&str]) -> String {
        self.token_until(scope, topics, now_millis() / 1000 + 3600)
    }

    /// A token until a moment in Unix seconds.
    pub fn token_until(&self, scope: &str, topics: &[&str], exp: u64) -> String {
        let claims = json!({ "sub": "notiflux", "exp": exp, "topics": topics, "scope": scope });
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(&claims));
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.serialize_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
