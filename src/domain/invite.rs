use uuid::Uuid;

use super::{Scope, TenantName, Timestamp, User, Username};

/// The scope with which users invite others to their tenant.
pub const INVITE_SCOPE: &str = "invite:post";

/// By what an invite is found: its SHA-256. The invite itself is a secret, and is not stored.
pub type InviteId = [u8; 32];

/// A permission to sign up, for one or more people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The tenant of whoever signs up with it.
    pub tenant: TenantName,
    /// Their scopes; `None` gives them the default scopes.
    pub scopes: Option<Vec<Scope>>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How many may still sign up with it.
    pub uses_left: u16,
    /// The user who made it; `None` for an admin.
    pub made_by: Option<Inviter>,
}

/// The user who made an invite. Another user who gets the same name later has another id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inviter {
    /// The name.
    pub username: Username,
    /// The id.
    pub id: Uuid,
}

impl Invite {
    /// Whether the invite of a user still works: for as long as that user may make the same one. It dies with the account,
    /// with a revocation, with a move to another tenant, and with the scopes that it needed.
    pub fn is_upheld_by(&self, inviter: &Inviter, user: &User) -> bool {
        let may_invite = missing_to_invite(user.scopes(), self.scopes.as_deref()).is_none();
        user.id == inviter.id && !user.revoked && user.tenant == self.tenant && may_invite
    }
}

/// The first scope that a user with these scopes lacks to invite others with those: [`INVITE_SCOPE`], and each that is
/// given on.
pub fn missing_to_invite<'a>(own: &[Scope], given: Option<&'a [Scope]>) -> Option<&'a str> {
    let given = given.unwrap_or_default().iter().map(Scope::as_str);
    std::iter::once(INVITE_SCOPE).chain(given).find(|needed| !own.iter().any(|scope| scope.as_str() == *needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        Scope::parse_all(texts).unwrap()
    }

    #[test]
    fn who_invites_has_the_scope_for_it_word_for_word_and_every_scope_that_is_given_on() {
        let own = scopes(&["news:get", "invite:post", "*:get"]);
        assert_eq!(missing_to_invite(&own, None), None);
        assert_eq!(missing_to_invite(&own, Some(&scopes(&["news:get"]))), None);
        assert_eq!(missing_to_invite(&own, Some(&scopes(&["news:get", "chat:get"]))), Some("chat:get"));
        for other in [&["*:post"][..], &["invite/*:post"], &["invite:get"], &[]] {
            assert_eq!(missing_to_invite(&scopes(other), None), Some(INVITE_SCOPE), "{other:?}");
        }
    }

    #[test]
    fn the_invite_of_a_user_works_for_as_long_as_they_may_make_it() {
        let user = User { scopes: Some(scopes(&["invite:post", "news:get"])), ..User::example() };
        let inviter = Inviter { username: user.username.clone(), id: user.id };
        let invite = Invite {
            tenant: user.tenant.clone(),
            scopes: Some(scopes(&["news:get"])),
            made_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(2),
            uses_left: 1,
            made_by: Some(inviter.clone()),
        };
        assert!(invite.is_upheld_by(&inviter, &user));
        for other in [
            User { id: Uuid::from_u128(8), ..user.clone() },
            User { revoked: true, ..user.clone() },
            User { tenant: TenantName::parse("other").unwrap(), ..user.clone() },
            User { scopes: Some(scopes(&["news:get"])), ..user.clone() },
            User { scopes: Some(scopes(&["invite:post"])), ..user.clone() },
            User { scopes: None, ..user.clone() },
        ] {
            assert!(!invite.is_upheld_by(&inviter, &other), "{other:?}");
        }
    }
}
