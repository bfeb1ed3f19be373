//! Reading the configuration again while the server runs, on SIGHUP. What can change does, and the log says what cannot. A configuration that
//! is wrong changes nothing.

use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::check::{check, log_filter};
use crate::app::Services;
use crate::central::Rate;
use crate::config::{Callers, Config, Live, Setting};
use crate::domain::Secret;
use crate::log::FilterSwitch;

/// The flags that a reload applies.
const APPLIED: [&str; 10] = [
    "log",
    "origin",
    "streams_per_user",
    "max_event_bytes",
    "max_names",
    "max_while_connected",
    "max_idempotency_keys",
    "insert_rate",
    "tenant_insert_rate",
    "mqtt_connect_rate",
];

/// What a reload needs of the program around the server.
#[derive(Clone)]
pub struct Reload {
    /// Reads the configuration as a start would. The error is a text that says what to change.
    pub read: Arc<dyn Fn() -> Result<Config, String> + Send + Sync>,
    /// The filter of the log.
    pub filter: FilterSwitch,
}

/// The configuration by which the server runs.
pub struct Running {
    settings: Live<Vec<Setting>>,
    /// Secrets change in files of the same name.
    secrets: Vec<(&'static str, Secret)>,
}

impl Running {
    pub fn of(config: &Config) -> Self {
        let secrets = config.secrets().into_iter().map(|(name, secret)| (name, secret.clone())).collect();
        Self { settings: Live::new(config.settings.clone()), secrets }
    }

    /// The flags by which the server runs, whatever reloads change of them.
    pub fn settings(&self) -> Live<Vec<Setting>> {
        self.settings.clone()
    }

    /// Reloads at each signal.
    pub async fn follow(mut self, mut hangup: Signal, reload: Reload, services: Services) {
        while hangup.recv().await.is_some() {
            let read = Arc::clone(&reload.read);
            // It reads files.
            let read = tokio::task::spawn_blocking(move || {
                let config = read()?;
                check(&config).map(|()| config)
            });
            let read = read.await;
            let read = read.unwrap_or_else(|error| Err(error.to_string()));
            if let Err(why) = read.and_then(|config| self.change(config, &reload.filter, &services)) {
                tracing::error!(why, "the configuration was read again and is wrong: nothing was changed");
            }
        }
    }

    /// Goes by another configuration, as far as that is possible.
    fn change(&mut self, config: Config, filter: &FilterSwitch, services: &Services) -> Result<(), String> {
        let changed = self.changed(&config);
        let (applied, waiting): (Vec<_>, Vec<_>) = changed.into_iter().partition(|name| APPLIED.contains(name));
        if applied.contains(&"log") {
            filter.set(log_filter(&config)?)?;
        }
        let only_this_machine = services.callers.get().only_this_machine;
        services.callers.set(Callers { origins: config.callers.origins.clone(), only_this_machine });
        services.events.set_limits(config.limits.clone());
        // Without it, what is served still is, until the next start.
        if let Some(mqtt) = &config.mqtt {
            services.central.set_rate(Rate::MqttConnects, mqtt.connect_rate, 0);
        }
        let new = applied.iter().map(|name| {
            let value = config.settings.iter().find(|setting| setting.name == *name).and_then(|of| of.value.as_deref());
            format!("{name}={}", value.unwrap_or_default())
        });
        let applied_now = new.collect::<Vec<_>>().join(" ");
        tracing::info!(applied = applied_now, "the configuration was read again");
        if !waiting.is_empty() {
            tracing::warn!(flags = waiting.join(", "), "these have changed, and count from the next start on");
        }
        let mut settings = Vec::clone(&self.settings.get());
        for setting in &mut settings {
            let new =
                config.settings.iter().find(|new| new.name == setting.name && APPLIED.contains(&new.name.as_str()));
            if let Some(new) = new {
                setting.clone_from(new);
            }
        }
        self.settings.set(settings);
        Ok(())
    }

    /// The names of the flags with another value than the running server's.
    fn changed<'a>(&self, config: &'a Config) -> Vec<&'a str> {
        let running = self.settings.get();
        let settings = config.settings.iter().filter(|new| {
            let old = running.iter().find(|old| old.name == new.name);
            old.is_none_or(|old| old.value != new.value)
        });
        let secrets = config.secrets().into_iter().filter(|(name, new)| {
            let old = self.secrets.iter().find(|(old, _)| old == name);
            old.is_none_or(|(_, old)| !old.matches(new.expose()))
        });
        settings.map(|setting| setting.name.as_str()).chain(secrets.map(|(name, _)| name)).collect()
    }
}
