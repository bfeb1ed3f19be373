//! What clients of notiflux need: the flags, and what its own environment variables mean here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::settings::audience;
use super::values::{check_path, text_of_file};
use crate::domain::{Es256PublicKey, TenantName};

/// Flags of the routes for clients of notiflux.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct NotifluxFlags {
    /// Tenant whose events are the topics of notiflux clients. With a public key it opens /ws and /broadcast to them.
    #[arg(long, env = "BROKER_NOTIFLUX_TENANT")]
    pub notiflux_tenant: Option<String>,
    /// Public key that checks the tokens of notiflux clients (ES256): base64 of PEM, or PEM.
    #[arg(long, env = "JWT_PUBLIC_KEY_B64")]
    pub jwt_public_key_b64: Option<String>,
    /// File with that public key: PEM, or base64 of PEM.
    #[arg(long, env = "BROKER_JWT_PUBLIC_KEY_FILE")]
    pub jwt_public_key_file: Option<PathBuf>,
    /// Audience (`aud`) that their tokens must have [default: none, and tokens with one are refused].
    #[arg(long, env = "BROKER_NOTIFLUX_AUDIENCE", value_parser = audience)]
    pub notiflux_audience: Option<String>,
    /// Answer every /broadcast with 200 and no body, as notiflux does, also if it was refused.
    #[arg(long, env = "BROKER_NOTIFLUX_STRICT_COMPAT", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub notiflux_strict_compat: bool,
    /// End a subscription to a topic when the token that it was made with expires; notiflux keeps it until the client goes.
    #[arg(long, env = "BROKER_NOTIFLUX_END_WITH_TOKEN", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub notiflux_end_with_token: bool,
}

/// Settings of the routes for clients of notiflux.
#[derive(Clone, Debug)]
pub struct Notiflux {
    /// The tenant whose events are the topics.
    pub tenant: TenantName,
    /// The key that tokens are checked with.
    pub key: Es256PublicKey,
    /// The audience that tokens must have; `None` refuses those that have one.
    pub audience: Option<String>,
    /// Whether a refused `/broadcast` looks like one that was done.
    pub strict_compat: bool,
    /// Whether a subscription ends with its token.
    pub end_with_token: bool,
}

impl NotifluxFlags {
    /// The address and port in notiflux's own variables `HOST` and `PORT`, each if it is set. They count only with
    /// `notiflux_tenant`: other programs use variables of these names, too.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn address(&self, variable: impl Fn(&str) -> Option<String>) -> Result<(Option<IpAddr>, Option<u16>), String> {
        if self.notiflux_tenant.is_none() {
            return Ok((None, None));
        }
        let not =
            |name, what| format!("{name} in the environment is no {what}: set BROKER_{name} instead, or unset it");
        let host = variable("HOST").map(|host| host.parse().map_err(|_| not("HOST", "IP address")));
        let port = variable("PORT").map(|port| port.parse().map_err(|_| not("PORT", "port")));
        Ok((host.transpose()?, port.transpose()?))
    }
}

impl TryFrom<NotifluxFlags> for Option<Notiflux> {
    type Error = String;

    fn try_from(flags: NotifluxFlags) -> Result<Self, String> {
        let NotifluxFlags { notiflux_tenant: tenant, jwt_public_key_b64: text, jwt_public_key_file: file, .. } = flags;
        let key = match (text, file) {
            (None, None) => None,
            (Some(_), Some(_)) => return Err("set jwt_public_key_b64 or jwt_public_key_file, not both".to_owned()),
            (Some(text), None) => Some(("jwt_public_key_b64".to_owned(), text)),
            (None, Some(path)) => {
                check_path("jwt_public_key_file", &path)?;
                let place = format!("jwt_public_key_file {}", path.display());
                let text = text_of_file(&path).map_err(|why| format!("{place}: {why}"))?;
                Some((place, text))
            }
        };
        let ((place, text), tenant) = match (key, tenant) {
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err("a public key for notiflux clients is set (jwt_public_key_b64 or JWT_PUBLIC_KEY_B64, \
                            jwt_public_key_file), and notiflux_tenant is not: set it to the tenant of their topics, or unset the key"
                    .to_owned());
            }
            (None, Some(_)) => {
                return Err(
                    "notiflux_tenant is set, and the key that checks tokens is not: set jwt_public_key_b64 or \
                            jwt_public_key_file"
                        .to_owned(),
                );
            }
            (Some(key), Some(tenant)) => (key, tenant),
        };
        Ok(Some(Notiflux {
            tenant: TenantName::parse(&tenant).map_err(|error| format!("notiflux_tenant {tenant:?}: {error}"))?,
            key: Es256PublicKey::parse(&text).map_err(|why| format!("{place}: {why}"))?,
            audience: flags.notiflux_audience,
            strict_compat: flags.notiflux_strict_compat,
            end_with_token: flags.notiflux_end_with_token,
        }))
    }
}
