use crate::domain::{EventId, Position};

/// The last event that a client saw.
#[derive(Clone, Copy, Debug)]
pub enum LastSeen {
    /// The client says nothing of one.
    Nothing,
    /// One with an id that no Broker can have written.
    Unknown,
    /// This one.
    Id(EventId),
    /// Not an event but a position, up to which a session of MQTT has been given everything, or keeps what it has not.
    Position(Position),
}

impl LastSeen {
    /// The last event as a client names it: an id, or nothing.
    pub fn parse(id: &str) -> Self {
        match id.trim() {
            "" => Self::Nothing,
            id => EventId::parse(id).map_or(Self::Unknown, Self::Id),
        }
    }
}
