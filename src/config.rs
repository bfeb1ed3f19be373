//! The configuration: flags and environment, read and checked once.

mod channels;
mod flags;
mod mqtt;
mod notiflux;
mod settings;
mod sign_ups;
mod values;

use std::net::IpAddr;
use std::path::PathBuf;

use channels::DEFAULT_AUTH_KEY;
use flags::{
    AuthorizeFlag, DEFAULT_ADMIN_TOKEN, DEFAULT_CERT_PATH, DEFAULT_CERTS, DEFAULT_DOMAIN, DEFAULT_HTTPS_PORT,
    DEFAULT_JWT_SECRET, DEFAULT_KEY_PATH, DEFAULT_PORT,
};

pub use channels::Channels;
pub use flags::{Flags, LogFormat};
pub use mqtt::{Mqtt, MqttGuests};
pub use notiflux::Notiflux;
pub use settings::{Deletions, Limits, Passwords, Retained, SignIns};
pub use sign_ups::{SignUps, Signup};
pub use values::{Origins, secret_of_file};

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
    /// Flags that are set, but have no effect because of others.
    pub idle: Vec<&'static str>,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The filter of the log.
    pub log: String,
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
    /// The configuration of the server that runs, or would run, with these variables alone.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn of_variables() -> Result<Self, String> {
        let flags = Flags::read(["broker".into()], variable).map_err(|error| said(&error))?;
        Self::try_from(flags)
    }
}

/// The value of a variable.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What clap says of a mistake, without its own beginning.
pub fn said(error: &clap::Error) -> String {
    error.to_string().trim_start_matches("error: ").trim_end().to_owned()
}

impl TryFrom<Flags> for Config {
    type Error = String;

