//! `POST /import`: users and events, a JSON object a line.
//!
//! Closes this fault: a body is bounded and read whole elsewhere, and an import may be larger than memory. Here lines are read as fast as
//! they are imported, and only for the admin, whose token is in the header.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Payload;
use futures_util::StreamExt;
use serde::Serialize;

use super::extract::{Header, Peer};
use super::reply::{self, Reply};
use crate::app::{App, Imported, Listing};
use crate::domain::Secret;
use crate::error::Error;
use crate::events::IdempotencyKey;
use crate::identity::Authorization;
use crate::transports::imports;

/// Time limit for the next bytes.
const BYTES_WITHIN: Duration = Duration::from_secs(60);

/// The last line of the answer.
#[derive(Serialize)]
struct Summary {
    lines: u64,
    imported: u64,
    refused: usize,
    complete: bool,
}

pub async fn import(app: App, Peer(from): Peer, header: Header, request: HttpRequest, mut body: Payload) -> Reply {
    let Ok(Authorization::Bearer(token)) = header.0 else { return Err(Error::AdminTokenIncorrect) };
    let admin = app.identity.admin(&Secret::new(token), from).await?;
    let name = request.headers().get("idempotency-key").map(|name| IdempotencyKey::parse(name.as_bytes()));
    let mut import = app.events.import(&admin, &name.unwrap_or(Err(Error::IdempotencyKeyInvalid))?)?;
    let item = |line: &str| imports::item(&app, &admin, line);
    loop {
        let next = tokio::time::timeout(BYTES_WITHIN, body.next()).await.map_err(|_| Error::RequestTimeout)?;
        let Some(bytes) = next else { break };
        let bytes = bytes.map_err(|_| Error::BodyInvalid("it was cut off".to_owned()))?;
        import.take(&bytes, &item).await?;
    }
    let Imported { lines, imported, refused, listed, complete } = import.end(&item).await?;
    let mut answer = Vec::new();
    listed.iter().try_for_each(|refused| write_line(&mut answer, refused))?;
    write_line(&mut answer, &Summary { lines, imported, refused, complete })?;
    Ok(reply::lines(Listing { first: answer.into(), rest: None }))
}

fn write_line(answer: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut *answer, value).map_err(|error| Error::Internal(error.to_string()))?;
    answer.push(b'\n');
    Ok(())
}
