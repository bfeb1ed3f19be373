#![doc = include_str!("../docs/architecture.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod events;
pub mod fair;
pub mod identity;
pub mod log;
mod random;
pub mod server;
pub mod store;
pub mod tls;
pub mod transports;
pub mod writer;
