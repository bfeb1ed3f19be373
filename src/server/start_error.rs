use std::fmt;
use std::net::SocketAddr;

use crate::error::Error;
use crate::store::OpenError;
use crate::tls::TlsError;

/// Why the server does not start.
#[derive(Debug)]
pub enum StartError {
    /// The settings do not fit together. The sentence says what to change.
    Config(String),
    /// The database cannot be opened.
    Store(OpenError),
    /// The archive cannot be used.
    Archive(String),
    /// The certificate cannot be used.
    Tls(TlsError),
    /// The address cannot be listened on.
    Listen(SocketAddr, std::io::Error),
    /// The database cannot be used.
    Core(Error),
    /// The operating system gives no threads.
    Threads(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => why.fmt(f),
            Self::Store(why) => why.fmt(f),
            Self::Archive(why) => write!(f, "the archive cannot be used: {why}"),
            Self::Tls(why) => why.fmt(f),
            Self::Listen(address, why) => write!(f, "cannot listen on {address}: {why}"),
            Self::Core(why) => why.fmt(f),
            Self::Threads(why) => write!(f, "cannot start threads: {why}"),
        }
    }
}

impl std::error::Error for StartError {}
