//! Two-factor authentication, as its owner switches it on and off.

use super::extract::{ByUser, Json, Peer};
use super::reply::{self, Reply};
use crate::app::App;
use crate::identity::{BeginTwoFactor, ConfirmTwoFactor, Device, EndTwoFactor};

pub async fn begin(app: App, Peer(from): Peer, ByUser(principal, Json(begin)): ByUser<Json<BeginTwoFactor>>) -> Reply {
    reply::json(&app.identity.begin_two_factor(&principal, begin, from).await?)
}

pub async fn confirm(
    app: App,
    device: Device,
    ByUser(principal, Json(confirm)): ByUser<Json<ConfirmTwoFactor>>,
) -> Reply {
    reply::json(&app.identity.confirm_two_factor(&principal, confirm, device).await?)
}

pub async fn end(app: App, Peer(from): Peer, ByUser(principal, Json(end)): ByUser<Json<EndTwoFactor>>) -> Reply {
    app.identity.end_two_factor(&principal, end, from).await?;
    Ok(reply::empty())
}
