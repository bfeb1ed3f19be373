use std::sync::Arc;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::{Generation, Secret, Timestamp, User, Username};
use crate::error::Error;

const ISSUER: &str = "Broker";
/// How many tokens that were found right are remembered, of about 200 bytes each.
const REMEMBERED: usize = 16_384;

/// Issues and reads JWTs (RFC 7519), signed by HMAC-SHA-256. Each kind has an issuer of its own, so that none is ever taken
/// for another.
pub struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    /// Tokens whose signature was right, by their SHA-256: not the tokens themselves, which open doors. What a token says
    /// never changes; whether its user still upholds it is looked at each time.
    remembered: Cache<[u8; 32], Arc<Claimed>>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// The scopes when it was issued, joined by commas; left out where there are none. Not trusted when read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    aud: Option<String>,
    iat: u64,
    exp: u64,
    /// The user's generation, in hexadecimal: a number of 64 bits would not survive JavaScript.
    #[serde(rename = "gen")]
    generation: String,
}

/// What a token says, once its signature was found right and its time not over. Whether the user is still of that
/// generation is for the store to tell.
#[derive(Debug)]
pub struct Claimed {
    pub username: Username,
    pub generation: Generation,
    pub expires_at: Timestamp,
}

impl Tokens {
    /// Signs and verifies with a secret.
    pub fn new(secret: &Secret) -> Self {
        Self {
            signing: EncodingKey::from_secret(secret.expose()),
            verifying: DecodingKey::from_secret(secret.expose()),
            validation: issued_by(ISSUER),
            remembered: Cache::new(REMEMBERED),
        }
    }

    /// A token for a user, from now until then.
    ///
    /// # Errors
    /// [`Error::Internal`], which cannot happen with a key of this kind.
    pub fn issue(&self, user: &User, now: Timestamp, expires_at: Timestamp) -> Result<String, Error> {
        let scopes: Vec<_> = user.scopes().iter().map(|scope| scope.as_str()).collect();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user.username.to_string(),
            aud: (!scopes.is_empty()).then(|| scopes.join(",")),
            iat: now.as_secs(),
            exp: expires_at.as_secs(),
            generation: to_hex(user.generation),
        };
        self.sign(&claims)
    }

    /// Signs what a JWT is to say.
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        jsonwebtoken::encode(&Header::default(), claims, &self.signing)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// What a JWT says, where its signature is right and its issuer is the one of `validation`. Its time is for the caller
    /// to judge.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub(super) fn open<C: DeserializeOwned>(&self, token: &str, validation: &Validation) -> Result<C, Error> {
        let opened = jsonwebtoken::decode(token, &self.verifying, validation).map_err(|_| Error::Unauthorized)?;
        Ok(opened.claims)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for one that is malformed, expired, of another algorithm, or signed by another secret.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Arc<Claimed>, Error> {
        let fingerprint = fingerprint(token);
        let claimed = match self.remembered.get(&fingerprint) {
            Some(claimed) => claimed,
            None => {
                let claimed = Arc::new(self.verify(token)?);
                if claimed.expires_at > now {
                    self.remembered.insert(fingerprint, Arc::clone(&claimed));
                }
                claimed
            }
        };
        if claimed.expires_at > now { Ok(claimed) } else { Err(Error::Unauthorized) }
    }

    fn verify(&self, token: &str) -> Result<Claimed, Error> {
        let claims: Claims = self.open(token, &self.validation)?;
        Ok(Claimed {
            username: Username::parse(&claims.sub).map_err(|_| Error::Unauthorized)?,
            generation: from_hex(&claims.generation)?,
            expires_at: Timestamp::from_secs(claims.exp),
        })
    }
}

/// What is asked of a JWT of this issuer.
pub(super) fn issued_by(issuer: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["iss", "sub", "exp"]);
    // Judged by our own clock, without leeway, by who reads it.
    validation.validate_exp = false;
    // `aud` carries scopes here, not an audience.
    validation.validate_aud = false;
    validation
}

pub(super) fn to_hex(generation: Generation) -> String {
    format!("{:016x}", generation.0)
}

pub(super) fn from_hex(generation: &str) -> Result<Generation, Error> {
    u64::from_str_radix(generation, 16).map(Generation).map_err(|_| Error::Unauthorized)
}

fn fingerprint(token: &str) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    // SHA-256 is 32 bytes.
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    fingerprint
}
