//! `/insert`.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::extract::Json;
use super::reply::{self, Reply};
use crate::app::App;
use crate::domain::{EventName, Payload, PayloadError};
use crate::error::Error;
use crate::events::NewEvent;
use crate::identity::Principal;

/// What an insert carries.
#[derive(Deserialize)]
pub struct InsertBody {
    event: String,
    /// Raw, so that not a digit or key of it changes.
    data: Box<RawValue>,
}

impl InsertBody {
    fn parse(self) -> Result<NewEvent, Error> {
        let name = EventName::parse(&self.event)?;
        let data = Payload::from_valid_json(self.data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
        NewEvent::new(name, data)
    }
}

pub async fn insert(app: App, principal: Principal, Json(body): Json<InsertBody>) -> Reply {
    let (id, timestamp) = app.insert(principal, body.parse()?).await?;
    reply::json(&json!({ "id": id.to_string(), "timestamp": timestamp.as_millis() }))
}
