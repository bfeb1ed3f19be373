use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::config::Notiflux;
use crate::domain::{EventName, TenantName, Timestamp, inbox_owner};
use crate::error::Error;

/// What stands before the colon in the name of a guest who came with such a token.
const GUESTS: &str = "notiflux";
/// How long a token is still taken after it has expired, and before it is valid: clocks differ, and notiflux gives as much.
const LEEWAY: Duration = Duration::from_secs(60);
/// Checks the tokens of notiflux: JWTs of another service, signed with ES256 (RFC 7518, section 3.4), each with the topics that its
/// holder may subscribe or broadcast to.
pub struct TopicTokens {
    key: DecodingKey,
    validation: Validation,
    pub(super) settings: Notiflux,
}

/// What a token is used for; its `scope` says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicUse {
    /// To receive the messages of a topic.
    Subscribe,
    /// To send one.
    Broadcast,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    nbf: Option<u64>,
    topics: Vec<String>,
    scope: TopicUse,
}

/// The proof that a guest may use one topic, in one way.
#[derive(Clone, Debug)]
pub struct TopicPermit {
    /// Where the token is from, and whom it calls the guest.
    pub(super) guest: (&'static str, Box<str>),
    pub(super) tenant: TenantName,
    pub(super) topic: EventName,
    pub(super) to: TopicUse,
    /// When the right ends, if it does.
    pub(super) ends_at: Option<Timestamp>,
}

/// A topic: a name that messages can be inserted under, and no inbox. A topic is for everybody with a token for it, an inbox for its
/// owner alone.
///
/// # Errors
/// [`Error::EventNameInvalid`], [`Error::EventNameReserved`]; [`Error::TopicNotAllowed`] for an inbox.
pub(super) fn topic(name: &str) -> Result<EventName, Error> {
    let topic = EventName::parse(name)?;
    if !topic.is_trimmed() {
        return Err(Error::EventNameInvalid);
    }
    if topic.is_reserved() {
        return Err(Error::EventNameReserved);
    }
    if inbox_owner(name).is_some() { Err(Error::TopicNotAllowed) } else { Ok(topic) }
}

impl TopicTokens {
    /// What checks tokens by these settings.
    pub(super) fn new(settings: Notiflux) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        let mut required = vec!["sub", "exp"];
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        // The caller checks the times with our own clock.
        validation.validate_exp = false;
        Self { key: DecodingKey::from_ec_der(settings.key.point()), validation, settings }
    }

    fn claims(&self, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let opened = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation);
        let opened = opened.map_err(|_| Error::Unauthorized)?;
        let (begins, ends) = (opened.claims.nbf.unwrap_or_default(), Timestamp::from_secs(opened.claims.exp));
        let holds = Timestamp::from_secs(begins) <= now + LEEWAY && now < ends + LEEWAY;
        // `crit` lists extensions that must be understood (RFC 7515, section 4.1.11). Broker understands none.
        if holds && opened.header.crit.is_none() { Ok(opened.claims) } else { Err(Error::Unauthorized) }
    }

    /// Checks a token for one use of a topic.
    ///
    /// # Errors
    /// Those of [`Identity::topic_permit`](super::Identity::topic_permit), if they are served.
    pub(super) fn permit(&self, token: &str, name: &str, to: TopicUse, now: Timestamp) -> Result<TopicPermit, Error> {
        let Claims { sub: subject, exp, topics, scope, .. } = self.claims(token, now)?;
        if scope != to || !topics.iter().any(|permitted| permitted == name) {
            return Err(Error::TopicNotAllowed);
        }
        let topic = topic(name)?;
        let ends = to == TopicUse::Broadcast || self.settings.end_with_token;
        let ends_at = ends.then(|| Timestamp::from_secs(exp) + LEEWAY);
        Ok(TopicPermit::new((GUESTS, &subject), self.settings.tenant.clone(), topic, to, ends_at))
    }
}

