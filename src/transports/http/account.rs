//! A user's own account: `/me`, `/update_me`, `/change_password`, `/delete_me`, `/export_me`.

use actix_web::HttpRequest;

use super::extract::{ByUser, Json, Peer};
use super::reply::{self, Reply};
use super::request::is_head;
use crate::app::App;
use crate::identity::{Device, NewOwnPassword, OwnInput, Principal, Removal};

/// `GET /me`: the own user.
pub async fn show(app: App, principal: Principal) -> Reply {
    reply::json(&app.identity.me(&principal)?)
}

/// `POST /update_me`.
pub async fn update(app: App, Peer(from): Peer, ByUser(principal, Json(input)): ByUser<Json<OwnInput>>) -> Reply {
    app.events.take_for_update(&principal).await?;
    app.identity.update_me(&principal, input, from).await?;
    Ok(reply::empty())
}

/// `POST /change_password`.
pub async fn change_password(
    app: App,
    device: Device,
    ByUser(principal, Json(new)): ByUser<Json<NewOwnPassword>>,
) -> Reply {
    reply::json(&app.identity.change_password(&principal, new, device).await?)
}

/// `POST /delete_me`.
pub async fn delete(app: App, Peer(from): Peer, ByUser(principal, Json(removal)): ByUser<Json<Removal>>) -> Reply {
    app.identity.delete_me(&principal, removal, from).await?;
    Ok(reply::empty())
}

/// `GET /export_me`: everything that is kept of the user, a JSON object a line.
pub async fn export(app: App, principal: Principal, request: HttpRequest) -> Reply {
    if is_head(&request) {
        return Ok(reply::head_of_lines());
    }
    Ok(reply::lines(app.events.export(principal).await?))
}
