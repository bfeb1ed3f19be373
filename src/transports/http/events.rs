//! `/insert`.

use serde::{Deserialize, Serialize};
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

/// What an insert is answered.
#[derive(Serialize)]
struct Inserted {
    id: String,
    timestamp: u64,
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
    reply::json(&Inserted { id: id.to_string(), timestamp: timestamp.as_millis() })
}
