#![doc = include_str!("../docs/architecture.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Outside tests each failure is an error, or has its reason beside it.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo)
)]

pub mod app;
pub mod central;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod events;
pub mod fair;
pub mod identity;
pub mod log;
pub mod metrics;
mod random;
pub mod server;
pub mod store;
pub mod tls;
pub mod transports;
pub mod writer;
