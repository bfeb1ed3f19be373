use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Bound;

use crate::domain::TenantName;

/// Tenants that wait to have their tails counted, each once, in the order in which they came.
pub struct Waiting {
    /// How many there are at most.
    at_most: usize,
    names: HashSet<TenantName>,
    /// These tenants, and some that wait no longer.
    queue: VecDeque<TenantName>,
}

impl Waiting {
    /// No tenant yet, and at most so many.
    pub fn new(at_most: usize) -> Self {
        Self { at_most, names: HashSet::new(), queue: VecDeque::new() }
    }

    /// Has a tenant wait. Returns whether there was room for it.
    pub fn push(&mut self, tenant: TenantName) -> bool {
        if self.names.contains(&tenant) {
            return true;
        }
        let has_room = self.queue.len() < self.at_most;
        if has_room {
            self.names.insert(tenant.clone());
            self.queue.push_back(tenant);
        }
        has_room
    }

    /// The one that has waited longest.
    pub fn first(&mut self) -> Option<TenantName> {
        while self.queue.pop_front_if(|tenant| !self.names.contains(tenant)).is_some() {}
        self.queue.front().cloned()
    }

    /// A tenant waits no longer.
    pub fn remove(&mut self, tenant: &TenantName) {
        self.names.remove(tenant);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// All of them, beginning after the one that was last.
pub fn in_turn(tenants: &BTreeSet<TenantName>, last: Option<&TenantName>) -> Vec<TenantName> {
    let Some(last) = last else { return tenants.iter().cloned().collect() };
    let after = tenants.range((Bound::Excluded(last), Bound::Unbounded));
    after.chain(tenants.range(..=last)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_waits_is_counted_in_turn_and_no_more_wait_than_can_be_remembered() {
        let name = |name: &str| TenantName::parse(name).unwrap();
        let mut waiting = Waiting::new(100);
        for tenant in ["z", "m", "a", "z"] {
            assert!(waiting.push(name(tenant)));
        }
        for tenant in ["z", "m", "a"] {
            assert_eq!(waiting.first(), Some(name(tenant)));
            waiting.remove(&name(tenant));
        }
        assert!(waiting.first().is_none() && waiting.is_empty());
        for number in 0..100 {
            assert!(waiting.push(name(&number.to_string())));
        }
        assert!(!waiting.push(name("z")) && waiting.push(name("0")));
        // Nor does any tenant whose tail is too long wait for the others for ever.
        let long = ["a", "b", "c"].map(name).into_iter().collect();
        assert_eq!(in_turn(&long, None), ["a", "b", "c"].map(name));
        assert_eq!(in_turn(&long, Some(&name("b"))), ["c", "a", "b"].map(name));
        assert_eq!(in_turn(&long, Some(&name("bb"))), ["c", "a", "b"].map(name));
    }
}
