//! What a health check asks, and what an operator asks.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::extract::{AdminBody, ByAdmin};
use super::reply::{self, Reply};
use super::request::no_services;
use crate::app::{App, Status};
use crate::transports::tcp::Connections;

/// A body with nothing but the admin token.
#[derive(Deserialize)]
pub struct Asking {}

impl AdminBody for Asking {}

/// `GET /health`: whether there is a server.
pub async fn is_there() -> HttpResponse {
    reply::empty()
}

/// `GET /healthz`: whether the server works. If it does not for long, it should be started again.
pub async fn works(app: App) -> Reply {
    app.works().await?;
    reply::json(&json!({ "status": "ok" }))
}

/// `GET /readyz`: whether the server wants more clients.
pub async fn is_ready(app: App) -> Reply {
    app.health.ready()?;
    reply::json(&json!({ "status": "ready" }))
}

/// `POST /status`: what the server does, for an admin.
pub async fn status(app: App, ByAdmin(admin, Asking {}): ByAdmin<Asking>, request: HttpRequest) -> Reply {
    let connections = request.app_data::<Connections>().ok_or_else(no_services)?;
    let connections = ConnectionFigures { open: connections.open(), limit: connections.most() };
    reply::json(&Whole { status: app.status(&admin).await?, connections })
}

/// The state of the server, with what its transports know.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    status: Status,
    connections: ConnectionFigures,
}

#[derive(Serialize)]
struct ConnectionFigures {
    open: usize,
    limit: usize,
}
