//! Backups, for admins.

use serde::Deserialize;

use super::extract::{AdminBody, ByAdmin};
use super::reply::{self, Reply};
use crate::app::App;

/// A backup is asked for: there is nothing to choose.
#[derive(Deserialize)]
pub struct WantedBackup {}

impl AdminBody for WantedBackup {}

pub async fn backup(app: App, ByAdmin(admin, WantedBackup {}): ByAdmin<WantedBackup>) -> Reply {
    Ok(reply::tar(app.backups.stream(&admin).await?))
}
