//! Certificates: from files, or from an authority that supports ACME. TLS 1.2 and 1.3, nothing older.

mod acme;
mod basics;
mod files;

use rustls::ServerConfig;

use crate::config::Certificate;

pub use basics::{Maintenance, TlsError, provider};

/// The server's TLS configuration, and the task that must run beside it.
///
/// # Errors
/// [`TlsError`].
pub fn configure(certificate: &Certificate) -> Result<(ServerConfig, Maintenance), TlsError> {
    match certificate {
        Certificate::Files { key, chain } => files::configure(key, chain),
        Certificate::Acme { domain, directory, ca, cache } => acme::configure(domain, directory, ca.as_deref(), cache),
    }
}
