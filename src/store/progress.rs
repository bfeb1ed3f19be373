use crate::domain::Position;

/// How far the database has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The position of the last event.
    pub head: Position,
    /// How many commits were made: the height of the last one.
    pub commits: u64,
}
