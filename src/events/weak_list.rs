use std::rc::{Rc, Weak};

/// A list of values of which any may be dropped at any time. Dropped values are counted, and taken out together once they are half of
/// the list. So each costs the same however long the list is, and the list is never more than twice as long as it must be.
pub struct WeakList<T: ?Sized> {
    all: Vec<Weak<T>>,
    gone: usize,
}

impl<T: ?Sized> Default for WeakList<T> {
    fn default() -> Self {
        Self { all: Vec::new(), gone: 0 }
    }
}

impl<T: ?Sized> WeakList<T> {
    /// Adds a value.
    pub fn push(&mut self, one: Weak<T>) {
        if self.all.is_empty() {
            // Most of these lists have one value.
            self.all.reserve_exact(1);
        }
        self.all.push(one);
    }

    /// Notes that one of the values is being dropped.
    pub fn note_gone(&mut self) {
        self.gone += 1;
        if self.gone * 2 >= self.all.len() {
            self.sweep(|_| true);
        }
    }

    /// Takes out a value that is still there.
    pub fn remove(&mut self, one: &Weak<T>) {
        self.sweep(|other| !Weak::ptr_eq(other, one));
    }

    /// Whether nothing is in it, not even a value that was dropped.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The values that are still there.
    pub fn iter(&self) -> impl Iterator<Item = Rc<T>> {
        self.all.iter().filter_map(Weak::upgrade)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    fn sweep(&mut self, stays: impl Fn(&Weak<T>) -> bool) {
        self.all.retain(|one| one.strong_count() > 0 && stays(one));
        self.gone = 0;
        if self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(self.all.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_values_are_forgotten_together_and_the_last_at_once() {
        let mut list = WeakList::default();
        let mut there: Vec<_> = (0..1000).map(Rc::new).collect();
        there.iter().for_each(|one| list.push(Rc::downgrade(one)));
        let mut sweeps = 0;
        while let Some(one) = there.pop() {
            drop(one);
            let before = list.len();
            list.note_gone();
            sweeps += usize::from(list.len() < before);
            assert!(list.len() <= 2 * there.len() && list.iter().count() == there.len());
        }
        assert!(list.is_empty() && sweeps <= 10, "{sweeps}");
    }

    #[test]
    fn a_value_that_is_taken_out_is_gone_and_the_others_stay() {
        let mut list = WeakList::default();
        let there = [1, 2, 3].map(Rc::new);
        there.iter().for_each(|one| list.push(Rc::downgrade(one)));
        list.remove(&Rc::downgrade(&there[1]));
        assert_eq!(list.iter().map(|one| *one).collect::<Vec<_>>(), [1, 3]);
    }
}
