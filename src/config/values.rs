//! Values that are text to the command line, and must be more than that to work: what cannot work is refused with what is wrong,
//! at the start, and not found out by whoever is shut out.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::domain::{OriginPattern, Scope, Secret, host_and_port, is_domain_name};

use super::flags::DEFAULT_ACME_DIRECTORY;

/// Who may call from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody: `*`.
    Any,
    /// These, compared as the browser writes them.
    Only(Vec<OriginPattern>),
}

/// How large a file with a secret may be, in bytes: one that is larger is another file.
const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;

/// A secret from its file or its flag, not from both.
pub fn secret(name: &str, value: String, default: &str, file: Option<&Path>) -> Result<Secret, String> {
    let secret = match file {
        // As a file with variables has it whose lines end as on Windows.
        None if value.ends_with(['\r', '\n']) => {
            return Err(format!("{name} ends with a line break, which is no part of it"));
        }
        None => value,
        Some(_) if value != default => return Err(format!("set {name} or {name}_file, not both")),
        Some(path) => {
            let place = format!("{name}_file {}", path.display());
            let text = secret_of_file(path).map_err(|why| format!("{place}: {why}"))?;
            // Editors and `echo` end a file with a line break that is no part of the secret.
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    // Nobody sees these, and nobody would type them where the secret is to be shown.
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

/// A path as it would be made by hand. A file with variables whose lines end as on Windows gives others, and so makes a new database
/// beside the one that there is.
pub fn check_path(name: &str, path: &Path) -> Result<(), String> {
    if path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        return Err(format!("{name} {path:?} has a line break or another control character in it"));
    }
    Ok(())
}

fn secret_of_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_SECRET_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SECRET_FILE_BYTES {
        return Err(format!("it is larger than {} KiB, and so no secret", MAX_SECRET_FILE_BYTES >> 10));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is in UTF-16: save it as UTF-8".to_owned());
    }
    // Without quoting it.
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// The parts of a list with commas between.
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

/// Each a host, with a port where it is another than NTP's.
pub fn ntp_servers(text: &str) -> Result<Vec<String>, String> {
    let parse = |server: &str| match host_and_port(server) {
        Some(_) => Ok(server.to_owned()),
        None => Err(format!("ntp_servers: {server:?} is not like time.example.com or 192.0.2.1:123")),
    };
    list(text).map(parse).collect()
}

/// The name that an authority is to certify, and where its directory is. What it could never certify is refused, since it would be
/// tried for ever while nobody can connect.
pub fn to_certify(domain: &str, directory: &str) -> Result<String, String> {
    if !is_domain_name(domain) {
        return Err(format!(
            "domain {domain:?} is not like app.example.com: a certificate is for a name alone, without scheme, port or star, \
             and an international one begins with xn--"
        ));
    }
    // It certifies names of the internet alone.
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
