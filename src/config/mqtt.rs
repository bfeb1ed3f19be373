//! MQTT: where it is served, and what the clients of the mobile broker need.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{ArgAction, Args, value_parser};

use super::values::{check_path, secret, text_of_file};
use crate::domain::{Secret, TenantName, Username};

/// Flags of MQTT.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct MqttFlags {
    /// Port for MQTT without TLS; without a number 1883, and 0 takes any free one [default: none].
    #[arg(long, env = "BROKER_MQTT_PORT", num_args = 0..=1, default_missing_value = "1883")]
    pub mqtt_port: Option<u16>,
    /// With --secure: port for MQTT over TLS, with the certificate of HTTPS; without a number 8883 [default: none].
    #[arg(long, env = "BROKER_MQTTS_PORT", num_args = 0..=1, default_missing_value = "8883")]
    pub mqtts_port: Option<u16>,
    /// Serve MQTT over WebSocket on /mqtt. A port for MQTT does so, too.
    #[arg(long, env = "BROKER_MQTT", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub mqtt: bool,
    /// Serve MQTT over WebSocket on /mqtt, and on every path that is no other.
    #[arg(long, env = "BROKER_MQTT_ANY_PATH", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub mqtt_any_path: bool,
    /// User as whom MQTT clients are served that give neither a name nor a password [default: none, and they are refused].
    #[arg(long, env = "BROKER_MQTT_ANONYMOUS")]
    pub mqtt_anonymous: Option<String>,
    /// Tenant of MQTT clients with tokens of another service, and of handlers.
    #[arg(long, env = "BROKER_MQTT_TENANT")]
    pub mqtt_tenant: Option<String>,
    /// Secret that checks those tokens if they are signed by HS256. Better in a file or the environment than here.
    #[arg(long, env = "BROKER_MQTT_JWT_SECRET", hide_env_values = true)]
    pub mqtt_jwt_secret: Option<String>,
    /// File with that secret.
    #[arg(long, env = "BROKER_MQTT_JWT_SECRET_FILE")]
    pub mqtt_jwt_secret_file: Option<PathBuf>,
    /// File with the public key, PEM, that checks those tokens if they are signed by RS256.
    #[arg(long, env = "BROKER_MQTT_JWT_KEY_FILE")]
    pub mqtt_jwt_key_file: Option<PathBuf>,
    /// Password of MQTT clients that call themselves handler: they see and publish everything but inboxes. Better in a
    /// file or the environment than here.
    #[arg(long, env = "BROKER_MQTT_HANDLER_KEY", hide_env_values = true)]
    pub mqtt_handler_key: Option<String>,
    /// File with that password.
    #[arg(long, env = "BROKER_MQTT_HANDLER_KEY_FILE")]
    pub mqtt_handler_key_file: Option<PathBuf>,
    /// MQTT connections that a user may begin in a second; 0 is no limit.
    #[arg(long, env = "BROKER_MQTT_CONNECT_RATE", default_value_t = 0)]
    pub mqtt_connect_rate: u32,
    /// Topic filters that an MQTT connection may have.
    #[arg(long, env = "BROKER_MQTT_FILTERS", default_value = "1000", value_parser = value_parser!(u16).range(1..=1000).map(usize::from))]
    pub mqtt_filters: usize,
    /// MQTT sessions of a user that outlive their connections. One more ends the one whose connection ended first.
    #[arg(long, env = "BROKER_MQTT_SESSIONS", default_value = "100", value_parser = value_parser!(u16).range(1..=1000).map(usize::from))]
    pub mqtt_sessions: usize,
}

/// Settings of MQTT.
#[derive(Clone, Debug)]
pub struct Mqtt {
    /// The port without TLS.
    pub port: Option<u16>,
    /// The port with TLS.
    pub tls_port: Option<u16>,
    /// Whether WebSocket serves MQTT on every path that is no other.
    pub any_path: bool,
    /// The user as whom clients without credentials are served.
    pub anonymous: Option<Username>,
    /// How tokens of another service are checked, and handlers known.
    pub guests: Option<MqttGuests>,
    /// How many connections a user may begin in a second; 0 is no limit.
    pub connect_rate: u32,
    /// How many topic filters a connection may have.
    pub filters: usize,
    /// How many sessions of a user outlive their connections.
    pub sessions: usize,
}

impl Mqtt {
    /// The secrets by which clients are known, with the names of their flags.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let guests = self.guests.iter();
        guests.flat_map(|guests| {
            let token_secret = guests.secret.iter().map(|secret| ("mqtt_jwt_secret", secret));
            token_secret.chain(guests.handler_key.iter().map(|key| ("mqtt_handler_key", key)))
        })
    }
}

