//! Transports: each verifies its clients, subscribes them, and encodes and writes what they are given.

pub mod broker_v1;
mod channel_api;
mod commands;
mod control_event;
pub mod http;
mod imports;
mod inserts;
mod json;
pub mod metrics;
pub mod mqtt;
pub mod mqtt_tcp;
mod notiflux;
mod open_sockets;
mod ranked;
mod refusal;
#[cfg(test)]
mod replay;
mod socket_clients;
pub mod socket_io;
mod socket_streams;
mod stream_sink;
pub mod tcp;
mod user_sockets;
pub mod ws;
