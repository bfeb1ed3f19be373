use actix_web::HttpRequest;
use serde::Deserialize;

use crate::app::App;
use crate::domain::{EventFilter, MAX_NAME_BYTES};
use crate::error::Error;
use crate::identity::Principal;
use crate::transports::http::query::{check_limit, parameters};
use crate::transports::http::reply::{self, Reply};
use crate::transports::http::request::is_head;

#[derive(Deserialize)]
struct Parameters {
    events: Option<String>,
    except: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /events`: the latest event of each name.
pub async fn list(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Parameters { events, except, after, limit } = parameters(&request)?;
    let filter = EventFilter::of_lists(events.as_deref(), except.as_deref())?;
    check_limit(limit)?;
    // A page may have ended at a name that an earlier version let in and that is none by the rules of today.
    if after.as_ref().is_some_and(|name| !(1..=MAX_NAME_BYTES).contains(&name.len())) {
        return Err(Error::QueryInvalid);
    }
    if is_head(&request) {
        return Ok(reply::head_alone());
    }
    Ok(reply::listing(app.events.latest(principal, filter, after, limit).await?))
}
