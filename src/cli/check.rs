//! `broker check`: whether a server would start with this configuration. It starts and changes nothing, so it does not try the ports: a
//! server that runs has them.

use std::path::Path;

use rustix::fs::{Access, access};

use super::failure::Failure;
use super::print::print;
use crate::config::{Certificate, Config, Flags, Listen};
use crate::server;
use crate::tls;

/// Checks the configuration, and says what would be served.
///
/// # Errors
/// [`Failure::Misused`] with all that is wrong, a line each; a mistake in the flags themselves hides the others.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let config = Config::try_from(flags).map_err(Failure::Misused)?;
    let mut wrong: Vec<String> = server::check(&config).err().into_iter().collect();
    wrong.extend(is_usable("db", &config.db).err());
    wrong.extend(config.archiving.as_ref().and_then(|archiving| is_usable("archive", &archiving.archive).err()));
    if let Listen::Https(_, certificate) = &config.listen {
        wrong.extend(tls::check(certificate).err().map(|error| error.to_string()));
        if let Certificate::Acme { cache, .. } = certificate {
            wrong.extend(is_usable("certs", cache).err());
        }
    }
    match wrong.is_empty() {
        true => print(said(&config).as_bytes()),
        false => Err(Failure::Misused(wrong.join("\nerror: "))),
    }
}

/// What would be served, without secrets.
fn said(config: &Config) -> String {
    let (scheme, port, certificate) = match &config.listen {
        Listen::Http(port) => ("http", port, None),
        Listen::Https(port, certificate) => ("https", port, Some(certificate)),
    };
    let address = std::net::SocketAddr::new(config.host, *port);
    let mut lines = vec!["ok".to_owned(), format!("address: {scheme}://{address}")];
    lines.extend(certificate.map(|certificate| match certificate {
        Certificate::Files { chain, .. } => format!("certificate: {}", chain.display()),
        Certificate::Acme { domain, directory, .. } => format!("certificate: for {domain}, by {directory}"),
    }));
    lines.push(format!("database: {}", config.db.display()));
    if config.callers.only_this_machine {
        lines.push("a secret is a default or short: only this machine is served".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Whether a directory can be written, or made where it is to be.
fn is_usable(name: &str, directory: &Path) -> Result<(), String> {
    let wrong =
        |path: &Path, why: &dyn std::fmt::Display| format!("{name} {}: {}: {why}", directory.display(), path.display());
    // The nearest that exists. That of a relative path is the working directory in the end.
    let existing = directory.ancestors().find(|path| path.exists() || path.as_os_str().is_empty()).unwrap_or(directory);
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    if !existing.is_dir() {
        return Err(wrong(existing, &"it is no directory"));
    }
    access(existing, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| wrong(existing, &error))
}
