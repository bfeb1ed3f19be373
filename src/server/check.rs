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
    let form = TokenForm::new(config.sign_ins.jwt_audience.clone());
    let scopes = config.default_scopes.as_deref().unwrap_or_default();
    form.check_scopes(scopes).map_err(|error| format!("default_scopes are too many for any user: {error}"))?;
    let guests = config.mqtt.as_ref().and_then(|mqtt| mqtt.guests.clone());
    guests.map(MqttTokens::new).transpose().map(drop)
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
