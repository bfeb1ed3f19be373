use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::AcmeConfig;
use rustls_acme::caches::DirCache;

use super::basics::{Maintenance, TlsError, provider, server_config};
use super::shown::ACME_TLS;
use crate::app::CertificateEnd;

/// Whether the authority's own root can be used, if one is given.
pub fn check(ca: Option<&Path>) -> Result<(), TlsError> {
    roots(ca).map(drop)
}

/// The roots of public authorities, and that of a private one.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(ca) = ca {
        let certificates = CertificateDer::pem_file_iter(ca)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad(ca, &error))?;
        if certificates.is_empty() {
            return Err(bad(ca, &"there is no certificate in it"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| bad(ca, &error))?;
        }
    }
    Ok(roots)
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File(path.to_owned(), why.to_string())
}

pub fn configure(
    (domain, directory): (&str, &str),
    ca: Option<&Path>,
    cache: &Path,
    end: CertificateEnd,
) -> Result<(ServerConfig, Maintenance), TlsError> {
    // The directory will hold private keys.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(cache).map_err(|error| bad(cache, &error))?;

    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();

    let mut state = AcmeConfig::new_with_client_config([domain], Arc::new(client))
        .directory(directory)
        .cache(DirCache::new(cache.to_owned()))
        .state();
    let mut config = server_config(state.resolver(), end)?;
    config.alpn_protocols.push(ACME_TLS.to_vec());

    // The state orders a certificate, renews it at two thirds of its life, and tries again later if that fails.
    let maintenance = async move {
        while let Some(event) = state.next().await {
            match event {
                Ok(event) => tracing::info!(?event, "certificate"),
                Err(error) => tracing::error!(%error, "the certificate could not be had, trying again later"),
            }
        }
    };
    Ok((config, Box::pin(maintenance)))
}