/// Clients of MQTT without an account here.
#[derive(Clone, Debug)]
pub struct MqttGuests {
    /// Their tenant.
    pub tenant: TenantName,
    /// The secret of tokens by HS256.
    pub secret: Option<Secret>,
    /// The public key of tokens by RS256, in PEM.
    pub key: Option<String>,
    /// The password of handlers.
    pub handler_key: Option<Secret>,
}

impl MqttFlags {
    /// Takes the secret in the mobile broker's own variables, `JWT_SECRET` or `SECRET`, if no other is set. They count only with
    /// `mqtt_tenant`: other programs use variables of these names, too.
    pub fn take_variables(&mut self, variable: impl Fn(&str) -> Option<String>) {
        if self.mqtt_tenant.is_some() && self.mqtt_jwt_secret.is_none() && self.mqtt_jwt_secret_file.is_none() {
            self.mqtt_jwt_secret = variable("JWT_SECRET").or_else(|| variable("SECRET"));
        }
    }

    fn is_served(&self) -> bool {
        self.mqtt || self.mqtt_any_path || self.mqtt_port.is_some() || self.mqtts_port.is_some()
    }

    fn guests(&self) -> Result<Option<MqttGuests>, String> {
        let secret_of = |name, text: &Option<String>, file: &Option<PathBuf>| match (text, file) {
            (None, None) => Ok(None),
            (text, file) => {
                file.as_ref().map_or(Ok(()), |file| check_path(&format!("{name}_file"), file))?;
                secret(name, text.clone().unwrap_or_default(), "", file.as_deref()).map(Some)
            }
        };
        let token_secret = secret_of("mqtt_jwt_secret", &self.mqtt_jwt_secret, &self.mqtt_jwt_secret_file)?;
        let handler_key = secret_of("mqtt_handler_key", &self.mqtt_handler_key, &self.mqtt_handler_key_file)?;
        let key = match &self.mqtt_jwt_key_file {
            None => None,
            Some(path) => {
                check_path("mqtt_jwt_key_file", path)?;
                let read = text_of_file(path);
                Some(read.map_err(|why| format!("mqtt_jwt_key_file {}: {why}", path.display()))?)
            }
        };
        let is_any = token_secret.is_some() || key.is_some() || handler_key.is_some();
        match &self.mqtt_tenant {
            None if is_any => Err("a secret or key for MQTT clients without an account is set (mqtt_jwt_secret, \
                 mqtt_jwt_key_file or mqtt_handler_key), and mqtt_tenant is not: set it to the tenant of their topics"
                .to_owned()),
            None => Ok(None),
            Some(_) if !is_any => Err("mqtt_tenant is set, and nothing by which its clients are known: set \
                 mqtt_jwt_secret_file, mqtt_jwt_key_file or mqtt_handler_key_file"
                .to_owned()),
            Some(tenant) => {
                let parsed = TenantName::parse(tenant).map_err(|error| format!("mqtt_tenant {tenant:?}: {error}"))?;
                Ok(Some(MqttGuests { tenant: parsed, secret: token_secret, key, handler_key }))
            }
        }
    }

    /// What is set, checked; `None` if MQTT is not served. `jwt_secret` is that of our own tokens.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn read(self, secure: bool, jwt_secret: &Secret) -> Result<Option<Mqtt>, String> {
        let guests = self.guests()?;
        let token_secret = guests.as_ref().and_then(|guests| guests.secret.as_ref());
        if token_secret.is_some_and(|secret| secret.matches(jwt_secret.expose())) {
            // A token of a user that is revoked would be one of a guest.
            return Err(
                "mqtt_jwt_secret is the same as jwt_secret: let the other service sign with a secret of its own"
                    .to_owned(),
            );
        }
        if self.mqtts_port.is_some() && !secure {
            return Err("mqtts_port needs the certificate of HTTPS: set secure".to_owned());
        }
        let anonymous = match &self.mqtt_anonymous {
            None => None,
            Some(name) => Some(Username::parse(name).map_err(|error| format!("mqtt_anonymous {name:?}: {error}"))?),
        };
        if !self.is_served() {
            return match guests.is_some() || anonymous.is_some() {
                true => {
                    Err("there are settings of MQTT, and MQTT is not served: set mqtt_port, mqtts_port or mqtt"
                        .to_owned())
                }
                false => Ok(None),
            };
        }
        let MqttFlags {
            mqtt_port: port,
            mqtts_port: tls_port,
            mqtt_any_path: any_path,
            mqtt_filters: filters,
            mqtt_sessions: sessions,
            mqtt_connect_rate: connect_rate,
            ..
        } = self;
        Ok(Some(Mqtt { port, tls_port, any_path, anonymous, guests, connect_rate, filters, sessions }))
    }
}

#[cfg(test)]
mod tests;
