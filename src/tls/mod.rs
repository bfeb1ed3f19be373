//! Certificates: from files, or from an authority that supports ACME. TLS 1.2 and 1.3, nothing older.

mod acme;
mod basics;
mod files;
mod shown;

use std::path::Path;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::app::CertificateEnd;
use crate::config::Certificate;

pub use basics::{Maintenance, TlsError, provider};

/// A domain name that the certificate in a file is for, if there is one that is whole.
pub fn name_in(chain: &Path) -> Option<String> {
    shown::name_of(&CertificateDer::from_pem_file(chain).ok()?)
}

/// Checks whether a certificate can be used, as far as its files tell; that of an authority is not asked for.
///
/// # Errors
/// [`TlsError`].
pub fn check(certificate: &Certificate) -> Result<(), TlsError> {
    match certificate {
        Certificate::Files { key, chain } => files::check(key, chain),
        Certificate::Acme { ca, .. } => acme::check(ca.as_deref()),
    }
}

/// The server's TLS configuration, and the task that must run beside it. `end` is told when the certificate ends that clients are shown.
///
/// # Errors
/// [`TlsError`].
pub fn configure(certificate: &Certificate, end: CertificateEnd) -> Result<(ServerConfig, Maintenance), TlsError> {
    match certificate {
        Certificate::Files { key, chain } => files::configure(key, chain, end),
        Certificate::Acme { domain, directory, ca, cache } => {
            acme::configure((domain, directory), ca.as_deref(), cache, end)
        }
    }
}
