//! Transports: each verifies its clients, subscribes them, and encodes and writes what they are given.

pub mod http;
pub mod socket_io;
pub mod ws;
