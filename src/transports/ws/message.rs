//! What comes in, and how that ends.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::close::Close;

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text frame, or several.
    Text(String),
    /// A binary frame, or several.
    Binary(Bytes),
}

/// Why an [`Inlet`](super::Inlet) gives nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed, with this code and reason if it gave one.
    Closed(Option<Close>),
    /// The connection was lost: without a close frame, or after 30 s without a byte.
    Lost,
    /// This side closed: by [`Outlet::close`](super::Outlet::close), or because the client broke the protocol.
    Ours,
}

/// Counts the memory of messages that have arrived in part, so that many clients together cannot take any amount.
pub trait Memory {
    /// An unfinished message takes this many bytes now; 0 when it is finished. Returns whether it may.
    fn hold(&mut self, bytes: usize) -> bool;

    /// Becomes ready when the message must be dropped because others need its memory. Wakes as a future does.
    fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()>;
}
