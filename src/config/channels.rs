//! The flags of the channels that clients of ChannelAPI use.

use std::path::PathBuf;

use clap::Args;

use super::values::{check_path, secret};
use crate::domain::{Secret, TenantName};

/// The key that ChannelAPI has if none is set. It is published, and so no secret.
pub const DEFAULT_AUTH_KEY: &str = "s3cur3_t0k3n";

/// Flags of the channels.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct ChannelFlags {
    /// Key with which servers make channels and send messages, as ChannelAPI has it. It opens /channel and /message, and
    /// channels over Socket.IO. Better in a file or the environment than here.
    #[arg(long, env = "BROKER_AUTH_KEY", hide_env_values = true)]
    pub auth_key: Option<String>,
    /// File with that key.
    #[arg(long, env = "BROKER_AUTH_KEY_FILE")]
    pub auth_key_file: Option<PathBuf>,
    /// Tenant whose events are the messages of the channels.
    #[arg(long, env = "BROKER_CHANNEL_TENANT")]
    pub channel_tenant: Option<String>,
}

/// Settings of the channels.
#[derive(Clone, Debug)]
pub struct Channels {
    /// The tenant whose events are the messages.
    pub tenant: TenantName,
    /// The key that the servers have.
    pub key: Secret,
}

impl TryFrom<ChannelFlags> for Option<Channels> {
    type Error = String;

    fn try_from(flags: ChannelFlags) -> Result<Self, String> {
        let ChannelFlags { auth_key: text, auth_key_file: file, channel_tenant: tenant } = flags;
        let key = match (text, &file) {
            (None, None) => None,
            (text, file) => {
                file.as_ref().map_or(Ok(()), |file| check_path("auth_key_file", file))?;
                Some(secret("auth_key", text.unwrap_or_default(), "", file.as_deref())?)
            }
        };
        match (key, tenant) {
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err("auth_key is set, and channel_tenant is not: set it to the tenant of the channels".to_owned())
            }
            (None, Some(_)) => {
                Err("channel_tenant is set, and auth_key is not: set it, best by --auth_key_file".to_owned())
            }
            (Some(key), Some(tenant)) => {
                let parsed =
                    TenantName::parse(&tenant).map_err(|error| format!("channel_tenant {tenant:?}: {error}"))?;
                Ok(Some(Channels { tenant: parsed, key }))
            }
        }
    }
}
