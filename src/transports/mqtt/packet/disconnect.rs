//! DISCONNECT and AUTH of clients (MQTT 5.0, 3.14 and 3.15).

use super::connect::{Authentication, Secret};
use super::fields::Fields;
use super::property::{FOREIGN, Properties, Property};
use super::reason::{OF_AUTH, OF_DISCONNECT, Reason};
use super::version::Version;
use super::violation::Violation;

/// A DISCONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The reason code. With [`Reason::Success`], the will is not published.
    pub reason: Reason,
    /// A new session expiry interval in seconds, in place of the one in CONNECT. The caller must check that it is 0 if the one in CONNECT
    /// was 0 (MQTT 5.0, 3.14.2.2.2).
    pub session_expiry: Option<u32>,
}

/// An AUTH packet: enhanced authentication goes on, or begins again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// [`Reason::ContinueAuthentication`] or [`Reason::Reauthenticate`].
    pub reason: Reason,
    /// The method and its data.
    pub authentication: Authentication,
}

impl Disconnect {
    pub(super) fn read(mut fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        let mut disconnect = Self { reason: Reason::Success, session_expiry: None };
        if version.has_properties() && !fields.is_empty() {
            disconnect.reason = fields.reason(OF_DISCONNECT)?;
            if !fields.is_empty() {
                let mut properties = Properties::read(&mut fields)?;
                while let Some(property) = properties.next()? {
                    match property {
                        Property::SessionExpiryInterval(seconds) => disconnect.session_expiry = Some(seconds),
                        Property::ReasonString(_) | Property::UserProperty(..) => {}
                        _ => return Err(FOREIGN),
                    }
                }
            }
        }
        fields.finish()?;
        Ok(disconnect)
    }
}

impl Auth {
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, Violation> {
        if fields.is_empty() {
            return Err(Violation::protocol("an AUTH that says success, which only servers do"));
        }
        let reason = fields.reason(OF_AUTH)?;
        let (mut method, mut data) = (None, None);
        let mut properties = Properties::read(&mut fields)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(text) => method = Some(text),
                Property::AuthenticationData(bytes) => data = Some(Secret::copy(bytes)),
                Property::ReasonString(_) | Property::UserProperty(..) => {}
                _ => return Err(FOREIGN),
            }
        }
        fields.finish()?;
        let method = method.ok_or(Violation::protocol("an AUTH without an authentication method"))?;
        Ok(Self { reason, authentication: Authentication { method: method.to_owned(), data } })
    }
}
