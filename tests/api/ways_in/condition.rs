//! What happens to a user, or to what a visitor shows, after everything was well.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::visitor::{Soon, Visitor, World, scopes_of};
use crate::channel;
use crate::contract::now_millis;
use crate::support::{
    Client, Signer, claims, forge, move_to, reset, reset_code, revoke, set_scopes, unrevoke, until, update,
};

/// How long tokens last that are to expire, in seconds: what is done before takes less, unless the machine is busy.
const SHORT: u64 = 6;
/// How much later than it should a stream may end.
const SURELY_OVER: Duration = Duration::from_millis(1200);

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Nothing,
    Revoked,
    /// Revoked, and let in again: what was given before stays invalid.
    Unrevoked,
    /// Deleted by an admin.
    Deleted,
    /// Deleted, and another user has the name and the password of before.
    DeletedAndReplaced,
    PasswordChanged,
    PasswordReset,
    TwoFactor,
    /// The token of the user.
    Expired,
    /// Those of a guest.
    GuestExpired,
    ScopeTaken,
    MovedToAnotherTenant,
    /// The visitor shows what somebody else has signed, or made up.
    Forged,
    /// The visitor shows what is good at another door.
    OfAnotherDoor,
    /// The visitor shows the refresh token of a session, which is good at `/refresh` and `/logout` alone.
    RefreshTokenShown,
    /// The visitor shows nothing.
    NothingShown,
    /// A guest shows what is for another topic.
    WrongTopic,
    /// The visitor has signed in with a session.
    OfASession,
    /// The same, and has a newer token by now. What was open goes on.
    SessionRefreshed,
    /// The user of a session is revoked.
    SessionRevoked,
    /// The same user deleted.
    SessionDeleted,
    /// A session is ended by its user, who has signed in elsewhere.
    SessionEnded,
    /// A guest shows what is to subscribe where something is to be sent, and the other way round.
    WrongScope,
}

pub const ALL: &[Condition] = &[
    Condition::Nothing,
    Condition::Revoked,
    Condition::Unrevoked,
    Condition::Deleted,
    Condition::DeletedAndReplaced,
    Condition::PasswordChanged,
    Condition::PasswordReset,
    Condition::TwoFactor,
    Condition::Expired,
    Condition::GuestExpired,
    Condition::ScopeTaken,
    Condition::MovedToAnotherTenant,
    Condition::Forged,
    Condition::OfAnotherDoor,
    Condition::RefreshTokenShown,
    Condition::NothingShown,
    Condition::OfASession,
    Condition::SessionRefreshed,
    Condition::SessionRevoked,
    Condition::SessionDeleted,
    Condition::SessionEnded,
    Condition::WrongTopic,
    Condition::WrongScope,
];

impl Condition {
    /// A visitor for whom it has not come about yet.
    pub async fn visitor(self, world: &World) -> Visitor {
        let soon = match self {
            Self::Expired => Soon::Users,
            Self::GuestExpired => Soon::Guests,
            _ => Soon::None,
        };
        let sessions = [
            Self::OfASession,
            Self::SessionRefreshed,
            Self::SessionRevoked,
            Self::SessionDeleted,
            Self::SessionEnded,
            Self::RefreshTokenShown,
        ];
        world.visitor(soon, SHORT, sessions.contains(&self)).await
    }

    /// Whether it has come about already, because all took so long.
    pub fn came_too_early(self, visitor: &Visitor) -> bool {
        matches!(self, Self::Expired | Self::GuestExpired) && now_millis() / 1000 >= visitor.expires_at - 1
    }