impl TopicPermit {
    pub(super) fn new(
        (of, subject): (&'static str, &str),
        tenant: TenantName,
        topic: EventName,
        to: TopicUse,
        ends_at: Option<Timestamp>,
    ) -> Self {
        Self { guest: (of, subject.into()), tenant, topic, to, ends_at }
    }

    /// The topic.
    pub fn topic(&self) -> &EventName {
        &self.topic
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::Es256PublicKey;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// Another service, with its key.
    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let key = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref()).unwrap())
        }

        fn tokens(&self, change: impl FnOnce(&mut Notiflux)) -> TopicTokens {
            let head = BASE64_STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
            let der = BASE64_STANDARD.encode([&head, self.0.public_key().as_ref()].concat());
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
            let mut settings = Notiflux {
                tenant: TenantName::parse("acme").unwrap(),
                key: Es256PublicKey::parse(&pem).unwrap(),
                audience: None,
                strict_compat: false,
                end_with_token: false,
            };
            change(&mut settings);
            TopicTokens::new(settings)
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
            let message = format!("{}.{}", part(header), part(claims));
            let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
            format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }

        /// A token with these claims beside, or in place of, the usual ones. `null` takes one away.
        fn token(&self, other: &Value) -> String {
            let mut claims =
                json!({"sub": "bob", "exp": NOW.as_secs() + 10, "topics": ["news", "a:b"], "scope": "subscribe"});
            for (name, value) in other.as_object().unwrap() {
                claims[name] = value.clone();
            }
            claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            self.sign(&json!({"alg": "ES256", "typ": "JWT"}), &claims)
        }
    }

    fn subscribe(tokens: &TopicTokens, token: &str, topic: &str) -> Result<TopicPermit, Error> {
        tokens.permit(token, topic, TopicUse::Subscribe, NOW)
    }

    #[test]
    fn a_token_permits_its_topics_in_one_way_for_a_minute_longer_than_it_says() {
        let signer = Signer::new();
        let tokens = signer.tokens(|_| ());
        for (claims, topic, expected) in [
            (json!({}), "news", Ok(())),
            (json!({"iat": 1, "jti": "x"}), "a:b", Ok(())),
            (json!({}), "other", Err(Error::TopicNotAllowed)),
            (json!({}), "new", Err(Error::TopicNotAllowed)),
            (json!({"scope": "broadcast"}), "news", Err(Error::TopicNotAllowed)),
            (json!({"scope": "admin"}), "news", Err(Error::Unauthorized)),
            (json!({"exp": NOW.as_secs() - 59}), "news", Ok(())),
            (json!({"exp": NOW.as_secs() - 60}), "news", Err(Error::Unauthorized)),
            (json!({"exp": u64::MAX}), "news", Ok(())),
            (json!({"nbf": NOW.as_secs() + 60}), "news", Ok(())),
            (json!({"nbf": NOW.as_secs() + 61}), "news", Err(Error::Unauthorized)),
            (json!({"aud": "x"}), "news", Err(Error::Unauthorized)),
            (json!({"sub": null}), "news", Err(Error::Unauthorized)),
            (json!({"exp": null}), "news", Err(Error::Unauthorized)),
            (json!({"topics": null}), "news", Err(Error::Unauthorized)),
            (json!({"topics": "news"}), "news", Err(Error::Unauthorized)),
            (json!({"topics": ["*"]}), "news", Err(Error::TopicNotAllowed)),
            (json!({"topics": ["@bob/x"]}), "@bob/x", Err(Error::TopicNotAllowed)),
            (json!({"topics": ["$reset"]}), "$reset", Err(Error::EventNameReserved)),
            (json!({"topics": ["\u{a0}x"]}), "\u{a0}x", Err(Error::EventNameInvalid)),
            (json!({"topics": ["id:5"]}), "id:5", Err(Error::EventNameInvalid)),
            (json!({"topics": [""]}), "", Err(Error::EventNameInvalid)),
        ] {
            let permit = subscribe(&tokens, &signer.token(&claims), topic);
            assert_eq!(permit.map(drop), expected, "{claims}");
        }
    }

    #[test]
    fn a_token_of_another_key_or_algorithm_or_with_an_unknown_extension_is_none() {
        let (signer, other) = (Signer::new(), Signer::new());
        let tokens = signer.tokens(|_| ());
        let good = signer.token(&json!({}));
        let claims = json!({"sub": "bob", "exp": NOW.as_secs(), "topics": ["news"], "scope": "subscribe"});
        let (head, signature) = good.rsplit_once('.').unwrap();
        for bad in [
            "",
            "a.b.c",
            head,
            &other.token(&json!({})),
            &format!("{head}."),
            &format!("{head}.{}", &signature[..40]),
            &signer.sign(&json!({"alg": "none"}), &claims),
            &signer.sign(&json!({"alg": "HS256"}), &claims),
            &signer.sign(&json!({"alg": "ES384"}), &claims),
            &signer.sign(&json!({"alg": "ES256", "crit": ["x"], "x": 1}), &claims),
        ] {
            assert_eq!(subscribe(&tokens, bad, "news").map(drop), Err(Error::Unauthorized), "{bad}");
        }
        assert!(subscribe(&tokens, &signer.sign(&json!({"alg": "ES256"}), &claims), "news").is_ok());
    }

    #[test]
    fn an_audience_that_was_set_must_be_in_the_token() {
        let signer = Signer::new();
        let tokens = signer.tokens(|settings| settings.audience = Some("chat".to_owned()));
        for (audience, is_right) in
            [(json!("chat"), true), (json!(["x", "chat"]), true), (json!("x"), false), (Value::Null, false)]
        {
            let permit = subscribe(&tokens, &signer.token(&json!({"aud": audience})), "news");
            assert_eq!(permit.is_ok(), is_right, "{audience}");
        }
    }

    #[test]
    fn a_permit_to_broadcast_ends_with_the_leeway_of_its_token() {
        let signer = Signer::new();
        let tokens = signer.tokens(|_| ());
        let subscribe = subscribe(&tokens, &signer.token(&json!({})), "news").unwrap();
        assert_eq!(subscribe.ends_at, None, "the subscription outlives the token");
        let token = signer.token(&json!({"scope": "broadcast"}));
        let broadcast = tokens.permit(&token, "news", TopicUse::Broadcast, NOW).unwrap();
        assert_eq!(broadcast.ends_at, Some(NOW + Duration::from_secs(70)));
    }
}
