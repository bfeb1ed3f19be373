//! The configuration: flags, variables and a file, read and checked at the start and again at each reload.

mod archiving;
mod channels;
mod file;
mod flags;
mod live;
mod mqtt;
mod notiflux;
mod settings;
mod sign_ups;
mod sources;
mod values;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use channels::DEFAULT_AUTH_KEY;
use flags::{
    AuthorizeFlag, DEFAULT_ADMIN_TOKEN, DEFAULT_CERT_PATH, DEFAULT_CERTS, DEFAULT_DOMAIN, DEFAULT_HTTPS_PORT,
    DEFAULT_JWT_SECRET, DEFAULT_KEY_PATH, DEFAULT_PORT,
};

pub use archiving::Archiving;
pub use channels::Channels;
pub use flags::{Flags, LogFormat};
pub use live::Live;
pub use mqtt::{Mqtt, MqttGuests};
pub use notiflux::Notiflux;
pub use settings::{Deletions, Limits, Passwords, Retained, SignIns};
pub use sign_ups::{SignUps, Signup};
pub use sources::{Setting, Source};
pub use values::{Origins, said, secret_of_file};

use values::{DEFAULT_ACME_DIRECTORY, check_path, default_scopes, list, ntp_servers, origins, secret, to_certify};

use crate::domain::{Authorize, BasePath, Scope, Secret, TrustedProxies};

/// The minimum length of a secret that may protect more than this machine.
const MIN_SECRET_BYTES: usize = 16;

/// The configuration of a server. Every value has been checked, also against the others.
#[derive(Debug)]
pub struct Config {
    /// The address to listen on.
    pub host: IpAddr,
    /// The protocol, port and certificate.
    pub listen: Listen,
    /// Where the metrics are served; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// The clients that may call.
    pub callers: Callers,
    /// The proxies that are trusted to tell a client's address.
    pub trusted_proxies: TrustedProxies,
    /// The path below which browsers see Broker.
    pub base_path: BasePath,
    /// Settings of sign-ins.
    pub sign_ins: SignIns,
    /// Settings of sign-up.
    pub sign_ups: SignUps,
    /// What becomes of a user who is deleted.
    pub deletions: Deletions,
    /// Settings of passwords.
    pub passwords: Passwords,
    /// The secret that signs JWTs.
    pub jwt_secret: Secret,
    /// The token for the admin endpoints.
    pub admin_token: Secret,
    /// The directory of the database.
    pub db: PathBuf,
    /// The size of the journal, in bytes, at which a checkpoint moves it into the database.
    pub journal_bytes: u64,
    /// Settings of the archive; `None` without one.
    pub archiving: Option<Archiving>,
    /// The rule that decides which events a user may see and insert.
    pub authorize: Authorize,
    /// The scopes of a user that is created without any; `None` means no scopes at all.
    pub default_scopes: Option<Vec<Scope>>,
    /// Limits of inserts and streams.
    pub limits: Limits,
    /// Settings of retention.
    pub retained: Retained,
    /// Settings of the routes for clients of notiflux; `None` is without these routes.
    pub notiflux: Option<Notiflux>,
    /// Settings of the channels of ChannelAPI; `None` without any.
    pub channels: Option<Channels>,
    /// Settings of MQTT; `None` without it.
    pub mqtt: Option<Mqtt>,
    /// The time servers; if there are none, the local clock is trusted.
    pub ntp_servers: Vec<String>,
    /// Whether the servers are trusted however far their time is from the local clock and the database.
    pub accept_clock_step: bool,
    /// Over which time clients are sent elsewhere and streams end, when the server is asked to stop.
    pub drain_for: Duration,
    /// Flags that are set, but have no effect because of others.
    pub idle: Vec<&'static str>,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The filter of the log.
    pub log: String,
    /// Every flag, as it was given.
    pub settings: Vec<Setting>,
}

/// The protocol, port and certificate that the server listens with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Plain HTTP on a port.
    Http(u16),
    /// HTTPS on a port.
    Https(u16, Certificate),
}

