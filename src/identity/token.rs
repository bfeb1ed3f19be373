use std::sync::Arc;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Generation, Scope, Secret, SessionId, TenantName, Timestamp, User, Username};
use crate::error::Error;
use crate::writer::Rules;

const ISSUER: &str = "Broker";
/// The maximum length of a token, in bytes. Servers and proxies commonly accept 8 KiB for a header line, and some for
/// the whole head of a request. A quarter of that is left for everything else.
pub const MAX_TOKEN_BYTES: usize = (8 << 10) - (2 << 10) - "authorization: Bearer \r\n".len();
/// The length of an HMAC-SHA-256.
const SIGNATURE_BYTES: usize = 32;
/// How many valid tokens are cached, of about 200 bytes each.
const REMEMBERED: usize = 16_384;

/// Issues and checks JWTs (RFC 7519), signed with HMAC-SHA-256. Each kind has its own issuer, so that one kind is never
/// accepted as another.
pub struct Tokens {
    form: TokenForm,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    /// Tokens with a valid signature, by their SHA-256. The tokens themselves are not kept, because they are secrets.
    /// The claims of a token never change; whether they still hold for the user is checked each time.
    remembered: Cache<[u8; 32], Arc<Claimed>>,
}

/// The claims of a token in addition to the user.
#[derive(Clone)]
pub struct TokenForm {
    /// The audience in `aud`; if `None`, the scopes are there, as in Broker 15.
    audience: Option<Arc<str>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    /// Without an audience: the scopes at the time of issue, joined by commas; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    /// With an audience: the scopes, joined by spaces (RFC 8693, section 4.2); absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    iat: u64,
    exp: u64,
    tenant_name: &'a str,
    id: Uuid,
    /// The user's generation, in hexadecimal: JavaScript cannot hold a number of 64 bits.
    #[serde(rename = "gen")]
    generation: String,
    /// The session that the token belongs to; absent if it is of none.
    #[serde(rename = "sid", skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

/// The claims that Broker reads. The others, above all the scopes, are as they were at the time of issue, and are for
/// other services.
#[derive(Deserialize)]
struct Read {
    sub: String,
    exp: u64,
    nbf: Option<u64>,
    #[serde(rename = "gen")]
    generation: String,
    #[serde(rename = "sid")]
    session: Option<String>,
}

/// The part of a token that depends on the user.
pub struct Subject<'a> {
    pub username: &'a Username,
    pub tenant: &'a TenantName,
    pub scopes: &'a [Scope],
    pub id: Uuid,
    pub generation: Generation,
}

impl<'a> From<&'a User> for Subject<'a> {
    fn from(user: &'a User) -> Self {
        let User { username, tenant, id, generation, .. } = user;
        Self { username, tenant, scopes: user.scopes(), id: *id, generation: *generation }
    }
}

/// What of a user a token is made from: an answer to whoever signs in has this, and none of the user's secrets.
#[derive(Serialize, Deserialize)]
pub struct Bearer {
    id: Uuid,
    username: Username,
    tenant: TenantName,
    scopes: Vec<Scope>,
    generation: Generation,
}

impl From<User> for Bearer {
    fn from(user: User) -> Self {
        let User { id, username, tenant, scopes, generation, .. } = user;
        Self { id, username, tenant, scopes: scopes.unwrap_or_default(), generation }
    }
}

impl<'a> From<&'a Bearer> for Subject<'a> {
    fn from(bearer: &'a Bearer) -> Self {
        let Bearer { id, username, tenant, scopes, generation } = bearer;
        Self { username, tenant, scopes, id: *id, generation: *generation }
    }
}

impl TokenForm {
    /// A form with an audience, or with the scopes in its place.
    pub fn new(audience: Option<String>) -> Self {
        Self { audience: audience.map(Arc::from) }
    }

    /// The form where a change is decided.
    pub fn of(rules: &Rules) -> Self {
        Self::new(rules.sign_ins.jwt_audience.clone())
    }

