//! Transports: each verifies its clients, subscribes them, and encodes and writes what they are given.

pub mod http;
pub mod ws;
