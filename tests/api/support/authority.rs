//! A certificate authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Client, within};

/// A certificate authority of a test's own.
pub struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        Self { certificate: params.self_signed(&key).unwrap(), key }
    }

    /// The root that clients are to trust.
    pub fn root(&self) -> String {
        self.certificate.pem()
    }

    /// Certifies a new key for `localhost` and `127.0.0.1`, and writes both: where the chain is, and where the key.
    pub fn issue(&self, directory: &Path) -> (PathBuf, PathBuf) {
        self.issue_with(directory, |_| {})
    }

    /// The same, for so many days from now.
    pub fn issue_for(&self, directory: &Path, days: u64) -> (PathBuf, PathBuf) {
        let end = SystemTime::now() + Duration::from_secs(days * 24 * 3600);
        self.issue_with(directory, |params| params.not_after = end.into())
    }

    fn issue_with(&self, directory: &Path, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        let (chain_path, key_path) = (directory.join("chain.pem"), directory.join("private_key.pem"));
        std::fs::write(&chain_path, leaf.pem() + &self.root()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        (chain_path, key_path)
    }
}

/// A bare connection to `localhost` at this address, on which this is spoken, and whose certificate is of this root.
///
/// # Errors
/// If the certificate is of another one.
pub async fn connect_trusting(root: &str, address: &str, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let socket = within("a connection", TcpStream::connect(address)).await.unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket);
    within("a handshake", connecting).await
}

impl Client {
    /// A client that trusts this root alone, and shows which certificate it was given.
    pub fn trusting(root: &str, settings: reqwest::ClientBuilder, url: &str) -> Self {
        let root = reqwest::Certificate::from_pem(root.as_bytes()).unwrap();
        Self::with(settings.add_root_certificate(root).tls_info(true), url)
    }
}