    fn claims<'a>(
        &self,
        subject: &Subject<'a>,
        issued_at: u64,
        expires_at: u64,
        session: Option<SessionId>,
    ) -> Claims<'a> {
        let joined = |scopes: Vec<&str>, by: &str| (!scopes.is_empty()).then(|| scopes.join(by));
        let scopes = subject.scopes.iter().map(Scope::as_str);
        let (aud, scope) = match &self.audience {
            None => (joined(scopes.collect(), ","), None),
            // A scope with a blank in it would be read as two scopes that the user does not have.
            Some(audience) => {
                let scopes = scopes.filter(|scope| !scope.contains(char::is_whitespace));
                (Some(audience.to_string()), joined(scopes.collect(), " "))
            }
        };
        Claims {
            iss: ISSUER,
            sub: subject.username.as_str(),
            aud,
            scope,
            iat: issued_at,
            exp: expires_at,
            tenant_name: subject.tenant.as_str(),
            id: subject.id,
            generation: to_hex(subject.generation),
            session: session.map(|session| session.to_string()),
        }
    }

    /// The maximum length of a token for a user, in bytes.
    ///
    /// # Errors
    /// [`Error::Internal`], which cannot happen with these claims.
    fn bytes_at_most(&self, subject: &Subject<'_>) -> Result<usize, Error> {
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let header = serde_json::to_vec(&Header::default()).map_err(internal)?;
        let claims = serde_json::to_vec(&self.claims(subject, u64::MAX, u64::MAX, SessionId::new(u64::MAX)))
            .map_err(internal)?;
        let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
        Ok(base64(header.len()) + 1 + base64(claims.len()) + 1 + base64(SIGNATURE_BYTES))
    }

    /// Checks that a token with these scopes has room for any user.
    ///
    /// # Errors
    /// [`Error::ScopesTooLarge`].
    pub fn check_scopes(&self, scopes: &[Scope]) -> Result<(), Error> {
        let (username, tenant) = (Username::parse("u")?, TenantName::parse("t")?);
        let (id, generation) = (Uuid::nil(), Generation(0));
        self.check(&Subject { username: &username, tenant: &tenant, scopes, id, generation }, None)
    }

    /// Checks that a token for a user can be sent. A user whose tokens are too long already may be changed, but not to
    /// longer ones.
    ///
    /// # Errors
    /// [`Error::ScopesTooLarge`].
    pub fn check(&self, subject: &Subject<'_>, before: Option<&Subject<'_>>) -> Result<(), Error> {
        let bytes = self.bytes_at_most(subject)?;
        if bytes <= MAX_TOKEN_BYTES {
            return Ok(());
        }
        match before {
            Some(before) if bytes <= self.bytes_at_most(before)? => Ok(()),
            _ => Err(Error::ScopesTooLarge(MAX_TOKEN_BYTES)),
        }
    }
}

/// The claims of a token with a valid signature that has not expired. Whether the user still has this generation is for
/// the store to tell.
#[derive(Debug)]
pub struct Claimed {
    pub username: Username,
    pub generation: Generation,
    /// The session that it belongs to, which may have ended.
    pub session: Option<SessionId>,
    /// The token is valid from this moment on.
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
}

impl Claimed {
    fn holds_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.expires_at
    }
}

impl Tokens {
    /// Signs and verifies with a secret.
    pub fn new(secret: &Secret, form: TokenForm) -> Self {
        Self {
            form,
            signing: EncodingKey::from_secret(secret.expose()),
            verifying: DecodingKey::from_secret(secret.expose()),
            validation: issued_by(ISSUER),
            remembered: Cache::new(REMEMBERED),
        }
    }

    /// Issues a token for a user, valid from now until `expires_at`, and no longer than its session if it has one.
    ///
    /// # Errors
    /// [`Error::Internal`], which cannot happen with a key of this kind.
    pub fn issue<'a>(
        &self,
        user: impl Into<Subject<'a>>,
        now: Timestamp,
        expires_at: Timestamp,
        session: Option<SessionId>,
    ) -> Result<String, Error> {
        let claims = self.form.claims(&user.into(), now.as_secs(), expires_at.as_secs(), session);
        self.sign(&claims)
    }

    /// The form of the tokens.
    pub fn form(&self) -> &TokenForm {
        &self.form
    }

    /// Signs the claims of a JWT.
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        jsonwebtoken::encode(&Header::default(), claims, &self.signing)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// The claims of a JWT, if its signature is valid and its issuer is the one of `validation`. The caller checks its
    /// times.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub(super) fn open<C: DeserializeOwned>(&self, token: &str, validation: &Validation) -> Result<C, Error> {
        let opened = jsonwebtoken::decode(token, &self.verifying, validation).map_err(|_| Error::Unauthorized)?;
        // `crit` lists extensions that must be understood (RFC 7515, section 4.1.11). Broker understands none.
        if opened.header.crit.is_some() { Err(Error::Unauthorized) } else { Ok(opened.claims) }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a token that is malformed, expired, of another algorithm, or signed with another
    /// secret.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Arc<Claimed>, Error> {
        let fingerprint = fingerprint(token);
        let claimed = match self.remembered.get(&fingerprint) {
            Some(claimed) => claimed,
            None => {
                let claimed = Arc::new(self.verify(token)?);
                if claimed.holds_at(now) {
                    self.remembered.insert(fingerprint, Arc::clone(&claimed));
                }
                claimed
            }
        };
        if claimed.holds_at(now) { Ok(claimed) } else { Err(Error::Unauthorized) }
    }

    fn verify(&self, token: &str) -> Result<Claimed, Error> {
        let Read { sub, exp, nbf, generation, session } = self.open(token, &self.validation)?;
        Ok(Claimed {
            username: Username::parse(&sub).map_err(|_| Error::Unauthorized)?,
            generation: from_hex(&generation)?,
            session: session_of(session.as_deref())?,
            not_before: Timestamp::from_secs(nbf.unwrap_or_default()),
            expires_at: Timestamp::from_secs(exp),
        })
    }
}

