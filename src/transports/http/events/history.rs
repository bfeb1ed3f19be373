use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::Deserialize;

use crate::app::{App, HistoryPage};
use crate::domain::{EventId, EventName, Position};
use crate::error::Error;
use crate::identity::Principal;
use crate::transports::http::query::check_limit;
use crate::transports::http::reply::{self, Reply};
use crate::transports::http::request::is_head;

/// How many events a page has if the request does not say.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize)]
struct Parameters {
    event: String,
    after: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
    order: Option<Order>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Order {
    Newest,
    Oldest,
}

/// `GET /history`: the retained events of one name.
pub async fn list(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Query(Parameters { event, after, before, limit, order }) =
        Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    check_limit(limit)?;
    let page = HistoryPage {
        name: EventName::parse(&event)?,
        after: position(&app, after)?.unwrap_or(Position::START),
        before: position(&app, before)?.unwrap_or(Position::END),
        limit: limit.unwrap_or(DEFAULT_LIMIT),
        oldest_first: order == Some(Order::Oldest),
    };
    if is_head(&request) {
        return Ok(reply::head_alone());
    }
    Ok(reply::listing(app.events.history(principal, page).await?))
}

fn position(app: &App, id: Option<String>) -> Result<Option<Position>, Error> {
    let Some(id) = id else { return Ok(None) };
    let id = EventId::parse(&id).ok_or(Error::QueryInvalid)?;
    app.events.position_of(id).ok_or(Error::IdUnknown).map(Some)
}
