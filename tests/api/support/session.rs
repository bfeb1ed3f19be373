//! Users who have signed in with a session.

use serde_json::{Value, json};

use super::{Answer, Client, User, password_of};

/// A user who has signed in with `refresh`.
#[derive(Clone)]
pub struct Session {
    /// With the access token.
    pub user: User,
    pub refresh_token: String,
    /// The name of the session.
    pub id: String,
    /// The whole answer.
    pub answer: Value,
}

impl Session {
    /// What a sign-in with `refresh`, or a refresh, was answered.
    #[track_caller]
    pub fn of(client: &Client, answer: Answer) -> Self {
        let answer = answer.ok().json();
        let text = |field: &str| answer[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer}")).to_owned();
        let user = client.with_authorization(&format!("Bearer {}", text("jwt")));
        Self { user, refresh_token: text("refresh_token"), id: text("session"), answer }
    }

    /// The session with a token that is newer.
    pub async fn refreshed(&self) -> Self {
        let client = &self.user.client;
        Self::of(client, client.refresh(&self.refresh_token).await)
    }

    /// Asks for tokens by the refresh token.
    pub async fn refresh(&self) -> Answer {
        self.user.client.refresh(&self.refresh_token).await
    }

    /// The same session at a server that was started anew.
    pub fn at(&self, client: &Client) -> Self {
        Self { user: client.with_authorization(&self.user.authorization), ..self.clone() }
    }
}

impl Client {
    /// Signs in with [`password_of`] the name, and begins a session.
    pub async fn begin_session(&self, username: &str) -> Session {
        let body = json!({ "username": username, "password": password_of(username), "refresh": true });
        Session::of(self, self.post("/login", &body).await)
    }

    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/refresh", &json!({ "refresh_token": refresh_token })).await
    }
}
