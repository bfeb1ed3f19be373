use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Settings that a reload may change while the server runs: a cheap clone, whose reading takes no lock.
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    /// Settings to begin with.
    pub fn new(settings: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// The settings as they are now, for a moment: what needs them for longer takes [`Live::keep`].
    pub fn get(&self) -> impl Deref<Target = Arc<T>> + use<T> {
        self.0.load()
    }

    /// The settings as they are now, for as long as a request takes.
    pub fn keep(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the settings, in all clones.
    pub fn set(&self, settings: T) {
        self.0.store(Arc::new(settings));
    }
}
