//! Settings that all sources of certificates share.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;

use super::shown::Shown;
use crate::app::CertificateEnd;

/// Why TLS cannot be served.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or has the wrong content.
    File(PathBuf, String),
    /// Key and certificate do not fit together, or are of a kind that cannot be used.
    Unusable(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "cannot use {}: {why}", path.display()),
            Self::Unusable(why) => write!(f, "cannot use the certificate: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The task that keeps the certificate up to date while the server runs.
pub type Maintenance = Pin<Box<dyn Future<Output = ()>>>;

/// The one implementation of cryptography that Broker uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The settings of every TLS server of Broker, apart from its certificate.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>, end: CertificateEnd) -> Result<ServerConfig, TlsError> {
    Ok(ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown::new(resolver, end))))
}