    /// Brings it about. Returns when the server has answered that it is done.
    pub async fn bring_about(self, world: &World, visitor: &mut Visitor) {
        let (client, username) = (visitor.client.clone(), visitor.username.clone());
        match self {
            Self::Nothing | Self::OfASession => {}
            Self::SessionRefreshed => {
                let session = visitor.session.as_ref().unwrap().refreshed().await;
                visitor.jwt = Some(session.user.jwt().to_owned());
            }
            Self::SessionEnded => {
                let id = &visitor.session.as_ref().unwrap().id;
                client.sign_in(&username).await.post("/end_session", json!({ "session": id })).await.ok();
            }
            Self::Revoked | Self::SessionRevoked => revoke(&client, &username).await,
            Self::Unrevoked => {
                revoke(&client, &username).await;
                unrevoke(&client, &username).await;
            }
            Self::Deleted | Self::SessionDeleted => delete(&client, &username).await,
            Self::DeletedAndReplaced => {
                let password = visitor.password.clone().unwrap();
                delete(&client, &username).await;
                until("the name to be free", async || {
                    let scopes = scopes_of(&visitor.room, &visitor.mark);
                    let more = json!({ "password": password, "scopes": scopes });
                    (client.create_user_with(&username, "acme", more).await.status == 200).then_some(())
                })
                .await;
            }
            Self::PasswordChanged => update(&client, &username, json!({ "password": "pw-secret-new" })).await,
            Self::PasswordReset => {
                let code = reset_code(&client, &username).await;
                reset(&client, &username, "pw-secret-new", &code).await.ok();
            }
            Self::TwoFactor => update(&client, &username, json!({ "two_factor": true })).await,
            Self::Expired | Self::GuestExpired => {
                let ends = Duration::from_secs(visitor.expires_at) + SURELY_OVER;
                tokio::time::sleep(ends.saturating_sub(Duration::from_millis(now_millis()))).await;
            }
            Self::ScopeTaken => set_scopes(&client, &username, &[&format!("{}:get", visitor.mark)]).await,
            Self::MovedToAnotherTenant => move_to(&client, &username, "globex").await,
            Self::Forged => show_forged(visitor),
            Self::OfAnotherDoor => show_of_another_door(visitor),
            Self::RefreshTokenShown => show_refresh_token(visitor),
            Self::NothingShown => show_nothing(visitor),
            Self::WrongTopic => {
                let topics = ["other", "room/*", "*"];
                visitor.to_subscribe = Some(world.signer.token("subscribe", &topics));
                visitor.to_broadcast = Some(world.signer.token("broadcast", &topics));
                visitor.channel_token = Some(channel::token(&world.server, "other").await);
            }
            Self::WrongScope => {
                std::mem::swap(&mut visitor.to_subscribe, &mut visitor.to_broadcast);
                std::mem::swap(&mut visitor.channel_token, &mut visitor.auth_key);
            }
        }
    }
}

async fn delete(client: &Client, username: &str) {
    client.admin("/delete_user", json!({ "username": username })).await.ok();
}

/// The same claims, signed with another secret.
fn forged(jwt: &str) -> String {
    forge(&claims(jwt), Algorithm::HS256, "another-jwt-secret-0123456789")
}

fn show_forged(visitor: &mut Visitor) {
    visitor.password = Some("pw-secret-wrong".to_owned());
    visitor.jwt = visitor.jwt.as_deref().map(forged);
    visitor.show_as_ticket(|ticket| ticket.as_deref().map(forged));
    let pass = visitor.pass.take().unwrap();
    visitor.pass =
        pass.1.split_once('=').map(|(name, pass_of)| (pass.0.clone(), format!("{name}={}", forged(pass_of))));
    let stranger = Signer::new();
    visitor.to_subscribe = Some(stranger.token("subscribe", &[&visitor.room]));
    visitor.to_broadcast = Some(stranger.token("broadcast", &[&visitor.room]));
    visitor.channel_token = Some("A".repeat(43));
    visitor.auth_key = Some("another-auth-key-0123456".to_owned());
}

fn show_of_another_door(visitor: &mut Visitor) {
    let (jwt, ticket) = (visitor.jwt.take(), visitor.ticket());
    let (ticket_spent, cookie) = visitor.pass.take().unwrap();
    let pass = cookie.split_once('=').map(|(_, pass)| pass.to_owned());
    // A ticket is a JWT of ours as well, and so is the pass.
    visitor.show_as_ticket(|_| pass.clone());
    visitor.pass = Some((ticket_spent, format!("broker_sse={}", jwt.as_deref().unwrap_or_default())));
    visitor.auth_key = visitor.channel_token.take();
    visitor.channel_token.clone_from(&jwt);
    visitor.password.clone_from(&jwt);
    visitor.jwt = ticket;
    visitor.to_subscribe.clone_from(&jwt);
    visitor.to_broadcast = jwt;
}

fn show_refresh_token(visitor: &mut Visitor) {
    let token = visitor.session.as_ref().unwrap().refresh_token.clone();
    visitor.show_as_ticket(|_| Some(token.clone()));
    let (ticket_spent, _) = visitor.pass.take().unwrap();
    visitor.pass = Some((ticket_spent, format!("broker_sse={token}")));
    all_shown(visitor).into_iter().for_each(|shown| *shown = Some(token.clone()));
}

/// Everything that is shown, but for tickets and the pass.
fn all_shown(visitor: &mut Visitor) -> [&mut Option<String>; 6] {
    let Visitor { jwt, password, to_subscribe, to_broadcast, channel_token, auth_key, .. } = visitor;
    [jwt, password, to_subscribe, to_broadcast, channel_token, auth_key]
}

fn show_nothing(visitor: &mut Visitor) {
    visitor.show_as_ticket(|_| None);
    visitor.pass = None;
    all_shown(visitor).into_iter().for_each(|shown| *shown = None);
}
