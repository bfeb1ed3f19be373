use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::app::{App, InsertOptions};
use crate::error::Error;
use crate::events::IdempotencyKey;
use crate::identity::Principal;
use crate::transports::http::extract::{ByUser, InsertText, Json};
use crate::transports::http::reply::{self, Reply};
use crate::transports::http::sse::stream_id;
use crate::transports::inserts::{Inserts, Receipts};

/// The body of `/remove`.
#[derive(Deserialize)]
pub struct RemoveBody {
    event: String,
    transient: Option<bool>,
}

/// `POST /insert`: one event, or several in an array.
pub async fn insert(app: App, request: HttpRequest, ByUser(principal, body): ByUser<InsertText>) -> Reply {
    let inserts = Inserts::parse(&body, &app.events)?;
    // Not to be in memory beside the events while these are on their way to the disk.
    drop(body);
    insert_or_refuse(&app, &principal, inserts, request.headers()).await
}

/// `POST /remove`: a name, with the event under it.
pub async fn remove(app: App, request: HttpRequest, ByUser(principal, Json(body)): ByUser<Json<RemoveBody>>) -> Reply {
    let removal = Inserts::removal(&body.event, body.transient)?;
    insert_or_refuse(&app, &principal, removal, request.headers()).await
}

/// Inserts. If the precondition fails, the answer has the event that is there instead.
async fn insert_or_refuse(app: &App, principal: &Principal, inserts: Inserts, headers: &HeaderMap) -> Reply {
    let options = options(&inserts, headers)?;
    let Inserts { events, is_array, .. } = inserts;
    match app.events.insert(principal, events, is_array, options)?.await {
        Err(ref error @ Error::PreconditionFailed(ref current)) => {
            let current = current.as_deref().map(|event| app.events.view(event)).transpose()?;
            Ok(reply::refusal_with_current(error, current.as_deref()))
        }
        inserted => {
            let inserted = inserted?;
            let mut response = reply::json(&Receipts::of(&inserted, is_array, &app.events))?;
            if inserted.is_replayed {
                let name = HeaderName::from_static("idempotency-replayed");
                response.headers_mut().insert(name, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
    }
}

/// What the headers of a request say about its inserts.
fn options(inserts: &Inserts, headers: &HeaderMap) -> Result<InsertOptions, Error> {
    let text = |name| headers.get(name).map(HeaderValue::to_str).transpose().map_err(|_| Error::PreconditionInvalid);
    let condition = inserts.condition(text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?)?;
    let key = headers.get("idempotency-key").map(|key| IdempotencyKey::parse(key.as_bytes())).transpose()?;
    let stream = if inserts.while_connected { Some(stream_id(headers).ok_or(Error::StreamUnknown)?) } else { None };
    Ok(InsertOptions { condition, key, stream })
}
