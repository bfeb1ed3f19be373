use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::{Rc, Weak};

/// Values by key, of which the map keeps none alive. Whatever drops a value takes its key out.
pub struct WeakMap<K, V: ?Sized>(RefCell<HashMap<K, Weak<V>>>);

impl<K, V: ?Sized> Default for WeakMap<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash, V: ?Sized> WeakMap<K, V> {
    /// The value of a key, if it is still there.
    pub fn get(&self, key: &K) -> Option<Rc<V>> {
        self.0.borrow().get(key).and_then(Weak::upgrade)
    }

    /// Adds a value.
    pub fn insert(&self, key: K, value: &Rc<V>) {
        self.0.borrow_mut().insert(key, Rc::downgrade(value));
    }

    /// Takes out the key of a value that is being dropped.
    pub fn remove(&self, key: &K) {
        self.0.borrow_mut().remove(key);
    }

    /// All values that are still there. Nothing is borrowed while they are used: one of them may be dropped then.
    pub fn values(&self) -> Vec<Rc<V>> {
        self.0.borrow().values().filter_map(Weak::upgrade).collect()
    }

    /// How many keys there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }
}
