//! Another service that signs tokens of notiflux.

use aws_lc_rs::hmac;
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
        self.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims)
    }

    /// A token of any claims, signed with ES256, whatever its header says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.serialize_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A token with an empty signature.
    pub fn sign_nothing(&self, header: &Value, claims: &Value) -> String {
        format!("{}.", message(header, claims))
    }

    /// A token of HS256 whose secret is the public key, which a careless server takes for its own.
    pub fn sign_with_public_key(&self, claims: &Value) -> String {
        let message = message(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.public_key_pem().as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
    }
}

/// What is signed of a token (RFC 7515, section 5.1).
fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}
