//! The lines of an import.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::parse;
use crate::app::{App, ImportItem};
use crate::domain::{EventName, Payload, PayloadError, TenantName};
use crate::error::Error;
use crate::identity::{Admin, ImportedSecrets, UserInput};

/// What a line is of. It may have fields that mean nothing here, such as those that an export has for the reader.
#[derive(Deserialize)]
struct OfKind {
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    User,
    Event,
    /// The last line of an export.
    End,
}

#[derive(Deserialize)]
struct EventLine<'a> {
    #[serde(borrow)]
    tenant_name: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    /// Raw, so that no digit or key of it changes.
    #[serde(borrow)]
    data: &'a RawValue,
    username: Option<String>,
    expires_at: Option<u64>,
    transient: Option<bool>,
    removed: Option<bool>,
}

/// Reads a line.
///
/// # Errors
/// [`Error::BodyInvalid`]; of a user those of [`crate::identity::Identity::imported_user`]; of an event those of
/// [`crate::app::Events::imported`], [`Error::TenantNameInvalid`], [`Error::EventNameInvalid`], [`Error::DataTooDeep`].
pub fn item(app: &App, admin: &Admin, line: &str) -> Result<ImportItem, Error> {
    // Some editors and shells begin a file with it (RFC 8259, section 8.1).
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    match parse::<OfKind>(line)?.kind {
        Kind::User => {
            let (input, secrets) = (parse::<UserInput>(line)?, parse::<ImportedSecrets>(line)?);
            app.identity.imported_user(admin, input, secrets).map(|user| ImportItem::User(Box::new(user)))
        }
        Kind::End => Ok(ImportItem::Nothing),
        Kind::Event => {
            let EventLine { tenant_name, event, data, username, expires_at, transient, removed } = parse(line)?;
            let (tenant, name) = (TenantName::parse(&tenant_name)?, EventName::parse(&event)?);
            let data = match removed {
                Some(true) => None,
                _ => Some(Payload::from_valid_json(data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?),
            };
            app.events.imported(tenant, username, (name, data), expires_at, transient.unwrap_or(false))
        }
    }
}
