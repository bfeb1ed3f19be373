use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};

use super::basics::{Maintenance, TlsError, provider, server_config};
use crate::app::CertificateEnd;

/// How often the files are checked, so that a renewed certificate is served without a restart. SIGHUP checks at once.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A certificate in two files, as it was when they were last read.
#[derive(Debug)]
struct Files {
    key: PathBuf,
    chain: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

pub fn configure(key: &Path, chain: &Path, end: CertificateEnd) -> Result<(ServerConfig, Maintenance), TlsError> {
    // The times are read before the files, so that a change in between is noticed.
    let seen = modified(key, chain);
    let files = Arc::new(Files {
        key: key.to_owned(),
        chain: chain.to_owned(),
        current: RwLock::new(Arc::new(load(key, chain)?)),
    });
    let config = server_config(files.clone(), end)?;
    Ok((config, Box::pin(files.follow(seen))))
}

/// Whether the files can be read, and the key is that of the certificate.
pub fn check(key: &Path, chain: &Path) -> Result<(), TlsError> {
    load(key, chain).map(drop)
}

impl Files {
    async fn follow(self: Arc<Self>, mut seen: Modified) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Some(()) = async { hangup.as_mut()?.recv().await } => {}
            }
            let now = modified(&self.key, &self.chain);
            if now == seen {
                continue;
            }
            match load(&self.key, &self.chain) {
                Ok(fresh) => {
                    seen = now;
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                    tracing::info!(chain = %self.chain.display(), "the certificate was read anew");
                }
                // Perhaps only one of the two files is written yet. The next check tells.
                Err(error) => tracing::error!(%error, "the changed certificate cannot be used, the old one stays"),
            }
        }
    }
}

/// When key and chain were last written.
type Modified = [Option<SystemTime>; 2];

fn modified(key: &Path, chain: &Path) -> Modified {
    [key, chain].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn load(key: &Path, chain: &Path) -> Result<CertifiedKey, TlsError> {
    let bad = |path: &Path, why: &dyn std::fmt::Display| TlsError::File(path.to_owned(), why.to_string());
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(chain, &error))?;
    if certificates.is_empty() {
        return Err(bad(chain, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    CertifiedKey::from_der(certificates, private, &provider()).map_err(|error| TlsError::Unusable(error.to_string()))
}
