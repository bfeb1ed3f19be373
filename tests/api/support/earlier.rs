//! Databases as an earlier version left them, which let in names that no new user or tenant can have.

use broker::domain::{NewUsername, TenantName, Timestamp, Username};
use broker::store::Store;

use super::{TestServer, password_of};

impl TestServer {
    /// Stops, has an earlier version make these users, of tenants, and starts again. Their passwords are
    /// [`password_of`] `earlier`.
    pub async fn with_earlier_users(mut self, users: &[(&str, &str)]) -> Self {
        let model = NewUsername::parse("earlier").unwrap();
        self.client().create_user(model.get().as_str(), "earlier").await;
        self.signal("TERM");
        self.ended().await;
        {
            let (store, mut committer) = Store::open(&self.database(), 64 << 20).unwrap();
            let mut transaction = committer.begin(Timestamp::from_millis(0)).unwrap();
            let mut user = store.user(model.get()).unwrap().unwrap();
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
        self.restart().await
    }
}

/// The password of users who were made by an earlier version.
pub fn earlier_password() -> String {
    password_of("earlier")
}
