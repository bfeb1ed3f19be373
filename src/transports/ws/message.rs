//! What comes in, and how that ends.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::close::Close;

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// How many bytes it has.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed, with this code and reason if it gave any.
    Closed(Option<Close>),
    /// The connection was lost: it ended without a close frame, or the client was silent for 30 s.
    Lost,
    /// This side closes or has: by [`Outlet::close`](super::Outlet::close) or [`Outlet::stop`](super::Outlet::stop), or because of a
    /// [`Violation`](super::Violation).
    Ours,
}

/// Counts the memory of connections, so that many clients together cannot take any amount: an unfinished message, and own replies that
/// the client does not take.
pub trait Memory {
    /// A connection takes this many bytes now; 0 if it takes none any more. Returns whether it may.
    fn hold(&mut self, bytes: usize) -> bool;

    /// Becomes ready when others need what is held. Wakes as a future does.
    fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()>;
}