/// The requirements for a JWT of this issuer.
pub(super) fn issued_by(issuer: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["iss", "sub", "exp"]);
    // The caller checks it with our own clock, without leeway.
    validation.validate_exp = false;
    // The audience is for the services that `aud` names, unless it holds scopes. Broker itself checks the issuer and
    // the generation, so that a token stays valid after a change of `jwt_audience`.
    validation.validate_aud = false;
    validation
}

/// The session in a claim, if there is one.
pub(super) fn session_of(claim: Option<&str>) -> Result<Option<SessionId>, Error> {
    claim.map(|session| SessionId::parse(session).ok_or(Error::Unauthorized)).transpose()
}

pub(super) fn to_hex(generation: Generation) -> String {
    format!("{:016x}", generation.0)
}

pub(super) fn from_hex(generation: &str) -> Result<Generation, Error> {
    u64::from_str_radix(generation, 16).map(Generation).map_err(|_| Error::Unauthorized)
}

fn fingerprint(token: &str) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    // A SHA-256 has 32 bytes.
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(username: &str, tenant: &str, scopes: &[String]) -> User {
        User {
            username: Username::parse(username).unwrap(),
            tenant: TenantName::parse(tenant).unwrap(),
            scopes: Some(Scope::parse_all(scopes).unwrap()),
            ..User::example()
        }
    }

    #[test]
    fn a_token_is_as_long_as_was_reckoned_or_shorter_by_the_digits_of_its_times() {
        let scopes: Vec<_> = (0..100).map(|number| format!("\"q\"{number}:ü ö")).collect();
        let now = Timestamp::from_secs(1_700_000_000);
        for audience in [None, Some("https://api.example".to_owned())] {
            let tokens = Tokens::new(&Secret::new("secret"), TokenForm::new(audience));
            for count in [0, 1, 100] {
                let user = user("zoë\"", "a\\b", &scopes[..count]);
                let token = tokens.issue(&user, now, now, SessionId::new(u64::MAX)).unwrap();
                let at_most = tokens.form().bytes_at_most(&Subject::from(&user)).unwrap();
                // Two numbers have ten digits instead of twenty.
                assert!(token.len() <= at_most && at_most - token.len() < 32, "{} of {at_most}", token.len());
            }
        }
    }

    #[test]
    fn a_user_whose_token_is_too_long_already_gets_no_longer_one() {
        let form = TokenForm::new(None);
        let many: Vec<_> = (0..950).map(|number| format!("news/{number:010}:get")).collect();
        let of = |count: usize| user("alice", "acme", &many[..count]);
        let check = |now: usize, before: Option<usize>| {
            let before = before.map(of);
            form.check(&Subject::from(&of(now)), before.as_ref().map(Subject::from).as_ref())
        };
        let refused = Err(Error::ScopesTooLarge(MAX_TOKEN_BYTES));
        assert_eq!(check(100, None), Ok(()));
        assert_eq!(
            (check(950, None), check(950, Some(100)), check(950, Some(949))),
            (refused.clone(), refused.clone(), refused)
        );
        assert_eq!((check(950, Some(950)), check(949, Some(950)), check(100, Some(950))), (Ok(()), Ok(()), Ok(())));
    }
}
