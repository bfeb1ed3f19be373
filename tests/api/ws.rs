//! Guards `/ws`: WebSocket connections, with the subprotocol `broker.v1` (signing in, streams, inserts and changes over one connection) and
//! without one (topics of notiflux).

mod ended;
mod floods;
mod frames;
mod hostile;
mod inserts;
mod notiflux;
mod notiflux_clients;
mod notiflux_hostile;
mod sessions;
mod sign_in;
mod streams;
mod subscriptions;
