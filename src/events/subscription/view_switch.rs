//! What a stream goes through that wants or may see something else from now on.

use std::rc::Rc;

use super::Subscription;
use crate::domain::{Account, EventFilter, Own, Position, Rights, View};
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
        if self.user_streams.changes() == self.changes.get() {
            return true;
        }
        match self.worker.upgrade() {
            Some(worker) => worker.change_rights(&self.user_streams),
            // Its worker has ended: nobody is left who could give it its new rights.
            None => self.end(),
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
        self.note_own(false);
        let group = subscriptions.group(view.filter.clone(), view.rights.clone(), self.group().format);
        self.group.replace(group);
        self.own.replace(view.own.patterns.clone());
        self.filter_holder.replace(view.filter.holder());
        self.note_own(true);
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
            self.move_presence(&room_before, subscriptions);
        }
        self.wake();
    }

    /// Its user is there in another room's tenant from now on, and it is told who is there instead of who was.
    fn move_presence(self: &Rc<Self>, before: &TenantSubscriptions, subscriptions: &TenantSubscriptions) {
        let Some(worker) = self.worker.upgrade() else { return };
        let (hub, tenant_before, tenant) = (worker.hub(), before.guard.tenant(), subscriptions.guard.tenant());
        self.presence_guard.move_to(tenant, worker.clock().now());
        let Some(presence) = &self.presence else { return };
        before.remove_watcher(self);
        subscriptions.add_watcher(self);
        hub.watch(tenant);
        // Whoever goes as these are looked at is among those who have gone just now.
        let were_there = hub.people(tenant_before).into_iter().map(|person| person.username);
        hub.unwatch(tenant_before);
        presence.borrow_mut().go_on(were_there, worker.mailbox().pending(tenant_before));
    }
}
