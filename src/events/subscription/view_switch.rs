//! What a stream goes through that gets another view: another filter, other rights, or another tenant.

use std::rc::Rc;

use super::state::{Grant, OfTenant, Subscription};
use crate::domain::{Account, FilterChange, Own, Position, Rights, Timestamp, Username, View};
use crate::error::Error;
use crate::events::control::Reset;
use crate::events::ending::End;
use crate::events::reading::Lost;
use crate::events::subscriber::{ChangeView, Subscriber};
use crate::store::{Names, Replay, Wanted};

/// From which view a stream goes to which.
struct Switch {
    before: View,
    view: View,
    tenant_before: Rc<OfTenant>,
    tenant: Rc<OfTenant>,
    /// Whether everything that the view before called for has been given.
    is_settled: bool,
    /// Whether the same client wants more names than before, and nothing else is different.
    is_wider: bool,
}

impl Switch {
    /// Whether the tenant is another one.
    fn is_move(&self) -> bool {
        !Rc::ptr_eq(&self.tenant_before, &self.tenant)
    }

    /// Whether something that could be seen before may no longer be seen.
    fn may_lose(&self) -> bool {
        self.is_move() || self.before.rights != self.view.rights || self.before.own != self.view.own
    }

    /// The names that may no longer be seen.
    fn lost(&self) -> Names {
        let before = Box::new(self.before.clone());
        let lost = if self.is_move() { Wanted::Of(before) } else { Wanted::New(before, Box::new(self.view.clone())) };
        Names::new(self.tenant_before.guard.tenant().clone(), lost)
    }

    /// The latest events that have become visible, of those up to a position. If not everything of the view before was given, they are
    /// all events of the view; of a view that is only wider they are those that it has in addition, with what was `waiting` to be read.
    /// So a client that adds one name after the other is given each once.
    fn new_events(&self, waiting: Option<Wanted>, until: Position) -> Replay {
        let view = Box::new(self.view.clone());
        let wanted = match waiting {
            Some(Wanted::New(_, before)) => Wanted::New(view, before),
            None if (self.is_settled || self.is_wider) && !self.is_move() => {
                Wanted::New(view, Box::new(self.before.clone()))
            }
            _ => Wanted::Of(view),
        };
        Replay::snapshot(self.tenant.guard.tenant().clone(), wanted, Position::START, until)
    }
}

impl ChangeView for Subscription {
    fn change_rights(self: &Rc<Self>, account: &Account, (rights, own): (Rights, Own), changes: u64) {
        self.grant.borrow_mut().changes = changes;
        if !account.upholds_session(self.presence_guard.session()) {
            return self.end(End::Revoked);
        }
        // Its worker is what calls this.
        let Some(worker) = self.worker.upgrade() else { return };
        let filter = self.view().filter;
        let view = View { filter, rights, own };
        self.switch_view(worker.subscriptions(&account.tenant), account.tenant_since, view, false);
    }

    fn change_filter(self: &Rc<Self>, change: FilterChange, guest: Option<(Rights, Own)>) -> Result<u32, Error> {
        let worker = self.worker.upgrade().filter(|_| !self.is_over()).ok_or(Error::StreamUnknown)?;
        let before = self.view();
        let tenant = Rc::clone(&self.group().subscriptions);
        let is_added = matches!(change, FilterChange::Add(_) | FilterChange::Subscribe { .. });
        let asked = match &change {
            FilterChange::Subscribe { give, until, number, .. } => Some((give.clone(), *until, *number)),
            _ => None,
        };
        let filter = change.of(&before.filter)?;
        let filter = worker.hub().keep_filter(tenant.guard.tenant(), self.user_streams().username(), filter)?;
        let number = self.changes_asked.get() + 1;
        self.changes_asked.set(number);
        let (rights, own) = match guest {
            Some((rights, own)) => (rights.for_filter(&filter), own),
            None => (before.rights.clone(), before.own.clone()),
        };
        let view = View { filter, rights, own };
        if view == before {
            self.say_synced_again();
        } else {
            self.switch_view(tenant, Position::START, view, is_added);
        }
        if let Some((asked, until, number)) = asked.filter(|(asked, ..)| !asked.is_nothing()) {
            self.fall_behind();
            self.reads.borrow_mut().push_asked(asked, until.max(self.position.get()), number);
            self.wake();
        }
        Ok(number)
    }

    fn renew(&self, until: Timestamp) {
        let expires_at = &self.presence_guard.expires_at;
        expires_at.set(expires_at.get().map(|expires_at| expires_at.max(until)));
    }
}

impl Subscription {
    /// Whether its user may still see what they could when it got its rights. It is asked after events were fetched and before they
    /// count as given: a change of rights is noted before the events of its commit can be fetched. If it is not, the subscription has
    /// its new rights when this returns.
    pub(super) fn is_current(&self) -> bool {
        let before = self.grant.borrow().changes;
        if self.user_streams().changes() == before {
            return true;
        }
        if let Some(worker) = self.worker.upgrade() {
            worker.change_rights(self.user_streams().username());
        }
        // Its worker has ended, or it is to end: it is not given its new rights any more.
        if self.grant.borrow().changes == before {
            self.end(if self.user_streams().is_ended() { End::Revoked } else { End::stopping(0) });
        }
        false
    }

