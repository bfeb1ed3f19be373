//! Values that are text on the command line, and need further checks. A value that cannot work is refused at the start
//! with a reason. Otherwise the clients that it locks out would find the mistake.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::domain::{OriginPattern, Scope, Secret, host_and_port, is_domain_name};

/// The ACME directory of Let's Encrypt.
pub const DEFAULT_ACME_DIRECTORY: &str = rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;

/// The origins that may call from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All origins: `*`.
    Any,
    /// These origins, compared as the browser writes them.
    Only(Vec<OriginPattern>),
}

/// The largest size of a file with a secret or a key, in bytes. A larger file is another file.
const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;

/// A secret from its file or its flag, but not from both.
pub fn secret(name: &str, value: String, default: &str, file: Option<&Path>) -> Result<Secret, String> {
    let secret = match file {
        // A file with variables has such values if its lines end as on Windows.
        None if value.ends_with(['\r', '\n']) => {
            return Err(format!("{name} ends with a line break, which is no part of it"));
        }
        None => value,
        Some(_) if value != default => return Err(format!("set {name} or {name}_file, not both")),
        Some(path) => return secret_of_file(name, path),
    };
    checked(name, secret)
}

/// A secret from its file.
///
/// # Errors
/// A text that says what is wrong with the file or the secret.
pub fn secret_of_file(name: &str, path: &Path) -> Result<Secret, String> {
    let text = text_of_file(path).map_err(|why| format!("{name}_file {}: {why}", path.display()))?;
    // Editors and `echo` end a file with a line break that is not part of the secret.
    checked(name, text.trim_end_matches(['\r', '\n']).to_owned())
}

fn checked(name: &str, secret: String) -> Result<Secret, String> {
    // These characters are invisible, and nobody would type them when the secret must be entered.
    let is_unseen =
        |c: char| matches!(c, '\u{feff}' | '\u{fffe}' | '\u{200b}') || (c.is_control() && !c.is_whitespace());
    if secret.trim().is_empty() {
        Err(format!("{name} is empty"))
    } else if secret.chars().any(is_unseen) {
        Err(format!(
            "{name} has a character in it that cannot be seen, such as the byte-order mark with which some editors begin a file: \
             save it as UTF-8 without one"
        ))
    } else {
        Ok(Secret::new(secret))
    }
}

/// Checks that a path could have been typed. A file with variables whose lines end as on Windows gives other paths, and
/// so would create a new database beside the existing one.
pub fn check_path(name: &str, path: &Path) -> Result<(), String> {
    if path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        return Err(format!("{name} {path:?} has a line break or another control character in it"));
    }
    Ok(())
}

/// The text in a small file.
pub fn text_of_file(path: &Path) -> Result<String, String> {
    text_in(File::open(path).map_err(|error| error.to_string())?)
}

/// The text in a small file that is open.
pub fn text_in(file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SECRET_FILE_BYTES {
        return Err(format!("it is larger than {} KiB, and so not what is meant", MAX_SECRET_FILE_BYTES >> 10));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is in UTF-16: save it as UTF-8".to_owned());
    }
    // The text is not quoted, because it is a secret.
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// What clap says of a mistake, without its own beginning.
pub fn said(error: &clap::Error) -> String {
    error.to_string().trim_start_matches("error: ").trim_end().to_owned()
}

/// The entries of a comma-separated list.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

pub fn default_scopes(text: &str) -> Result<Option<Vec<Scope>>, String> {
    let scopes: Vec<_> = list(text).map(str::to_owned).collect();
    let scopes = Scope::parse_all(&scopes)
        .map_err(|_| format!("default_scopes {text:?} are not scopes like news:get, with commas between"))?;
    Ok((!scopes.is_empty()).then_some(scopes))
}

pub fn origins(text: &str) -> Result<Origins, String> {
    if list(text).any(|origin| origin == "*") {
        return Ok(Origins::Any);
    }
    let parse = |origin: &str| OriginPattern::parse(origin).map_err(|why| format!("origin {origin:?} {why}"));
    let origins = list(text).map(parse).collect::<Result<Vec<_>, _>>()?;
    if origins.is_empty() {
        Err("origin is empty; * allows every origin".to_owned())
    } else {
        Ok(Origins::Only(origins))
    }
}

/// Parses time servers: each a host, with a port if it is not that of NTP.
pub fn ntp_servers(text: &str) -> Result<Vec<String>, String> {
    let parse = |server: &str| match host_and_port(server) {
        Some(_) => Ok(server.to_owned()),
        None => Err(format!("ntp_servers: {server:?} is not like time.example.com or 192.0.2.1:123")),
    };
    list(text).map(parse).collect()
}

/// The domain to certify, checked together with the URL of the authority's directory. A domain that cannot be certified
/// is refused. Otherwise the server would try forever while no client can connect.
pub fn to_certify(domain: &str, directory: &str) -> Result<String, String> {
    if !is_domain_name(domain) {
        return Err(format!(
            "domain {domain:?} is not like app.example.com: a certificate is for a name alone, without scheme, port or star, \
             and an international one begins with xn--"
        ));
    }
    // This authority certifies only names of the public internet.
    if directory == DEFAULT_ACME_DIRECTORY && !domain.contains('.') {
        return Err(format!(
            "nobody certifies {domain:?}: set domain to the name that clients connect to, or auto_cert=false with key_path and \
             cert_path"
        ));
    }
    let authority = directory.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    let is_plain = !directory.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_plain || authority.and_then(host_and_port).is_none() {
        return Err(format!("acme_directory {directory:?} is not like https://acme.example.com/directory"));
    }
    Ok(domain.to_ascii_lowercase())
}
