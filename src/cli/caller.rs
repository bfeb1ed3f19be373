//! Calling a server that runs: where it is, and the admin token for it.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ureq::tls::{Certificate as Root, PemItem, RootCerts, TlsConfig, TlsConfigBuilder, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, SendBody, http};

use super::failure::Failure;
use crate::config::{Flags, flags_of_server};
use crate::domain::Secret;

/// How long the server may take to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to import what it has not read when everything is sent.
const IMPORTED_WITHIN: Duration = Duration::from_secs(1800);
/// How long it may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How much of a refusal is shown, in bytes.
const REFUSAL_BYTES: u64 = 4096;

/// Where the server is, and the admin token. What is not given here is what the configuration file and the variables of the server say, so
/// that a command beside the server needs nothing more.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Caller {
    /// Configuration file of the server.
    #[arg(long, env = "BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the server, which begins with http: or https: [default: this machine, by the server's configuration].
    #[arg(long, env = "BROKER_URL")]
    url: Option<String>,
    /// PEM file with the root certificate of the server, if it is not a public one.
    #[arg(long, env = "BROKER_CA")]
    ca: Option<PathBuf>,
    /// File with the admin token [default: by the server's configuration].
    #[arg(long)]
    admin_token_file: Option<PathBuf>,
}

/// Why a request has no answer that is of use.
pub struct Unanswered {
    /// The reason.
    pub why: Failure,
    /// Whether a later try may have one.
    pub may_pass: bool,
}

impl From<Failure> for Unanswered {
    fn from(why: Failure) -> Self {
        Self { why, may_pass: false }
    }
}

