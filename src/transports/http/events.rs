//! The endpoints that read and write events without a stream, and the one that changes a stream.

mod history;
mod insert;
mod latest;
mod presence;
mod subscription;

pub use history::history;
pub use insert::{insert, remove};
pub use latest::latest;
pub use presence::presence;
pub use subscription::subscription;
