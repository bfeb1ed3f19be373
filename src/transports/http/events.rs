//! The endpoints that read and write events without a stream, and the one that changes a stream. Each has a file of its own.

pub mod history;
pub mod insert;
pub mod latest;
pub mod presence;
pub mod subscription;