impl Caller {
    /// The URL of a path on the server.
    ///
    /// # Errors
    /// [`Failure::Misused`] if the server's configuration is wrong.
    pub fn url(&self, path: &str) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(format!("{}{path}", url.trim_end_matches('/')));
        }
        // The secrets of the server are not needed for that, and perhaps cannot be read by whoever asks.
        let flags = self.flags()?;
        let prefix = flags.base_path.prefix();
        let host = flags.host.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = if flags.secure { flags.https_port } else { flags.port };
        Ok(match (flags.secure, flags.auto_cert) {
            (false, _) => format!("http://{}{prefix}{path}", reachable(host, port)),
            // The certificate is for the domain, and not for the address at which the server is reached.
            (true, true) => format!("https://{}:{port}{prefix}{path}", flags.domain),
            (true, false) => match crate::tls::name_in(&flags.cert_path) {
                Some(name) => format!("https://{name}:{port}{prefix}{path}"),
                None => format!("https://{}{prefix}{path}", reachable(host, port)),
            },
        })
    }

    /// The flags of the server, as far as its file and the variables have them.
    ///
    /// # Errors
    /// [`Failure::Misused`] if they are wrong.
    pub fn flags(&self) -> Result<Flags, Failure> {
        flags_of_server(self.config.as_deref()).map_err(Failure::Misused)
    }

    /// The admin token.
    ///
    /// # Errors
    /// [`Failure::Misused`] if there is none to be had.
    pub fn admin_token(&self) -> Result<Secret, Failure> {
        match &self.admin_token_file {
            Some(path) => crate::config::secret_of_file("admin_token", path).map_err(Failure::Misused),
            None => self.flags()?.admin_token().map_err(Failure::Misused),
        }
    }

    /// Sends a GET. An answer with another status than 2xx is an answer too.
    ///
    /// # Errors
    /// [`Failure::Failed`] if the server cannot be reached.
    pub fn get(&self, path: &str) -> Result<http::Response<Body>, Failure> {
        let url = self.url(path)?;
        self.agent(self.tls()?)?.get(&url).call().map_err(|error| unreached(&url, &error))
    }

    /// The same, whatever the certificate of a server on this machine is: a health check is given no secret, and asks whether the server
    /// works.
    ///
    /// # Errors
    /// [`Failure::Failed`] if the server cannot be reached.
    pub fn probe(&self, path: &str) -> Result<http::Response<Body>, Failure> {
        let url = self.url(path)?;
        let tls = self.tls()?.disable_verification(self.url.is_none() && self.ca.is_none());
        self.agent(tls)?.get(&url).call().map_err(|error| unreached(&url, &error))
    }

    /// Sends a POST with the fields of a JSON object, and the admin token as one more.
    ///
    /// # Errors
    /// [`Failure::Failed`] if the server cannot be reached, or refuses.
    pub fn post_as_admin(
        &self,
        path: &str,
        mut fields: serde_json::Map<String, serde_json::Value>,
    ) -> Result<http::Response<Body>, Failure> {
        let url = self.url(path)?;
        let token = String::from_utf8_lossy(self.admin_token()?.expose()).into_owned();
        fields.insert("admin_token".to_owned(), token.into());
        let body = serde_json::Value::Object(fields).to_string();
        let request = self.agent(self.tls()?)?.post(&url).header("content-type", "application/json");
        let answer = request.send(body).map_err(|error| unreached(&url, &error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer)) }
    }

    /// Sends a POST with lines as they are read, with the admin token in a header: they may be more than fit into memory.
    ///
    /// # Errors
    /// `Unanswered`.
    pub fn post_lines(
        &self,
        path: &str,
        idempotency_key: &str,
        lines: &mut dyn Read,
    ) -> Result<http::Response<Body>, Unanswered> {
        let (url, token) = (self.url(path)?, self.admin_token()?);
        let authorization = format!("Bearer {}", String::from_utf8_lossy(token.expose()));
        let request = self.agent(self.tls()?)?.post(&url).header("content-type", "application/x-ndjson");
        let request = request.header("authorization", authorization).header("idempotency-key", idempotency_key);
        // What is on the way, or in a proxy, has to be imported first.
        let request = request.config().timeout_recv_response(Some(IMPORTED_WITHIN)).build();
        let answer = request.send(SendBody::from_reader(lines));
        let answer = answer.map_err(|error| Unanswered { why: unreached(&url, &error), may_pass: true })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        // The server is going down, its disk is full, or it has not noticed yet that an earlier connection has gone.
        let may_pass = matches!(answer.status().as_u16(), 408 | 409 | 429 | 503);
        Err(Unanswered { why: refused(answer), may_pass })
    }

    fn tls(&self) -> Result<TlsConfigBuilder, Failure> {
        let roots = match &self.ca {
            None => RootCerts::WebPki,
            Some(path) => RootCerts::Specific(Arc::new(certificates(path).map_err(Failure::Misused)?)),
        };
        Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(crate::tls::provider()))
    }

    fn agent(&self, tls: TlsConfigBuilder) -> Result<Agent, Failure> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_recv_response(Some(ANSWER_WITHIN))
            .tls_config(tls.build())
            .user_agent(concat!("broker/", env!("CARGO_PKG_VERSION")));
        if self.url.is_some() {
            return Ok(agent.build().into());
        }
        // The server on this machine is asked directly: a proxy would look for it elsewhere.
        let here = ThisMachine(self.flags()?.host.unwrap_or(Ipv4Addr::LOCALHOST.into()));
        Ok(Agent::with_parts(agent.proxy(None).build(), DefaultConnector::default(), here))
    }
}

/// Finds every name at the address at which this machine reaches the server. The name is that of its certificate.
#[derive(Debug)]
struct ThisMachine(IpAddr);

impl Resolver for ThisMachine {
    fn resolve(
        &self,
        uri: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let default = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
        let mut found = self.empty();
        found.push(reachable(self.0, uri.port_u16().unwrap_or(default)));
        Ok(found)
    }
}

/// The address at which this machine reaches a server that listens on an address.
fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = match host {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(host, port)
}

fn certificates(path: &PathBuf) -> Result<Vec<Root<'static>>, String> {
    let of_file = |why: String| format!("ca {}: {why}", path.display());
    let text = fs::read(path).map_err(|error| of_file(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| of_file(error.to_string()))? {
            found.push(certificate.to_owned());
        }
    }
    if found.is_empty() { Err(of_file("it has no certificate".to_owned())) } else { Ok(found) }
}

fn unreached(url: &str, error: &ureq::Error) -> Failure {
    Failure::Failed(format!("{url} cannot be reached: {error}"))
}

/// What the server says why it refuses.
fn refused(answer: http::Response<Body>) -> Failure {
    let status = answer.status();
    Failure::Failed(format!("the server refuses: {status} {}", said(answer)))
}

/// The beginning of the body of an answer that is short.
pub fn said(answer: http::Response<Body>) -> String {
    let text = answer.into_body().into_with_config().limit(REFUSAL_BYTES).read_to_string().unwrap_or_default();
    text.trim().to_owned()
}