/// The source of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Files, which are read again when they change.
    Files {
        /// The private key, PEM.
        key: PathBuf,
        /// The chain, PEM, the server's own first.
        chain: PathBuf,
    },
    /// A certificate authority that supports ACME (RFC 8555).
    Acme {
        /// The name to certify.
        domain: String,
        /// The URL of the authority's directory.
        directory: String,
        /// The root of the authority's own certificate, if it is not a public one.
        ca: Option<PathBuf>,
        /// The directory for the account and the certificates.
        cache: PathBuf,
    },
}

/// The clients that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callers {
    /// The origins that may call from a browser.
    pub origins: Origins,
    /// Whether only this machine is served, because a secret is the published default or too short. Then a request must
    /// name a host of this machine, and must come from no page, or from a page of this machine.
    pub only_this_machine: bool,
}

impl Config {
    /// The secrets, with the names of their flags.
    pub fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        secrets(&self.admin_token, &self.jwt_secret, self.channels.as_ref(), self.mqtt.as_ref())
    }
}

fn secrets<'a>(
    admin_token: &'a Secret,
    jwt_secret: &'a Secret,
    channels: Option<&'a Channels>,
    mqtt: Option<&'a Mqtt>,
) -> Vec<(&'static str, &'a Secret)> {
    let own = [("admin_token", admin_token), ("jwt_secret", jwt_secret)];
    let auth_key = channels.map(|channels| ("auth_key", &channels.key));
    own.into_iter().chain(auth_key).chain(mqtt.into_iter().flat_map(Mqtt::secrets)).collect()
}

/// Whether everybody may know a secret, because it is the default of its flag.
fn is_published(name: &str, secret: &Secret) -> bool {
    let default = match name {
        "admin_token" => DEFAULT_ADMIN_TOKEN,
        "jwt_secret" => DEFAULT_JWT_SECRET,
        "auth_key" => DEFAULT_AUTH_KEY,
        _ => return false,
    };
    secret.matches(default.as_bytes())
}

/// The flags of the server that runs, or would run, with these variables and a configuration file alone. `file` counts rather than that of the
/// variables.
///
/// # Errors
/// A text that says what to change.
pub fn flags_of_server(file: Option<&Path>) -> Result<Flags, String> {
    let config = file.map(|path| [OsString::from("--config"), path.into()]);
    Flags::read(std::iter::once("broker".into()).chain(config.into_iter().flatten()), variable)
}

/// The value of a variable.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl TryFrom<Flags> for Config {
    type Error = String;

    fn try_from(mut flags: Flags) -> Result<Self, String> {
        let file = flags.file.take();
        Self::checked(flags).map_err(|why| match file {
            Some(file) => file.place(why),
            None => why,
        })
    }
}

