//! Which certificate clients are shown, whatever source it comes from.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::app::CertificateEnd;
use crate::domain::Timestamp;

/// RFC 8737: the protocol name with which the authority asks for the challenge's certificate.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Passes on a source's certificates, and notes when the one ends that is shown.
#[derive(Debug)]
pub struct Shown {
    source: Arc<dyn ResolvesServerCert>,
    last: RwLock<Option<Arc<CertifiedKey>>>,
    end: CertificateEnd,
}

impl Shown {
    pub fn new(source: Arc<dyn ResolvesServerCert>, end: CertificateEnd) -> Self {
        Self { source, last: RwLock::default(), end }
    }

    /// Each handshake comes here, and nearly always the certificate is the one of the last.
    fn note(&self, key: &Arc<CertifiedKey>) {
        let is_same = |last: &Option<Arc<CertifiedKey>>| last.as_ref().is_some_and(|last| Arc::ptr_eq(last, key));
        if is_same(&self.last.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        if let Some(at) = end_of(key) {
            self.end.set(at);
        }
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(key));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_challenge = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_TLS));
        let key = self.source.resolve(hello)?;
        if !is_challenge {
            self.note(&key);
        }
        Some(key)
    }
}

/// The first name of a certificate that stands for one host.
pub fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) if !name.contains('*') => Some((*name).to_owned()),
        _ => None,
    })
}

/// When a certificate ends, to the second.
fn end_of(key: &CertifiedKey) -> Option<Timestamp> {
    let (_, certificate) = parse_x509_certificate(key.end_entity_cert().ok()?).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}
