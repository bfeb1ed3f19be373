//! What a stream goes through that wants or may see something else from now on.

use std::rc::Rc;

use super::Subscription;
use crate::domain::{Account, EventFilter, Own, Position, Rights, Username, View};
use crate::events::control::Reset;
use crate::events::reading::Lost;
use crate::events::tenant_subscriptions::TenantSubscriptions;
use crate::events::worker::Worker;
use crate::store::{Names, Replay, Wanted};

/// How many losses wait to be told at most; where there are more, it is reset.
const MAX_LOST: usize = 2;

/// What is given to a subscription beside what is new, when it wants or may see something else than before.
pub(super) enum Backfill {
    /// It is told what it has lost.
    Lost(Lost),
    /// It is given the latest of what is new to it.
    New(Replay),
    /// It is given everything anew, since what it has lost is too much to be told.
    Reset(Reset),
}

impl Subscription {
    /// Wants something else from now on; what is new to it is given.
    pub(in crate::events) fn change_filter(self: &Rc<Self>, filter: EventFilter) {
        let View { rights, own, .. } = self.view();
        let subscriptions = Rc::clone(&self.group().subscriptions);
        self.switch_view(&subscriptions, Position::START, View { filter, rights, own });
    }

    /// Whether it still may see what it could when it got its rights. Asked after events were fetched and before they count
    /// as given: a change of rights is noted before the events of its commit can be fetched. Where it may not, it has its new
    /// rights when this returns.
    pub(super) fn is_current(&self) -> bool {
        let before = self.changes.get();
        if self.user_streams().changes() == before {
            return true;
        }
        if let Some(worker) = self.worker.upgrade() {
            worker.change_rights(self.user_streams().username());
        }
        // Its worker has ended, or it is to end: it is not given its new rights any more.
        if self.changes.get() == before {
            self.end();
        }
        false
    }

    /// May see something else from now on, perhaps of another tenant. What is new to it is given, and what it may no longer see
    /// it is told.
    pub(in crate::events) fn change_rights(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        account: &Account,
        (rights, own): (Rights, Own),
        changes: u64,
    ) {
        self.changes.set(changes);
        let (subscriptions, filter) = (worker.subscriptions(&account.tenant), self.view().filter);
        self.switch_view(&subscriptions, account.tenant_since, View { filter, rights, own });
    }

    /// Goes on with what a view shows of a room's tenant: where that is another one, with the latest events up to where its
    /// user came there, and everything that came after. The order is one for all tenants.
    fn switch_view(self: &Rc<Self>, subscriptions: &Rc<TenantSubscriptions>, since: Position, view: View) {
        let (before, room_before) = (self.view(), Rc::clone(&self.group().subscriptions));
        let is_moved = !Rc::ptr_eq(&room_before, subscriptions);
        if (before == view && !is_moved) || self.is_over() {
            return;
        }
        self.fall_behind();
        let there_before = if is_moved { self.move_presence(&room_before, subscriptions) } else { Vec::new() };
        room_before.detach(self.presence_guard.serial(), &self.own.borrow(), Some(&Rc::downgrade(self)));
        let group = subscriptions.group(view.filter.clone(), view.rights.clone(), self.group().format);
        self.group.replace(group);
        self.own.replace(view.own.patterns.clone());
        self.filter_holder.replace(view.filter.holder());
        self.attach();
        self.view_version.set(self.view_version.get().wrapping_add(1));
        let mut backfills = self.backfills.borrow_mut();
        // What was still to be given of the last change is now part of this one.
        let is_settled = !self.is_switching.replace(true);
        backfills.retain(|backfill| !matches!(backfill, Backfill::New(_)));
        let (position, new, old) = (self.position.get(), Box::new(view.clone()), Box::new(before.clone()));
        let may_lose = is_moved || before.rights != view.rights || before.own != view.own;
        let known_to = position.max(self.known_to.get());
        let mut is_reset = backfills.iter().any(|backfill| matches!(backfill, Backfill::Reset(_)));
        if self.options.marks && may_lose && known_to > Position::START && !is_reset {
            let lost = if is_moved { Wanted::Of(old.clone()) } else { Wanted::New(old.clone(), new.clone()) };
            let names = Names::new(room_before.guard.tenant().clone(), lost);
            backfills.push_back(Backfill::Lost(Lost { names, known_to }));
            // Its reader takes nothing, and each of these takes memory.
            is_reset = backfills.len() > MAX_LOST;
            if is_reset {
                backfills.clear();
                backfills.push_back(Backfill::Reset(if is_moved { Reset::OtherTenant } else { Reset::OtherScopes }));
            }
        }
        if is_moved {
            self.position.set(position.max(since));
            // What it waited for was of the other tenant.
            self.left_out.set(Position::START);
        }
        if !is_reset {
            let wanted = if is_settled && !is_moved { Wanted::New(new, old) } else { Wanted::Of(new) };
            let (tenant, until) = (subscriptions.guard.tenant().clone(), self.position.get());
            backfills.push_back(Backfill::New(Replay::snapshot(tenant, wanted, Position::START, until)));
        }
        self.unsynced.set(self.options.marks);
        drop(backfills);
        if is_moved {
            self.switch_presence(&room_before, there_before);
        }
        self.wake();
    }

    /// Its user is there in another tenant from now on. Returns the users that are there in the one before, if it is told of them.
    /// It is still told of those that go from there after that.
    fn move_presence(&self, before: &TenantSubscriptions, subscriptions: &TenantSubscriptions) -> Vec<Username> {
        let Some(worker) = self.worker.upgrade() else { return Vec::new() };
        // The user is of the other tenant by now: no event after this is bound in the one before, unless they come back.
        let (hub, head) = (worker.hub(), worker.hub().store().head());
        self.presence_guard.move_to(subscriptions.guard.tenant(), worker.clock().now(), head);
        if self.presence.is_none() {
            return Vec::new();
        }
        hub.registry().people(before.guard.tenant()).into_iter().map(|person| person.username).collect()
    }

    /// It is told who is there in its tenant instead of who was there in the one before.
    fn switch_presence(&self, before: &TenantSubscriptions, there_before: Vec<Username>) {
        let (Some(worker), Some(presence)) = (self.worker.upgrade(), &self.presence) else { return };
        // A user that went as those were looked at, or since, is among those who have gone just now.
        presence.borrow_mut().go_on(there_before, worker.mailbox().pending(before.guard.tenant()));
    }
}
