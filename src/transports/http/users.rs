//! The admin's endpoints: those that take `admin_token` in their body.

use serde::Deserialize;
use serde_json::json;

use super::extract::{AdminBody, ByAdmin, ByAdminOrUser, Peer};
use super::reply::{self, Reply};
use crate::app::{App, ExportQuery};
use crate::error::Error;
use crate::identity::{InviteToDelete, NewInvite, UserInput, UserQuery};

/// Names a user.
#[derive(Deserialize)]
pub struct OfUser {
    username: String,
}

/// Names a user and the issuer that their authenticator app shows.
#[derive(Deserialize)]
pub struct QrOfUser {
    username: String,
    issuer: String,
}

/// Names a user to be deleted.
#[derive(Deserialize)]
pub struct UserToDelete {
    username: String,
    erase: Option<String>,
}

/// A user to be made.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct NewUser(UserInput);

impl AdminBody for NewUser {
    const WRONG_TOKEN: Error = Error::AdminTokenRefused;
}
impl AdminBody for UserInput {}
impl AdminBody for UserQuery {}
impl AdminBody for ExportQuery {}
impl AdminBody for NewInvite {}
impl AdminBody for InviteToDelete {}
impl AdminBody for OfUser {}
impl AdminBody for UserToDelete {}
impl AdminBody for QrOfUser {}

pub async fn create_user(app: App, ByAdmin(admin, NewUser(input)): ByAdmin<NewUser>) -> Reply {
    app.identity.create_user(&admin, input).await?;
    Ok(reply::empty())
}

pub async fn update_user(app: App, ByAdmin(admin, input): ByAdmin<UserInput>) -> Reply {
    app.identity.update_user(&admin, input).await?;
    Ok(reply::empty())
}

pub async fn revoke_user(app: App, ByAdmin(admin, of): ByAdmin<OfUser>) -> Reply {
    app.identity.set_revoked(&admin, &of.username, true).await?;
    Ok(reply::empty())
}

pub async fn unrevoke_user(app: App, ByAdmin(admin, of): ByAdmin<OfUser>) -> Reply {
    app.identity.set_revoked(&admin, &of.username, false).await?;
    Ok(reply::empty())
}

pub async fn delete_user(app: App, ByAdmin(admin, of): ByAdmin<UserToDelete>) -> Reply {
    app.identity.delete_user(&admin, &of.username, of.erase.as_deref()).await?;
    Ok(reply::empty())
}

pub async fn list_users(app: App, ByAdmin(admin, query): ByAdmin<UserQuery>) -> Reply {
    Ok(reply::listing(app.list_users(&admin, query).await?))
}

/// Users and events, a JSON object a line.
pub async fn export(app: App, ByAdmin(admin, query): ByAdmin<ExportQuery>) -> Reply {
    Ok(reply::lines(app.export(&admin, query).await?))
}

pub async fn get_user(app: App, ByAdmin(admin, of): ByAdmin<OfUser>) -> Reply {
    reply::json(&app.identity.get_user(&admin, &of.username)?)
}

/// For admins, and for users with the scope for it.
pub async fn create_invite(app: App, Peer(from): Peer, by: ByAdminOrUser<NewInvite>) -> Reply {
    reply::json(&match by {
        ByAdminOrUser::Admin(admin, new) => app.identity.create_invite(&admin, new).await?,
        ByAdminOrUser::User(principal, new) => app.identity.create_invite_as(&principal, new, from).await?,
    })
}

/// For admins, and for the user who made the invite.
pub async fn delete_invite(app: App, Peer(from): Peer, by: ByAdminOrUser<InviteToDelete>) -> Reply {
    match by {
        ByAdminOrUser::Admin(admin, which) => app.identity.delete_invite(&admin, which).await?,
        ByAdminOrUser::User(principal, which) => app.identity.delete_invite_as(&principal, which, from).await?,
    }
    Ok(reply::empty())
}

pub async fn create_qr(app: App, ByAdmin(admin, of): ByAdmin<QrOfUser>) -> Reply {
    let qr = app.identity.create_qr(&admin, &of.issuer, &of.username)?;
    reply::json(&json!({ "qr": qr }))
}

pub async fn create_totp(app: App, ByAdmin(admin, of): ByAdmin<OfUser>) -> Reply {
    let code = app.identity.create_totp(&admin, &of.username).await?;
    reply::json(&json!({ "totp": code }))
}
