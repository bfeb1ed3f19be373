//! Points of the hand-overs at which a test can hold a thread, so that a test can write down an interleaving that would otherwise need
//! luck. Outside tests a gate is nothing, and always open.

/// A gate.
#[derive(Default)]
pub struct Gate {
    #[cfg(test)]
    state: std::sync::Mutex<State>,
    #[cfg(test)]
    opened: std::sync::Condvar,
}

#[cfg(not(test))]
impl Gate {
    /// Holds a thread for as long as it is closed.
    pub const fn pass(&self) {}

    /// Whether it is closed, for a task that waits without holding its thread.
    pub const fn is_closed(&self) -> bool {
        false
    }
}

#[cfg(test)]
#[derive(Default)]
struct State {
    is_closed: bool,
    waiting: usize,
}

#[cfg(test)]
impl Gate {
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        while state.is_closed {
            state = self.opened.wait(state).unwrap();
        }
        state.waiting -= 1;
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().unwrap().is_closed
    }

    pub fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
    }

    pub fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.opened.notify_all();
    }

    /// How many threads it holds.
    pub fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }
}
