use crate::app::App;
use crate::identity::Principal;
use crate::transports::http::reply::{self, Reply};

/// `GET /presence`: the users of the tenant who are present.
pub async fn list(app: App, principal: Principal) -> Reply {
    Ok(reply::listing(app.events.presence(principal).await?))
}