    fn try_from(flags: Flags) -> Result<Self, String> {
        let idle = idle(&flags);
        for (name, path) in [
            ("db", Some(&flags.db)),
            ("certs", Some(&flags.certs)),
            ("key_path", Some(&flags.key_path)),
            ("cert_path", Some(&flags.cert_path)),
            ("acme_ca", flags.acme_ca.as_ref()),
            ("admin_token_file", flags.admin_token_file.as_ref()),
            ("jwt_secret_file", flags.jwt_secret_file.as_ref()),
        ] {
            path.map_or(Ok(()), |path| check_path(name, path))?;
        }
        let admin_token =
            secret("admin_token", flags.admin_token, DEFAULT_ADMIN_TOKEN, flags.admin_token_file.as_deref())?;
        let jwt_secret = secret("jwt_secret", flags.jwt_secret, DEFAULT_JWT_SECRET, flags.jwt_secret_file.as_deref())?;

        let channels: Option<Channels> = flags.channels.try_into()?;
        let mqtt = flags.mqtt.read(flags.secure, &jwt_secret)?;
        let auth_key = channels.as_ref().map(|channels| ("auth_key", &channels.key, DEFAULT_AUTH_KEY));

        let weak: Vec<_> =
            [("admin_token", &admin_token, DEFAULT_ADMIN_TOKEN), ("jwt_secret", &jwt_secret, DEFAULT_JWT_SECRET)]
                .into_iter()
                .chain(auth_key)
                .chain(mqtt.iter().flat_map(Mqtt::secrets).map(|(name, secret)| (name, secret, "")))
                .filter(|(_, secret, default)| {
                    secret.expose().len() < MIN_SECRET_BYTES || secret.matches(default.as_bytes())
                })
                .map(|(name, ..)| name)
                .collect();
        let weak_secrets = !weak.is_empty();
        let host = flags.host.unwrap_or(if weak_secrets { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0; 4]) });
        if weak_secrets && (flags.secure || !host.is_loopback()) {
            let what = if flags.secure { "serve HTTPS".to_owned() } else { format!("listen on {host}") };
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
            idle,
            log_format: flags.log_format,
            log: flags.log,
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
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, String> {
        config_among(args, &[])
    }

    /// The same, with variables that are not Broker's own.
    fn config_among(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        let args = std::iter::once("broker").chain(args.iter().copied()).map(Into::into);
        let variable = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        Flags::read(args, variable).map_err(|error| error.to_string()).and_then(Config::try_from)
    }

    const STRONG: [&str; 2] = ["--admin_token=0123456789abcdef", "--jwt_secret=0123456789abcdef"];

    #[test]
    fn with_default_secrets_only_this_machine_is_served() {
        let config = config(&[]).unwrap();
        assert_eq!((config.host.to_string().as_str(), config.listen), ("127.0.0.1", Listen::Http(8080)));
    }

    #[test]
    fn default_or_short_secrets_are_refused_beyond_this_machine_with_advice() {
        for args in
            [&["--host=0.0.0.0"][..], &["--secure=true"], &["--host", "0.0.0.0", "--jwt_secret=0123456789abcdef"]]
        {
            assert!(config(args).unwrap_err().contains("--admin_token_file"), "{args:?}");
        }
        assert_eq!(config(&STRONG).unwrap().host.to_string(), "0.0.0.0");
    }

    #[test]
    fn a_flag_takes_its_value_with_a_space_or_an_equals_sign() {
        for args in [&["--password_checker", "true"][..], &["--password_checker=true"], &["--password_checker"]] {
            assert!(config(args).unwrap().passwords.password_checker, "{args:?}");
        }
        assert!(!config(&["--password_checker=false"]).unwrap().passwords.password_checker);
    }

    #[test]
    fn a_secret_comes_from_its_file_without_the_line_break_but_not_from_two_places() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let flag = format!("--jwt_secret_file={}", file.path().display());
        assert_eq!(config(&[&flag]).unwrap().jwt_secret.expose(), b"0123456789abcdef");
        assert!(config(&[&flag, "--jwt_secret=x"]).unwrap_err().contains("not both"));
    }

    #[test]
    fn channels_need_a_key_and_a_tenant_and_a_weak_key_keeps_the_server_on_this_machine() {
        let (tenant, key) = ("--channel_tenant=acme", "--auth_key=0123456789abcdef");
        assert!(config(&STRONG).unwrap().channels.is_none());
        let with = |args: &[&str]| config(&[args, &STRONG].concat());
        let served = with(&[tenant, key]).unwrap();
        assert_eq!((served.channels.unwrap().tenant.as_str(), served.host.to_string().as_str()), ("acme", "0.0.0.0"));
        assert!(with(&[tenant]).unwrap_err().contains("auth_key_file"));
        assert!(with(&[key]).unwrap_err().contains("channel_tenant is not"));
        assert!(with(&[tenant, "--auth_key="]).unwrap_err().contains("auth_key is empty"));
        for weak in ["--auth_key=s3cur3_t0k3n", "--auth_key=short"] {
            assert!(with(&[tenant, weak]).unwrap().callers.only_this_machine, "{weak}");
            assert!(with(&[tenant, weak, "--host=0.0.0.0"]).unwrap_err().contains("set auth_key to"), "{weak}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let by_file = format!("--auth_key_file={}", file.path().display());
        assert_eq!(with(&[tenant, &by_file]).unwrap().channels.unwrap().key.expose(), b"0123456789abcdef");
        assert!(with(&[tenant, key, &by_file]).unwrap_err().contains("not both"));
    }

    /// Base64 of a public key in PEM.
    const KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFaGhJT1kyWmdVWXRSUzdBQy9BNHZIWU9VcXV3SQprSFhPWnVob1lYNlJ4em1uakdMUzliNndPVk05ZXNtZ1lFRm9jb0trZDd1VXhPQmtyN2NuOW55b2lBPT0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg==";

    #[test]
    fn clients_of_notiflux_are_served_with_a_tenant_and_a_key_and_with_one_alone_the_start_says_what_is_missing() {
        assert!(config(&[]).unwrap().notiflux.is_none());
        let (tenant, key) = ("--notiflux_tenant=acme", format!("--jwt_public_key_b64={KEY}"));
        assert!(config(&[tenant]).unwrap_err().contains("jwt_public_key_file"));
        assert!(config(&[&key]).unwrap_err().contains("notiflux_tenant is not"));
        let notiflux = config(&[tenant, &key]).unwrap().notiflux.unwrap();
        assert_eq!((notiflux.tenant.as_str(), notiflux.strict_compat, notiflux.end_with_token), ("acme", false, false));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, KEY).unwrap();
        let by_file = format!("--jwt_public_key_file={}", file.path().display());
        assert_eq!(config(&[tenant, &by_file]).unwrap().notiflux.unwrap().key, notiflux.key);
        assert!(config(&[tenant, &key, &by_file]).unwrap_err().contains("not both"));
        assert!(config(&[tenant, "--jwt_public_key_b64=eA=="]).unwrap_err().starts_with("jwt_public_key_b64: "));
        assert!(config(&["--notiflux_tenant=", &key]).unwrap_err().contains("notiflux_tenant \"\""));
    }

    #[test]
    fn the_variables_of_notiflux_count_only_where_its_clients_are_served_and_after_those_of_broker() {
        let on = ["--notiflux_tenant=acme", &format!("--jwt_public_key_b64={KEY}")];
        let variables = [("HOST", "127.0.0.2"), ("PORT", "3000")];
        let listens = |args: &[&str], variables: &[(&str, &str)]| {
            let Config { host, listen, .. } = config_among(&[args, &STRONG].concat(), variables).unwrap();
            (host.to_string(), listen)
        };
        let usual = ("0.0.0.0".to_owned(), Listen::Http(8080));
        assert_eq!(listens(&[], &variables), usual, "another program's");
        assert_eq!(listens(&[], &[("HOST", "my-machine"), ("PORT", "x")]), usual);
        assert_eq!(listens(&on, &variables), ("127.0.0.2".to_owned(), Listen::Http(3000)));
        let own = ["--host=127.0.0.3", "--port=8080"];
        assert_eq!(listens(&[&on[..], &own].concat(), &variables), ("127.0.0.3".to_owned(), Listen::Http(8080)));
        for wrong in [("HOST", "my-machine"), ("PORT", "x")] {
            assert!(config_among(&on, &[wrong]).unwrap_err().contains(wrong.0));
        }
    }

    #[test]
    fn a_bad_value_is_told() {
        for args in
            [&["--port=x"][..], &["--nonsense=1"], &["--jwt_expiry=0"], &["--origin=example.com"], &["--secure=maybe"]]
        {
            assert!(config(args).is_err(), "{args:?}");
        }
    }
}
