//! Clients of MQTT without an account here: devices with a token of another service, as the mobile broker takes them, and handlers.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::Principal;
use crate::config::MqttGuests;
use crate::domain::{Guest, GuestInsert, GuestRights, Pattern, Patterns, Secret, Timestamp, TopicFilter};
use crate::error::Error;

/// What stands before the colon in the name of a device.
const DEVICES: &str = "mqtt";
/// What stands before the colon in the name of a handler.
const HANDLERS: &str = "mqtt_handler";
/// The handler that has the key, and no token that says more.
const WITH_KEY: &str = "key";

impl Principal {
    /// Whether it is a handler of MQTT.
    pub fn is_mqtt_handler(&self) -> bool {
        let of = self.username.as_str().split_once(':').filter(|_| self.is_guest());
        of.is_some_and(|(of, _)| of == HANDLERS)
    }
}

/// Checks the tokens of devices, and the key of handlers.
pub struct MqttTokens {
    settings: MqttGuests,
    /// With the algorithm that it is for: a token that names another one is refused, `none` too.
    keys: Vec<(DecodingKey, Validation)>,
}

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    user_id: Option<Id>,
    sub: Option<Id>,
    #[serde(default)]
    subscribe: Vec<String>,
    #[serde(default)]
    handler: bool,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// The id of a device: a number or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        match id {
            Id::Number(id) => id.to_string(),
            Id::Text(id) => id,
        }
    }
}

impl MqttTokens {
    /// What checks tokens by these settings.
    ///
    /// # Errors
    /// If the key is none. The text says what to change.
    pub fn new(settings: MqttGuests) -> Result<Self, String> {
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.required_spec_claims.clear();
            validation.validate_aud = false;
            // The caller checks the times with our own clock.
            validation.validate_exp = false;
            validation
        };
        let mut keys = Vec::new();
        if let Some(secret) = &settings.secret {
            keys.push((DecodingKey::from_secret(secret.expose()), validation(Algorithm::HS256)));
        }
        if let Some(pem) = &settings.key {
            let key = DecodingKey::from_rsa_pem(pem.as_bytes());
            let key = key.map_err(|_| "mqtt_jwt_key_file holds no public key of RSA in PEM".to_owned())?;
            keys.push((key, validation(Algorithm::RS256)));
        }
        Ok(Self { settings, keys })
    }

    /// Whether this is the key of handlers; `None` if they have none.
    pub(super) fn is_handler_key(&self, key: &Secret) -> Option<bool> {
        self.settings.handler_key.as_ref().map(|known| known.matches(key.expose()))
    }

    /// A handler that has the key.
    pub(super) fn handler(&self) -> Principal {
        self.guest((HANDLERS, WITH_KEY), handler_rights(), None)
    }

    /// Who has a token, by now.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub(super) fn read(&self, token: &str, now: Timestamp) -> Result<Principal, Error> {
        let read = |(key, validation): &(DecodingKey, Validation)| {
            let token = jsonwebtoken::decode::<Claims>(token, key, validation).ok()?;
            // `crit` lists extensions that must be understood (RFC 7515, section 4.1.11). Broker understands none.
            token.header.crit.is_none().then_some(token.claims)
        };
        let claims = self.keys.iter().find_map(read).ok_or(Error::Unauthorized)?;
        let Claims { user_id, sub, subscribe, handler, exp, nbf } = claims;
        let expires_at = exp.map(moment);
        let holds = nbf.is_none_or(|from| moment(from) <= now) && expires_at.is_none_or(|end| now < end);
        let id: String = user_id.or(sub).map(Into::into).unwrap_or_default();
        // An id with wildcards in it would show the events of others.
        if !holds || (id.is_empty() && !handler) || id.contains(['+', '#']) {
            return Err(Error::Unauthorized);
        }
        Ok(if handler {
            self.guest((HANDLERS, if id.is_empty() { WITH_KEY } else { &id }), handler_rights(), expires_at)
        } else {
            self.guest((DEVICES, &id), device_rights(&id, &subscribe), expires_at)
        })
    }

    fn guest(&self, name: (&str, &str), rights: GuestRights, expires_at: Option<Timestamp>) -> Principal {
        Guest::new(name, self.settings.tenant.clone(), rights, expires_at).into()
    }
}

/// A moment in seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
fn moment(seconds: f64) -> Timestamp {
    // Saturates, and makes 0 of what is no number.
    Timestamp::from_millis((seconds * 1000.0) as u64)
}

/// A handler sees and inserts everything.
fn handler_rights() -> GuestRights {
    GuestRights {
        see: Patterns::new(vec![Pattern::all()]),
        insert: GuestInsert::Of(Patterns::new(vec![Pattern::all()])),
    }
}

/// A device sees what is under its own id, and what its token lists. The separator matters: 68946 is not 689461. It inserts anything but
/// what is under the id of another.
fn device_rights(id: &str, listed: &[String]) -> GuestRights {
    let under = Pattern::Prefix(format!("{id}_").into());
    let filters = [format!("{id}/#")];
    let filters = filters.iter().chain(listed).filter_map(|filter| TopicFilter::parse(filter));
    GuestRights {
        see: Patterns::new(std::iter::once(under).chain(filters.map(Pattern::from)).collect()),
        insert: GuestInsert::NotUnderIdsBut(id.into()),
    }
}

#[cfg(test)]
mod tests;
