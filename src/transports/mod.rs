//! The doors of the house: each verifies who comes, subscribes, encodes and writes.

pub mod http;
