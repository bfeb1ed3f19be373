//! Guards `/insert`: bodies, arrays, idempotency, preconditions, expiry and limits.

mod batch;
mod blanks;
mod body;
mod expiry;
mod idempotency;
mod large;
mod limits;
mod preconditions;
mod reserved;
mod transient;
mod while_connected;
