use std::time::Duration;

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::{Deserialize, Serialize};

use super::audit::Act;
use super::owner::Owner;
use super::{Admin, Identity, Principal};
use crate::config::Signup;
use crate::domain::{
    AuthContext, ClientAddress, Invite, InviteId, Inviter, Scope, Secret, TenantName, Timestamp, Username,
    missing_to_invite,
};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

/// How many random bytes an invite has.
const INVITE_BYTES: usize = 24;
/// How long an invite lasts unless something else is asked for, in seconds: a week.
const DEFAULT_LASTS: u64 = 7 * 24 * 60 * 60;
/// How long it may last, in seconds: a year.
const MAX_LASTS: u64 = 365 * 24 * 60 * 60;
/// How many may sign up with it.
const MAX_USES: u16 = 1000;

/// The invite that an admin or a user asks for.
#[derive(Deserialize)]
pub struct NewInvite {
    tenant_name: Option<String>,
    scopes: Option<Vec<String>>,
    expires_in: Option<u64>,
    uses: Option<u64>,
}

/// The invite that is to be withdrawn.
#[derive(Deserialize)]
pub struct InviteToDelete {
    invite: Secret,
}

/// An invite, which is shown once.
#[derive(Serialize)]
pub struct IssuedInvite {
    invite: String,
    expires_at: u64,
}

/// The id of an invite. A hash without a salt is enough, since nobody can guess the invite.
pub(super) fn id_of(invite: &Secret) -> InviteId {
    let mut id = InviteId::default();
    // A SHA-256 has 32 bytes.
    id.copy_from_slice(digest::digest(&digest::SHA256, invite.expose()).as_ref());
    id
}

impl Identity {
    /// Makes an invite for an admin, to any tenant and with any scopes.
    ///
    /// # Errors
    /// [`Error::SignupClosed`]; [`Error::BodyInvalid`] without a tenant, or for numbers that are out of range;
    /// [`Error::TenantNameInvalid`], [`Error::TenantNameLookalike`], [`Error::ScopesInvalid`], [`Error::ScopesTooLarge`];
    /// those of [`crate::writer::Writer::submit`].
    pub async fn create_invite(&self, admin: &Admin, new: NewInvite) -> Result<IssuedInvite, Error> {
        let act = admin.act("invite", "made", "");
        let made = async {
            let tenant = match &new.tenant_name {
                Some(tenant) => TenantName::parse(tenant)?,
                None => self.0.settings.sign_ups.tenant.clone().ok_or_else(|| {
                    Error::BodyInvalid("missing field `tenant_name`, since there is no signup_tenant".to_owned())
                })?,
            };
            self.issue_invite(new, tenant, None).await
        };
        act.ends(made.await)
    }

    /// Makes an invite for a user with the scope `invite:post`, to the user's own tenant. It gives on no other scopes than the
    /// user has.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a guest; [`Error::BodyInvalid`] if it names a tenant; [`Error::MissingScope`];
    /// [`Error::TooManyInvites`]; those of [`Identity::create_invite`].
    pub async fn create_invite_as(
        &self,
        principal: &Principal,
        new: NewInvite,
        from: ClientAddress,
    ) -> Result<IssuedInvite, Error> {
        let act = Act::by_owner(&principal.username, "invite", "made", from);
        act.ends(self.try_create_invite_as(principal, new).await)
    }

    async fn try_create_invite_as(&self, principal: &Principal, new: NewInvite) -> Result<IssuedInvite, Error> {
        if principal.is_guest() {
            return Err(Error::Unauthorized);
        }
        if new.tenant_name.is_some() {
            return Err(Error::BodyInvalid("tenant_name is for admins: you invite to your own tenant".to_owned()));
        }
        let by = Some((principal.username.clone(), principal.auth_context.clone()));
        self.issue_invite(new, principal.account.tenant.clone(), by).await
    }

    /// Withdraws any invite, for an admin.
    ///
    /// # Errors
    /// [`Error::InviteInvalid`] if there is no such invite; those of [`crate::writer::Writer::submit`].
    pub async fn delete_invite(&self, admin: &Admin, InviteToDelete { invite }: InviteToDelete) -> Result<(), Error> {
        let act = admin.act("invite", "deleted", "");
        act.ends(self.0.writer.submit(DeleteInvite { id: id_of(&invite), by: None }).await)
    }

