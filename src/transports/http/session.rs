//! A user's own sign-in: `/sign_up`, `/login`, `/verify`, `/password_reset`.

use serde_json::json;

use super::extract::{Json, Peer};
use super::reply::{self, Reply};
use crate::app::App;
use crate::identity::{Credentials, NewAccount, NewPassword, Principal};

pub async fn sign_up(app: App, Peer(from): Peer, Json(new): Json<NewAccount>) -> Reply {
    app.identity.sign_up(new, from).await?;
    Ok(reply::empty())
}

pub async fn login(app: App, Peer(from): Peer, Json(credentials): Json<Credentials>) -> Reply {
    let jwt = app.identity.login(credentials, from).await?;
    reply::json(&json!({ "jwt": jwt }))
}

pub async fn verify(app: App, principal: Principal) -> Reply {
    reply::json(&app.identity.verify(&principal)?)
}

pub async fn password_reset(app: App, Peer(from): Peer, Json(new): Json<NewPassword>) -> Reply {
    app.identity.reset_password(new, from).await?;
    Ok(reply::empty())
}
