use crate::domain::Position;

/// How far the database has come.
#[derive(Clone, Copy, Default)]
pub struct Progress {
    /// The position of the last event.
    pub head: Position,
    /// How many commits were made.
    pub commits: u64,
}