    /// Withdraws an invite that a user has made.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a guest, and if the principal's rights ended meanwhile; [`Error::InviteInvalid`] if they have made no such
    /// invite; those of [`crate::writer::Writer::submit`].
    pub async fn delete_invite_as(
        &self,
        principal: &Principal,
        InviteToDelete { invite }: InviteToDelete,
        from: ClientAddress,
    ) -> Result<(), Error> {
        let act = Act::by_owner(&principal.username, "invite", "deleted", from);
        let by = Some(Owner::of(principal));
        act.ends(self.0.writer.submit(DeleteInvite { id: id_of(&invite), by }).await)
    }

    async fn issue_invite(
        &self,
        new: NewInvite,
        tenant: TenantName,
        by: Option<(Username, AuthContext)>,
    ) -> Result<IssuedInvite, Error> {
        if self.0.settings.sign_ups.signup == Signup::Closed {
            return Err(Error::SignupClosed);
        }
        let lasts = new.expires_in.unwrap_or(DEFAULT_LASTS);
        if !(1..=MAX_LASTS).contains(&lasts) {
            return Err(Error::BodyInvalid(format!("expires_in must be 1 to {MAX_LASTS} seconds")));
        }
        let uses = u16::try_from(new.uses.unwrap_or(1)).ok().filter(|uses| (1..=MAX_USES).contains(uses));
        let uses = uses.ok_or_else(|| Error::BodyInvalid(format!("uses must be 1 to {MAX_USES}")))?;
        let scopes = new.scopes.as_deref().map(Scope::parse_all).transpose()?;
        let given = || by.as_ref().and(self.0.settings.default_scopes.as_deref());
        self.0.tokens.form().check_scopes(scopes.as_deref().or_else(given).unwrap_or_default())?;
        let secret = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(crate::random::bytes::<INVITE_BYTES>()));
        let lasts = Duration::from_secs(lasts);
        let change = CreateInvite { id: id_of(&secret), tenant, scopes, lasts, uses, by };
        let expires_at = self.0.writer.submit(change).await?.as_millis();
        Ok(IssuedInvite { invite: String::from_utf8_lossy(secret.expose()).into_owned(), expires_at })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct CreateInvite {
    id: InviteId,
    tenant: TenantName,
    scopes: Option<Vec<Scope>>,
    lasts: Duration,
    uses: u16,
    /// The user who makes it, and what their right to do so rests on; `None` for an admin.
    by: Option<(Username, AuthContext)>,
}

impl Change for CreateInvite {
    /// When the invite ends.
    type Outcome = Timestamp;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Timestamp, Error> {
        let Self { id, tenant, scopes, lasts, uses, by } = self;
        // Whoever signs up without others gets the default ones. A user gives on none that they lack, so these are asked for, too.
        let scopes = scopes.or_else(|| by.as_ref().and(batch.rules().default_scopes.clone()));
        let made_by = match by {
            None => None,
            Some((username, auth_context)) => {
                let account = batch.account(&username, &auth_context)?;
                if let Some(missing) = missing_to_invite(&account.scopes, scopes.as_deref()) {
                    return Err(Error::MissingScope(missing.to_owned()));
                }
                // The user was moved since the request came.
                if account.tenant != tenant {
                    return Err(Error::TenantChanged);
                }
                Some(Inviter { username, id: account.id })
            }
        };
        // Taken now, or an invite might turn out to be to a name that looks like another by then.
        let claim = batch.free_tenant(&tenant)?;
        let made_at = batch.now();
        let expires_at = made_at + lasts;
        batch.add_invite(&id, &Invite { tenant, scopes, made_at, expires_at, uses_left: uses, made_by })?;
        batch.claim(claim);
        Ok(expires_at)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeleteInvite {
    id: InviteId,
    /// The user who must have made it; `None` for an admin.
    by: Option<Owner>,
}

impl Change for DeleteInvite {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self { id, by } = self;
        let owner = by.map(|owner| owner.user(batch)).transpose()?;
        let is_theirs = |invite: &Invite| {
            owner.as_ref().is_none_or(|owner| invite.made_by.as_ref().is_some_and(|inviter| inviter.id == owner.id))
        };
        let invite = batch.invite(&id)?.filter(is_theirs).ok_or(Error::InviteInvalid)?;
        batch.forget_invite(&id, &invite)
    }
}
