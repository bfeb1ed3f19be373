use std::sync::Arc;

use bytes::Bytes;

use super::{Inbox, MaySee, Membership, Share};
use crate::app::App;
use crate::app::events::Events;
use crate::domain::{EventFilter, Own, Patterns, Rights, SharedFilter, TenantName, Username, View, inbox_owner};
use crate::error::Error;
use crate::events::{GoesOnFor, Lease, Sink, Start, StreamOptions, SubscribeRequest};
use crate::identity::Principal;

impl Events {
    /// What says whether a principal may see events of a tenant by their name. Rights are read again when they have changed.
    fn may_see(&self, principal: &Principal, tenant: &TenantName) -> MaySee {
        let streams = self.hub.registry().user_streams(&principal.username);
        let (store, authorize, tenant) = (self.store().clone(), self.authorize(), tenant.clone());
        let guest = principal.is_guest().then(|| Arc::clone(&principal.account));
        let mut known: Option<(u64, Option<(Rights, Own)>)> = None;
        Box::new(move |topic| {
            if streams.is_ended() {
                return false;
            }
            // Counted before the rights are read: those that are read are these, or later ones.
            let changes = streams.changes();
            let rights = match &mut known {
                Some((of, rights)) if *of == changes => rights,
                known => {
                    let account = match &guest {
                        Some(account) => Some(Arc::clone(account)),
                        None => store.account(streams.username()).ok().flatten(),
                    };
                    let account = account.filter(|account| account.tenant == tenant);
                    let rights = account.map(|account| account.scopes.to_see(authorize, streams.username()));
                    &mut known.insert((changes, rights)).1
                }
            };
            rights.as_ref().is_some_and(|(rights, own)| rights.allow(topic) || own.allows(topic))
        })
    }

    /// A stream of everything that a filter matches, whoever of the tenant may see it; in an inbox, what its owner may see.
    fn share_stream(
        &self,
        tenant: &TenantName,
        shared: &SharedFilter,
        by: &Principal,
        owner: Option<&Username>,
    ) -> Result<SubscribeRequest, Error> {
        if self.hub.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let username = owner.cloned().unwrap_or_else(Username::of_shares);
        let head = self.head();
        let user_streams = self.hub.registry().user_streams(&username);
        let changes = user_streams.changes();
        let filter = EventFilter::topics([shared.filter.clone()])?;
        let filter = self.hub.keep_filter(tenant, &by.username, filter)?;
        let own = Own { username, patterns: Patterns::default() };
        let lease = Lease { is_of_share: true, ..Lease::default() };
        Ok(SubscribeRequest {
            presence_guard: user_streams.arrive_by(lease, tenant, GoesOnFor::None, self.clock.now()),
            tenant: tenant.clone(),
            view: View { filter, rights: Rights::All, own },
            start: Start::now(head, None),
            options: StreamOptions { backfill: false, ..StreamOptions::default() },
            changes,
            filter_changes: 0,
        })
    }
}

impl App {
    /// Has a principal that may subscribe to the filter of a share become a member, which is given events in an inbox under a slot. The
    /// share's events are written to the sink, by a stream that runs on this thread if the share begins by this.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::ShuttingDown`]; those of
    /// [`Hub::keep_filter`](crate::events::Hub::keep_filter).
    pub fn join_share<S: Sink + 'static>(
        &self,
        principal: &Principal,
        shared: &SharedFilter,
        place: (&Arc<Inbox>, u32),
        sink: impl FnOnce(&Arc<Share>) -> S,
    ) -> Result<Membership, Error> {
        let tenant = &self.identity.recheck(principal)?.tenant;
        let owner = inbox_owner(shared.filter.as_str()).filter(|owner| *owner == principal.username.as_str());
        let owner = owner.map(|_| &principal.username);
        let key = (tenant.clone(), shared.clone(), owner.cloned());
        let may_see = self.events.may_see(principal, tenant);
        self.shares.join(key, place, may_see, |share| {
            let request = self.events.share_stream(tenant, shared, principal, owner)?;
            tokio::task::spawn_local(self.open(request, sink(share), Bytes::new()));
            Ok(())
        })
    }

    /// A member of a share has authenticated again: it may see what it may by that.
    pub fn renew_membership(&self, principal: &Principal, membership: &Membership) {
        let (tenant, _, _) = &membership.key;
        membership.renew(self.events.may_see(principal, tenant));
    }
}
