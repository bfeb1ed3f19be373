//! How a client of MQTT shows who it is.

use super::audit::{Door, Visit};
use super::{Identity, Principal};
use crate::central::GuessAt;
use crate::domain::{ClientAddress, Password, Secret, SignIn, Username};
use crate::error::Error;

/// The username of clients whose password is a token.
const BY_TOKEN: &str = "JWT";
/// The username of handlers, if they have a key.
const HANDLER: &str = "handler";

/// What a client shows (MQTT 5.0, sections 3.1.3.5 and 3.1.3.6).
pub struct MqttCredentials {
    /// The username, if there is one.
    pub username: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
}

impl Identity {
    /// Authenticates a client of MQTT: by a token as the password of `JWT`, by the key or a token of handlers, or by the name and the
    /// password of a user. A client that shows nothing is the user that `mqtt_anonymous` names, if it does; `None` stands for one that
    /// does not show enough to be anybody.
    ///
    /// # Errors
    /// Those of [`Identity::bearer`] and [`Identity::basic`].
    pub async fn mqtt(&self, credentials: MqttCredentials, from: ClientAddress) -> Result<Option<Principal>, Error> {
        let MqttCredentials { username, password } = credentials;
        match (username.as_deref(), password) {
            (None | Some(""), None) => self.anonymous(),
            (None | Some(""), Some(_)) | (Some(_), None) => Ok(None),
            (Some(BY_TOKEN), Some(token)) => self.mqtt_token(&token).map(Some),
            (Some(HANDLER), Some(key)) if self.0.mqtt.is_some() => self.handler(key, from).await.map(Some),
            (Some(name), Some(password)) => {
                // What no user can be called shows as little as no name does. Whether a user is called so, nobody learns here.
                let Ok(username) = Username::parse(name) else { return Ok(None) };
                let password = Password::parse(password).map_err(|_| Error::Unauthorized)?;
                self.basic(username, password, from).await.map(Some)
            }
        }
    }

    /// Authenticates by a token: one of our own users, or one of another service.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub fn mqtt_token(&self, token: &Secret) -> Result<Principal, Error> {
        let token = std::str::from_utf8(token.expose()).map_err(|_| Error::Unauthorized)?;
        match (self.bearer(token), &self.0.mqtt) {
            (Err(Error::Unauthorized), Some(tokens)) => tokens.read(token, self.0.clock.now()),
            (read, _) => read,
        }
    }

    /// Authenticates a handler, by the key or by a token that says so.
    async fn handler(&self, key: Secret, from: ClientAddress) -> Result<Principal, Error> {
        let tokens = self.0.mqtt.as_ref().ok_or(Error::Unauthorized)?;
        match self.mqtt_token(&key) {
            Ok(principal) if principal.is_mqtt_handler() => return Ok(principal),
            // The token of somebody else is no guess at the key.
            Ok(_) => return Err(Error::Unauthorized),
            Err(_) => {}
        }
        let visit = Visit::at(self.0.store.metrics(), Door::MqttHandler, None, from);
        let guess = async {
            let attempt = self.0.central.attempt(GuessAt::Admin, from).await?;
            let handler = match tokens.is_handler_key(&key) {
                Some(true) => Ok(tokens.handler()),
                Some(false) | None => Err(Error::Unauthorized),
            };
            attempt.settle(handler).map(|(handler, _)| handler)
        };
        visit.ends(guess.await)
    }

    /// Warns if there is no such user yet as `mqtt_anonymous` names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn warn_of_anonymous(&self) -> Result<(), Error> {
        let Some(user) = &self.0.settings.mqtt_anonymous else { return Ok(()) };
        if self.0.store.account(user)?.is_none() {
            let user = user.as_str();
            tracing::warn!(
                user,
                "there is no such user as mqtt_anonymous names: without credentials no client is let in"
            );
        }
        Ok(())
    }

    /// The user as whom clients are served that show nothing.
    fn anonymous(&self) -> Result<Option<Principal>, Error> {
        let Some(username) = self.0.settings.mqtt_anonymous.clone() else { return Ok(None) };
        let account = self.0.store.account(&username)?.ok_or(Error::Unauthorized)?;
        let sign_in = SignIn { generation: account.generation, by_password_alone: false, session: None };
        Principal::new(username, account, None, sign_in).map(Some)
    }
}
