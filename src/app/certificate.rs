//! When the certificate ends that is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::Timestamp;

/// When the certificate ends that was shown to the last client: a cheap clone. Nothing is known before the first client, or without TLS.
#[derive(Clone, Debug, Default)]
pub struct CertificateEnd(Arc<AtomicU64>);

impl CertificateEnd {
    /// The certificate that is shown from now on ends then.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::Relaxed);
    }

    /// When it ends.
    pub fn get(&self) -> Option<Timestamp> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Timestamp::from_millis(at)),
        }
    }
}