impl Config {
    fn checked(flags: Flags) -> Result<Self, String> {
        let idle = idle(&flags);
        for (name, path) in [
            ("db", Some(&flags.db)),
            ("certs", Some(&flags.certs)),
            ("archive", flags.archiving.archive.as_ref()),
            ("key_path", Some(&flags.key_path)),
            ("cert_path", Some(&flags.cert_path)),
            ("acme_ca", flags.acme_ca.as_ref()),
            ("admin_token_file", flags.admin_token_file.as_ref()),
            ("jwt_secret_file", flags.jwt_secret_file.as_ref()),
        ] {
            path.map_or(Ok(()), |path| check_path(name, path))?;
        }
        let admin_token = flags.admin_token()?;
        let jwt_secret = secret("jwt_secret", flags.jwt_secret, DEFAULT_JWT_SECRET, flags.jwt_secret_file.as_deref())?;

        let channels: Option<Channels> = flags.channels.try_into()?;
        let mqtt = flags.mqtt.read(flags.secure, &jwt_secret)?;
        let weak: Vec<_> = secrets(&admin_token, &jwt_secret, channels.as_ref(), mqtt.as_ref())
            .into_iter()
            .filter(|(name, secret)| secret.expose().len() < MIN_SECRET_BYTES || is_published(name, secret))
            .map(|(name, _)| name)
            .collect();
        let weak_secrets = !weak.is_empty();
        let host = flags.host.unwrap_or(if weak_secrets { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0; 4]) });
        let metrics = flags.metrics_port.map(|port| SocketAddr::new(flags.metrics_host, port));
        let open = [Some(host), metrics.map(|metrics| metrics.ip())].into_iter().flatten().find(|ip| !ip.is_loopback());
        if weak_secrets && (flags.secure || open.is_some()) {
            let what = match open {
                Some(host) if !flags.secure => format!("listen on {host}"),
                _ => "serve HTTPS".to_owned(),
            };
            return Err(format!(
                "refusing to {what} with a default or short secret: set {} to at least {MIN_SECRET_BYTES} bytes that \
                 nobody can guess, best by {}",
                weak.join(" and "),
                weak.iter().map(|name| format!("--{name}_file")).collect::<Vec<_>>().join(" and "),
            ));
        }

        let listen = match (flags.secure, flags.auto_cert) {
            (false, _) => Listen::Http(flags.port),
            (true, false) => {
                Listen::Https(flags.https_port, Certificate::Files { key: flags.key_path, chain: flags.cert_path })
            }
            (true, true) => Listen::Https(
                flags.https_port,
                Certificate::Acme {
                    domain: to_certify(&flags.domain, &flags.acme_directory)?,
                    directory: flags.acme_directory,
                    ca: flags.acme_ca,
                    cache: flags.certs,
                },
            ),
        };

        Ok(Self {
            host,
            listen,
            metrics,
            callers: Callers { origins: origins(&flags.origin)?, only_this_machine: weak_secrets },
            trusted_proxies: TrustedProxies::parse(list(&flags.trusted_proxies))
                .map_err(|why| format!("trusted_proxies: {why}"))?,
            base_path: flags.base_path,
            sign_ins: flags.sign_ins,
            sign_ups: flags.sign_ups.try_into()?,
            deletions: flags.deletions,
            passwords: flags.passwords,
            jwt_secret,
            admin_token,
            db: flags.db,
            journal_bytes: flags.journal_bytes,
            archiving: flags.archiving.into(),
            authorize: match flags.authorize {
                AuthorizeFlag::Open => Authorize::Open,
                AuthorizeFlag::Scopes => Authorize::Scopes,
            },
            default_scopes: default_scopes(&flags.default_scopes)?,
            limits: flags.limits,
            retained: flags.retained,
            notiflux: flags.notiflux.try_into()?,
            channels,
            mqtt,
            ntp_servers: ntp_servers(&flags.ntp_servers)?,
            accept_clock_step: flags.accept_clock_step,
            drain_for: flags.drain_for,
            idle,
            log_format: flags.log_format,
            log: flags.log,
            settings: flags.settings,
        })
    }
}

/// The port, and flags of HTTPS, that differ from their default and have no effect.
fn idle(flags: &Flags) -> Vec<&'static str> {
    let Flags { secure, auto_cert, .. } = *flags;
    let (is_by_acme, is_by_files) = (secure && auto_cert, secure && !auto_cert);
    // Whether it has an effect, and whether it is set.
    let all = [
        ("port", !secure, flags.port != DEFAULT_PORT),
        ("https_port", secure, flags.https_port != DEFAULT_HTTPS_PORT),
        ("auto_cert", secure, !auto_cert),
        ("key_path", is_by_files, flags.key_path.as_os_str() != DEFAULT_KEY_PATH),
        ("cert_path", is_by_files, flags.cert_path.as_os_str() != DEFAULT_CERT_PATH),
        ("certs", is_by_acme, flags.certs.as_os_str() != DEFAULT_CERTS),
        ("domain", is_by_acme, flags.domain != DEFAULT_DOMAIN),
        ("acme_directory", is_by_acme, flags.acme_directory != DEFAULT_ACME_DIRECTORY),
        ("acme_ca", is_by_acme, flags.acme_ca.is_some()),
    ];
    all.into_iter().filter(|(_, has_effect, is_set)| *is_set && !has_effect).map(|(name, ..)| name).collect()
}

#[cfg(test)]
mod tests;
