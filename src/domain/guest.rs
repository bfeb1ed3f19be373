use std::sync::Arc;

use uuid::Uuid;

use super::{
    Account, Authorize, EventName, Generation, Granted, GuestInsert, GuestRights, MayInsert, Pattern, Patterns,
    Position, Rights, TenantName, Timestamp, Username,
};

/// Somebody who has no account here: a token that another service signed says who they are and what they may do.
///
/// A guest sees and inserts the events that their patterns name, and no others, whatever `authorize` says; inboxes are
/// never among them. The rights end at a moment, which is asked for wherever a user's account is looked at again. A guest's
/// name has a colon, so it is in no account, in no inbox and in no scope of a user. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    username: Username,
    account: Arc<Account>,
    expires_at: Option<Timestamp>,
}

impl Guest {
    /// A guest of a tenant, until a moment if there is one. The name is [where the token is from](Username::of_guest) and whom
    /// it calls them.
    pub fn new(
        (of, subject): (&str, &str),
        tenant: TenantName,
        rights: GuestRights,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self::named(Username::of_guest(of, subject), tenant, rights, expires_at)
    }

    /// Somebody who was a guest of this name when a token permitted them to insert events of one name.
    pub fn to_insert(username: Username, tenant: TenantName, name: EventName) -> Self {
        let insert = GuestInsert::Of(Patterns::new(vec![Pattern::Exact(name)]));
        Self::named(username, tenant, GuestRights { insert, ..GuestRights::default() }, None)
    }

    pub(super) fn named(
        username: Username,
        tenant: TenantName,
        rights: GuestRights,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let account = Account {
            id: Uuid::nil(),
            tenant,
            tenant_since: Position::START,
            scopes_since: Position::START,
            generation: Generation(0),
            scopes: Granted::of_guest(&username, rights),
            needs_code: false,
            revoked: false,
            sessions: Box::default(),
        };
        Self(Arc::new(Inner { username, account: Arc::new(account), expires_at }))
    }

    /// The name.
    pub fn username(&self) -> &Username {
        &self.0.username
    }

    /// What the guest may see and insert.
    pub(super) fn rights(&self) -> GuestRights {
        let (username, scopes) = (&self.0.username, &self.0.account.scopes);
        let see = match scopes.to_see(Authorize::Scopes, username).0 {
            Rights::Of(see) => see,
            Rights::All => Patterns::default(),
        };
        let insert = match scopes.to_insert(Authorize::Scopes, username) {
            MayInsert::OfGuest(insert) => insert,
            MayInsert::All | MayInsert::Of(_) => GuestInsert::default(),
        };
        GuestRights { see, insert }
    }

    /// When the rights end, if they do.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// What takes the place of an account.
    pub fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    /// The same, if this is the name of the guest, and the rights have not ended by now.
    pub fn account_at(&self, username: &Username, now: Timestamp) -> Option<&Arc<Account>> {
        let has_ended = self.0.expires_at.is_some_and(|expires_at| expires_at <= now);
        (!has_ended && *username == self.0.username).then_some(&self.0.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Authorize, EventFilter, View};

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts.iter().map(|text| Pattern::parse(text).unwrap()).collect())
    }

    fn guest(rights: GuestRights, expires_at: Option<u64>) -> Guest {
        let tenant = TenantName::parse("acme").unwrap();
        Guest::new(("notiflux", "bob"), tenant, rights, expires_at.map(Timestamp::from_millis))
    }

    #[test]
    fn a_guest_sees_and_inserts_what_is_named_and_no_inbox_whatever_users_may() {
        let rights = GuestRights {
            see: patterns(&["news", "room/*", "@*"]),
            insert: GuestInsert::Of(patterns(&["talk/*", "@*"])),
        };
        let guest = guest(rights, None);
        let account = guest.account();
        for authorize in [Authorize::Open, Authorize::Scopes] {
            let (rights, own) = account.scopes.to_see(authorize, guest.username());
            let (view, insert) =
                (View { filter: EventFilter::ALL, rights, own }, account.scopes.to_insert(authorize, guest.username()));
            let sees = |name| view.matches(name);
            let inserts = |name| insert.allows(&EventName::parse(name).unwrap());
            assert!(sees("news") && sees("room/1") && sees("@home") && inserts("talk/1") && inserts("@home"));
            assert!(!sees("talk/1") && !sees("secret") && !inserts("news") && !inserts("secret"));
            for inbox in ["@bob/x", "@alice/x"] {
                assert!(!sees(inbox) && !inserts(inbox), "{inbox}");
            }
        }
        let sign_in = crate::domain::SignIn { generation: Generation(1), by_password_alone: false, session: None };
        assert!(!account.upholds(&sign_in));
    }

    #[test]
    fn the_rights_of_a_guest_end_at_their_moment() {
        let guest = guest(GuestRights::default(), Some(1000));
        let at = |username: &str, millis| {
            guest.account_at(&Username::from_stored(username).unwrap(), Timestamp::from_millis(millis)).is_some()
        };
        assert!(at("notiflux:bob", 999) && !at("notiflux:bob", 1000) && !at("bob", 999));
    }
}
