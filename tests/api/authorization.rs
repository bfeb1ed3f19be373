//! Guards authorization: scopes, inboxes, and moves to another tenant.

mod inbox;
mod moves;
mod scopes;
