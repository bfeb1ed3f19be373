//! Databases as an earlier version left them, which let in names that no new user or tenant can have.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::domain::{EventName, Payload, TenantName, Timestamp, Username};
use broker::store::{Draft, Store};

use super::{TestServer, password_of};

impl TestServer {
    /// Stops, has an earlier version make these users, of tenants, and starts again. Their passwords are
    /// [`password_of`] `earlier`.
    pub async fn with_earlier_users(self, users: &[(&str, &str)]) -> Self {
        self.client().create_user("earlier", "earlier").await;
        self.with_users_like("earlier", users).await
    }

    /// Stops, makes these users, of tenants, who have all else in common with one that there is, and starts again.
    pub async fn with_users_like(mut self, model: &str, users: &[(&str, &str)]) -> Self {
        self.signal("TERM");
        self.ended().await;
        {
            let (store, mut committer) = Store::open(&self.database(), 64 << 20).unwrap();
            let mut user = store.user(&Username::parse(model).unwrap()).unwrap().unwrap();
            for users in users.chunks(16) {
                let mut transaction = committer.begin(Timestamp::from_millis(0)).unwrap();
                for (username, tenant) in users {
                    user.username = Username::parse(username).unwrap();
                    user.tenant = TenantName::parse(tenant).unwrap();
                    transaction.put_user(&user);
                }
                // It noted no names.
                let none = br#"{"version":0,"after":null,"with_slash":0,"example":null}"#;
                transaction.put_setting("names", none.to_vec());
                let _ = transaction.commit().unwrap().reveal();
            }
        }
        self.restart().await
    }
}

impl TestServer {
    /// Stops, has an earlier version insert events with data `1` for a user of a tenant, and starts again.
    pub async fn with_earlier_events(mut self, username: &str, tenant: &str, events: &[&str]) -> Self {
        self.signal("TERM");
        self.ended().await;
        {
            let (_store, mut committer) = Store::open(&self.database(), 64 << 20).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let mut transaction = committer.begin(Timestamp::from_millis(now.as_millis() as u64)).unwrap();
            let (username, tenant) = (Username::parse(username).unwrap(), TenantName::parse(tenant).unwrap());
            for event in events {
                let (name, data) = (EventName::parse(event).unwrap(), Payload::from_valid_json("1").unwrap());
                transaction.insert_event(Draft::value(tenant.clone(), username.clone(), name, data)).unwrap();
            }
            let _ = transaction.commit().unwrap().reveal();
        }
        self.restart().await
    }
}

/// The password of users who were made by an earlier version.
pub fn earlier_password() -> String {
    password_of("earlier")
}
