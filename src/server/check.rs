use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::identity::{MqttTokens, TokenForm};
use crate::log::Filter;
use crate::transports::http::LOG_FILTER;

/// Checks that the settings fit together, as far as the configuration alone does not tell. Nothing is started for it.
///
/// # Errors
/// A text that says what to change.
pub fn check(config: &Config) -> Result<(), String> {
    log_filter(config)?;
    if let Some(archiving) = &config.archiving {
        let (archive, db) = (resolved(&archiving.archive), resolved(&config.db));
        if archive.starts_with(&db) || db.starts_with(&archive) {
            return Err("archive and db must be directories apart from each other, at best on two disks".to_owned());
        }
    }
    let form = TokenForm::new(config.sign_ins.jwt_audience.clone());
    let scopes = config.default_scopes.as_deref().unwrap_or_default();
    form.check_scopes(scopes).map_err(|error| format!("default_scopes are too many for any user: {error}"))?;
    let guests = config.mqtt.as_ref().and_then(|mqtt| mqtt.guests.clone());
    guests.map(MqttTokens::new).transpose().map(drop)
}

/// A path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match existing {
        Some((ancestor, mut real)) => {
            for part in path.strip_prefix(ancestor).iter().flat_map(|rest| rest.components()) {
                match part {
                    Component::ParentDir => drop(real.pop()),
                    part => real.push(part),
                }
            }
            real
        }
        None => path,
    }
}

/// The filter of the log, as the configuration has it.
///
/// # Errors
/// A text that says what to change.
pub fn log_filter(config: &Config) -> Result<Filter, String> {
    // A level alone applies to Broker's own lines. The database never logs below a warning, because its lowest level
    // prints what it stores.
    let wanted = if config.log.contains(['=', ',']) {
        config.log.clone()
    } else {
        format!("warn,{LOG_FILTER},broker={}", config.log)
    };
    Filter::parse(&format!("{wanted},sled=warn")).map_err(|why| format!("log {:?}: {why}", config.log))
}
