//! Transports: each verifies its clients, subscribes them, and encodes and writes what they are given.

pub mod broker_v1;
mod control_event;
pub mod http;
mod inserts;
mod json;
mod refusal;
pub mod socket_io;
pub mod ws;
