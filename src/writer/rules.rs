//! What the process that decides has beside its database. A change holds none of it, so that another process can ask for the change.

use std::sync::Arc;

use crate::config::{Deletions, Limits, Passwords, SignIns};
use crate::domain::{Authorize, Quotas, Scope, Username};

/// Tells whether a user has a stream with this number, which may be bound to.
pub type HasStream = Arc<dyn Fn(&Username, u64) -> bool + Send + Sync>;

/// What the configuration says where changes are decided, and which streams there are. A reload replaces it.
#[derive(Clone)]
pub struct Rules {
    /// How it is decided what a user may insert.
    pub authorize: Authorize,
    /// Limits of what inserts leave in the database.
    pub limits: Limits,
    /// How many sessions of MQTT a user may have that outlive their connections.
    pub mqtt_sessions: usize,
    /// How long sessions last, and the form of tokens.
    pub sign_ins: SignIns,
    /// How long a reset code lasts.
    pub passwords: Passwords,
    /// What becomes of a user who is deleted.
    pub deletions: Deletions,
    /// The scopes of a user that is created without any.
    pub default_scopes: Option<Vec<Scope>>,
    /// Which streams there are.
    pub has_stream: HasStream,
}

impl Rules {
    /// The quotas of tenants and users.
    pub fn quotas(&self) -> Quotas {
        self.limits.quotas()
    }
}

#[cfg(test)]
impl Rules {
    /// Rules that permit everything, of a server without streams.
    pub fn example() -> crate::config::Live<Self> {
        crate::config::Live::new(Self::permissive())
    }

    /// The same, to change them.
    pub fn permissive() -> Self {
        use std::time::Duration;

        use crate::domain::{DEFAULT_EVENT_BYTES, Erase};

        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            authorize: Authorize::Open,
            limits: Limits {
                streams_per_user: 0,
                max_event_bytes: DEFAULT_EVENT_BYTES,
                max_names: 10_000,
                max_while_connected: 10,
                max_idempotency_keys: 10,
                insert_rate: 0,
                tenant_insert_rate: 0,
            },
            mqtt_sessions: 3,
            sign_ins: SignIns { jwt_expiry: day, access_expiry: day, refresh_expiry: day, jwt_audience: None },
            passwords: Passwords { password_min: 8, password_checker: false, totp_duration: day },
            deletions: Deletions { name_quarantine: day, erase: Erase::Anonymise },
            default_scopes: None,
            has_stream: Arc::new(|_, _| false),
        }
    }
}
