//! Guards `/ws` with the subprotocol `broker.v1`: signing in, streams, inserts and changes over one connection.

mod ended;
mod frames;
mod hostile;
mod inserts;
mod sign_in;
mod streams;
mod subscriptions;
