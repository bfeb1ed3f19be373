use crate::domain::{EventName, MAX_EVENT_BYTES, Payload, Position, Standing, Timestamp, Username};
use crate::error::Error;
use crate::writer::{Batch, Change};

/// A name and data that may be inserted together.
#[derive(Debug)]
pub struct NewEvent {
    name: EventName,
    data: Payload,
}

impl NewEvent {
    /// # Errors
    /// [`Error::EventTooLarge`] where name and data together have more than [`MAX_EVENT_BYTES`].
    pub fn new(name: EventName, data: Payload) -> Result<Self, Error> {
        if name.as_str().len() + data.as_str().len() > MAX_EVENT_BYTES {
            return Err(Error::EventTooLarge);
        }
        Ok(Self { name, data })
    }
}

/// Adds an event to its user's tenant, where it becomes the latest of its name.
#[derive(Debug)]
pub struct Insert {
    /// Who inserts it.
    pub username: Username,
    /// What their right to do so rests on.
    pub standing: Standing,
    /// What is inserted.
    pub event: NewEvent,
}

/// Where and when an event was committed.
#[derive(Clone, Copy, Debug)]
pub struct Inserted {
    /// Its place in the order.
    pub position: Position,
    /// When.
    pub timestamp: Timestamp,
}

impl Change for Insert {
    type Outcome = Inserted;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Inserted, Error> {
        // Once more, here: a revocation that was answered is before every insert that is decided after it.
        if !batch.upholds(&self.username, &self.standing)? {
            return Err(Error::Unauthorized);
        }
        let NewEvent { name, data } = self.event;
        let event = batch.insert_event(self.standing.tenant, self.username, name, data)?;
        Ok(Inserted { position: event.position, timestamp: event.timestamp })
    }
}
