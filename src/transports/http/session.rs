//! A user's own sign-in: `/sign_up`, `/login`, `/verify`, `/password_reset`, and sessions: `/refresh`, `/logout`, `/sessions`,
//! `/end_session`.

use serde::Deserialize;

use super::extract::{ByUser, Header, Json, Peer};
use super::reply::{self, Reply};
use crate::app::App;
use crate::domain::Secret;
use crate::error::Error;
use crate::identity::{Authorization, Credentials, Device, NewAccount, NewPassword, Principal, SessionToEnd};

/// The body of `/refresh`.
#[derive(Deserialize)]
pub struct Refresh {
    refresh_token: Secret,
}

/// The body of `/logout`.
#[derive(Deserialize)]
pub struct Logout {
    refresh_token: Option<Secret>,
}

pub async fn sign_up(app: App, Peer(from): Peer, Json(new): Json<NewAccount>) -> Reply {
    app.identity.sign_up(new, from).await?;
    Ok(reply::empty())
}

pub async fn login(app: App, device: Device, Json(credentials): Json<Credentials>) -> Reply {
    reply::json(&app.identity.login(credentials, device).await?)
}

pub async fn refresh(app: App, device: Device, Json(Refresh { refresh_token }): Json<Refresh>) -> Reply {
    reply::json(&app.identity.refresh(&refresh_token, device).await?)
}

pub async fn logout(app: App, Peer(from): Peer, header: Header, Json(Logout { refresh_token }): Json<Logout>) -> Reply {
    match (refresh_token, header.0) {
        (Some(token), _) => app.identity.logout_by_refresh_token(&token, from).await?,
        (None, header) => match header? {
            // The session of a good token may have ended already.
            Authorization::Bearer(token) => app.identity.logout(&token, from).await?,
            Authorization::Basic(username, password) => {
                app.identity.basic(username, password, from).await?;
                return Err(Error::SessionMissing);
            }
        },
    }
    Ok(reply::empty())
}

pub async fn sessions(app: App, principal: Principal) -> Reply {
    reply::json(&app.identity.sessions(&principal).await?)
}

pub async fn end_session(
    app: App,
    Peer(from): Peer,
    ByUser(principal, Json(which)): ByUser<Json<SessionToEnd>>,
) -> Reply {
    app.identity.end_session(&principal, which, from).await?;
    Ok(reply::empty())
}

pub async fn verify(app: App, principal: Principal) -> Reply {
    reply::json(&app.identity.verify(&principal)?)
}

pub async fn password_reset(app: App, Peer(from): Peer, Json(new): Json<NewPassword>) -> Reply {
    app.identity.reset_password(new, from).await?;
    Ok(reply::empty())
}
