//! A client of the model, and what it makes of what it is told.

use super::*;

/// A client, over all of its streams.
pub struct Client {
    pub username: Username,
    pub filter: EventFilter,
    /// Whether it asks for transient events.
    pub wants_transient: bool,
    pub known: State,
    /// The last id that it saw.
    pub last: Option<u64>,
    /// Whether it must begin anew, since not all events came that another filter made visible.
    pub is_anew: bool,
    pub stream: Option<Open>,
}

/// A stream of a client.
pub struct Open {
    pub line: Rc<Line>,
    pub id: StreamId,
    /// How much of what came has been looked at, in bytes.
    pub seen: usize,
    /// The position of its worker when it was opened, if the client was new then.
    pub new_at: Option<u64>,
    /// From here on it gets every transient event, if its view does not change and it is not reset.
    pub covered_from: Option<u64>,
    /// The transient events that it got.
    pub transient: BTreeSet<u64>,
    /// Whether its view changed.
    pub switched: bool,
    /// The last event since the last reset, apart from control events.
    pub last: u64,
    /// The filter that was asked for, and whether it is in force.
    pub order: Option<(EventFilter, Rc<Cell<bool>>)>,
    /// The names that came since.
    pub since: BTreeSet<String>,
    /// Whether something may still be on its way that was sent before the filter that was asked for last.
    pub is_late: bool,
}

impl Open {
    pub fn new(line: Rc<Line>, id: StreamId, new_at: Option<u64>, covered_from: Option<u64>, switched: bool) -> Self {
        Self {
            line,
            id,
            seen: 0,
            new_at,
            covered_from,
            transient: BTreeSet::new(),
            switched,
            last: 0,
            order: None,
            since: BTreeSet::new(),
            is_late: false,
        }
    }
}

impl Client {
    /// One that has no stream yet. One of them leaves out transient events.
    pub fn new(username: &Username) -> Self {
        Self {
            username: username.clone(),
            filter: EventFilter::ALL,
            wants_transient: username.as_str() != "three",
            known: State::new(),
            last: None,
            is_anew: false,
            stream: None,
        }
    }

    /// Looks at what has come; `expected` is the present state as this client may see it, and `transient` are the transient events that
    /// it gets if its view does not change.
    pub fn look(&mut self, expected: &State, transient: &[u64]) {
        let Some(mut stream) = self.stream.take() else { return };
        let done = stream.order.take_if(|(_, is_done)| is_done.get());
        self.take(&mut stream, expected);
        let last = stream.last;
        if let Some((filter, _)) = done {
            // Events that the filter made visible come, or have come by now. Of names that it no longer wants nothing comes.
            let before = std::mem::replace(&mut self.filter, filter);
            let is_known = |name: &str| before.matches(name) || stream.since.contains(name);
            self.known.retain(|name, _| self.filter.matches(name) && is_known(name));
            self.is_anew = true;
        }
        stream.is_late &= stream.order.is_some() || stream.line.cut.get();
        self.stream = Some(stream);
        let missing = self.missing(transient, last);
        assert!(missing.is_empty(), "{missing:?} did not come before {last}");
    }

    /// Which of the transient events before a position its stream has not got, if it was to get all of them.
    pub fn missing(&self, transient: &[u64], before: u64) -> Vec<u64> {
        let Some(stream) = self.stream.as_ref().filter(|stream| !stream.switched) else { return Vec::new() };
        let Some(from) = stream.covered_from else { return Vec::new() };
        let missing = |position: &u64| from < *position && *position < before && !stream.transient.contains(position);
        transient.iter().copied().filter(missing).collect()
    }

    /// Takes what has come.
    fn take(&mut self, stream: &mut Open, expected: &State) {
        while let (Some(came), end) = stream.line.next_from(stream.seen) {
            stream.seen = end;
            stream.since.insert(came.name.clone());
            self.last = Some(came.position);
            match came.name.as_str() {
                "$synced" => {
                    self.is_anew &= stream.order.is_some();
                    if !stream.switched {
                        for name in expected.keys().filter(|name| name.starts_with('a')) {
                            assert!(self.known.contains_key(name), "in sync without {name}");
                        }
                    }
                }
                "$reset" => {
                    self.known.clear();
                    (stream.last, stream.covered_from) = (0, None);
                }
                "$left" => {
                    self.known.remove(&came.data);
                }
                name => {
                    assert!(stream.switched || came.position > stream.last, "{name} again, or late");
                    stream.last = came.position;
                    let is_old = stream.new_at.is_some_and(|new_at| came.position <= new_at);
                    if came.is_transient() {
                        assert!(self.wants_transient && !is_old, "{name} is transient");
                        assert!(stream.transient.insert(came.position), "{name} came twice");
                    } else if came.is_removal() {
                        assert!(!is_old, "told to who is new that {name} is no more");
                        self.known.remove(name);
                    } else {
                        self.known.insert(name.to_owned(), came.position);
                    }
                }
            }
        }
    }

    /// Its state of the names that it wants.
    pub fn known_now(&self) -> State {
        self.known.clone().into_iter().filter(|(name, _)| self.filter.matches(name)).collect()
    }

    pub fn leave(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.line.go();
            if let Some((filter, _)) = stream.order {
                // It may be done, or not.
                (self.filter, self.is_anew) = (filter, true);
            }
        }
    }
}