    /// Has it say that it is in sync, though nothing changes: its client waits for that after each change that it asks for.
    fn say_synced_again(&self) {
        if self.options.marks {
            self.unsynced.set(Some(self.left_out()));
            self.fall_behind();
        }
    }

    /// Goes on with what a view shows of a tenant. In another tenant it is given the latest events up to where its user came there, and
    /// everything that came after: the order is one for all tenants. In the same tenant it is given what has become visible, and told
    /// what it has lost. `is_added` says that its client has added names to its filter.
    fn switch_view(self: &Rc<Self>, tenant: Rc<OfTenant>, since: Position, view: View, is_added: bool) {
        let (tenant_before, is_settled) = (Rc::clone(&self.group().subscriptions), !self.reads.borrow().is_switching());
        let mut switch = Switch { before: self.view(), view, tenant_before, tenant, is_settled, is_wider: false };
        switch.is_wider = is_added && !switch.may_lose();
        if (switch.before == switch.view && !switch.is_move()) || self.is_over() {
            return;
        }
        self.fall_behind();
        let there_before = if switch.is_move() { self.move_presence(&switch) } else { Vec::new() };
        self.change_group(&switch);
        self.queue_reads(&switch, since);
        if switch.is_move() {
            self.switch_presence(&switch, there_before);
        }
        self.wake();
    }

    /// Its user is there in another tenant from now on. Returns the users that are there in the one before, if it is told of them.
    /// It is still told of those that go from there after that.
    fn move_presence(&self, switch: &Switch) -> Vec<Username> {
        let Some(worker) = self.worker.upgrade() else { return Vec::new() };
        // The user is of the other tenant by now: no event after this is bound in the one before, unless they come back.
        let (hub, head) = (worker.hub(), worker.hub().store().head());
        self.presence_guard.move_to(switch.tenant.guard.tenant(), worker.clock().now(), head);
        if self.presence.is_none() {
            return Vec::new();
        }
        hub.registry().people(switch.tenant_before.guard.tenant()).into_iter().map(|person| person.username).collect()
    }

    /// It tells which users are present in its tenant instead of the one before.
    fn switch_presence(&self, switch: &Switch, there_before: Vec<Username>) {
        let (Some(worker), Some(presence)) = (self.worker.upgrade(), &self.presence) else { return };
        switch.tenant.watch(self.serial());
        switch.tenant_before.unwatch(self.serial());
        // A user that went as those were looked at, or since, is among those that have gone just now.
        let pending = worker.mailbox().pending(switch.tenant_before.guard.tenant());
        presence.borrow_mut().go_on(there_before, pending);
    }

    /// Goes from the group of the view before into that of the view.
    fn change_group(self: &Rc<Self>, Switch { view, tenant_before, tenant, .. }: &Switch) {
        let format = self.group().format;
        tenant_before.detach(self.serial(), &self.grant.borrow().own);
        let group = {
            let Grant { group, .. } = &*self.grant.borrow();
            let is_same = Rc::ptr_eq(tenant, tenant_before) && group.rights == view.rights;
            if is_same && group.change_filter(&view.filter) {
                Rc::clone(group)
            } else {
                tenant.group(view.filter.clone(), view.rights.clone(), format, self.options.transient)
            }
        };
        let (own, holder, changes) = (view.own.patterns.clone(), view.filter.holder(), self.grant.borrow().changes);
        // Not to be dropped while it is borrowed.
        let before = self.grant.replace(Grant { group, own, holder, changes });
        drop(before);
        self.attach();
    }

    /// Has it given what the view calls for, before it goes on.
    fn queue_reads(&self, switch: &Switch, since: Position) {
        let known_to = self.position.get().max(self.known_to.get());
        if switch.is_move() {
            self.position.set(self.position.get().max(since));
        }
        let mut reads = self.reads.borrow_mut();
        reads.forget_view(self.position.get(), switch.is_wider);
        if self.options.marks && switch.may_lose() && known_to > Position::START && !reads.is_anew() {
            let reason = if switch.is_move() { Reset::OtherTenant } else { Reset::OtherScopes };
            reads.push_lost(Lost { names: switch.lost(), known_to }, reason);
        }
        // That gives everything.
        if self.options.backfill && !reads.is_anew() {
            let waiting = if switch.is_wider { reads.take_waiting_new() } else { None };
            reads.push_new(switch.new_events(waiting, self.position.get()));
        }
        // What it waited for is of the tenant before, if that was another one.
        let left_out = if switch.is_move() { Position::START } else { self.left_out() };
        self.unsynced.set(self.options.marks.then_some(left_out));
    }
}
