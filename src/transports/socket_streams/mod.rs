//! Event streams over Socket.IO, whatever its clients are: how packets are put together for each way in which a session takes them, where
//! they are written, and how a stream goes on after an upgrade.

mod open;
mod packets;
mod run;

pub use open::open;
pub use packets::Packets;
pub use run::Running;
