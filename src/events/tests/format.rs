//! Guards encoding: an event is encoded once for each format, and streams of several formats get the same events.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::{EventId, EventKind};

/// An event is a line with its id, its name and its data.
pub(super) struct Lines;

impl Lines {
    pub const HEARTBEAT: char = '~';
}

impl Format for Lines {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "lines", framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "test"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        buffer.extend_from_slice(format!("{} {} ", event.id, event.name).as_bytes());
        let begin = buffer.len();
        buffer.extend_from_slice(event.data.as_bytes());
        let end = buffer.len();
        buffer.push(b'\n');
        Some(begin..end)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (name, data) = match control {
            ControlEvent::Synced { change } => {
                ("$synced".to_owned(), change.map(|change| change.to_string()).unwrap_or_default())
            }
            ControlEvent::Reset(reason) => ("$reset".to_owned(), format!("{reason:?}")),
            ControlEvent::Presence { username, person } => {
                (format!("$presence/{username}"), person.is_some().to_string())
            }
            ControlEvent::Left { name } => ("$left".to_owned(), (*name).to_owned()),
            ControlEvent::End(why) => ("$end".to_owned(), format!("{why:?}")),
        };
        buffer.extend_from_slice(format!("{id} {name} {data}\n").as_bytes());
    }

    fn heartbeat(&self) -> &'static [u8] {
        b"~"
    }

    fn join(&self, content: Content) -> Bytes {
        content.wrap(b"", b"")
    }
}

/// The same lines, from streams that look at who inserted an event and when: the clerk of the model, in its only moment.
struct Authored;

impl Format for Authored {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "authored", framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "test"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        assert_eq!((event.username, event.timestamp), ("clerk", Timestamp::from_millis(1)));
        assert_eq!(event.kind == EventKind::Removal, event.data == "null");
        Lines.event(event, buffer)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        Lines.control(control, id, buffer);
    }

    fn heartbeat(&self) -> &'static [u8] {
        Lines.heartbeat()
    }

    fn join(&self, content: Content) -> Bytes {
        Lines.join(content)
    }
}

/// The format of a client of the model: each tenant has streams of two.
pub(super) fn format_of(username: &Username) -> &'static dyn Format {
    if username.as_str() == "two" { &Authored } else { &Lines }
}

/// The same lines, with a line around what is written at once, and counted.
struct Wrapped {
    encoding: &'static str,
    /// How many events were encoded.
    encoded: AtomicUsize,
}

impl Wrapped {
    const fn new(encoding: &'static str) -> Self {
        Self { encoding, encoded: AtomicUsize::new(0) }
    }

    fn encoded(&self) -> usize {
        self.encoded.load(Ordering::Relaxed)
    }
}

impl Format for Wrapped {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: self.encoding, framing: "wrapped" }
    }

    fn transport(&self) -> &'static str {
        "test"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        Lines.event(event, buffer)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        Lines.control(control, id, buffer);
    }

    fn heartbeat(&self) -> &'static [u8] {
        Lines.heartbeat()
    }

    fn join(&self, content: Content) -> Bytes {
        content.wrap(b"<\n", b">\n")
    }
}

impl House {
    fn open_as(&self, format: &'static dyn Format, worker: usize, filter: &str) -> Rc<Line> {
        let line = Rc::new(Line::default());
        line.room.set(usize::MAX);
        let task = self.workers[worker].open(
            self.request("u", filter, |_| {}),
            LineSink(Rc::clone(&line), format),
            Bytes::new(),
        );
        tokio::task::spawn_local(task);
        line
    }
}

/// What came on a line, without what is around it.
fn lines(line: &Line) -> Vec<String> {
    let taken = String::from_utf8(line.taken.borrow().clone()).unwrap();
    let events = taken.lines().filter(|line| !["<", ">", "~", "~>", "<~"].contains(line));
    events.map(|line| line.trim_start_matches('~').to_owned()).collect()
}

#[test]
fn an_event_is_encoded_once_for_streams_of_one_format_in_many_groups_on_all_workers() {
    static FORMAT: Wrapped = Wrapped::new("counted");
    run(async {
        let mut house = House::new();
        let filters = ["*", "a", "a*", "a,b", "a,c"];
        let lines: Vec<_> =
            (0..20).map(|number| house.open_as(&FORMAT, number % 2, filters[number % filters.len()])).collect();
        rest().await;
        let before = FORMAT.encoded();
        house.insert(&["a"], &[]);
        settle(|| lines.iter().all(|line| super::format::lines(line).len() == 1)).await;
        assert_eq!(FORMAT.encoded() - before, 1);
    });
}

#[test]
fn streams_of_two_formats_get_the_same_events_each_in_its_own_bytes() {
    static WRAPPED: Wrapped = Wrapped::new("other");
    run(async {
        let mut house = House::holding(&["a", "b", "a"]);
        let [plain, wrapped] = [&Lines as &'static dyn Format, &WRAPPED].map(|format| house.open_as(format, 0, "*"));
        settle(|| [&plain, &wrapped].iter().all(|line| lines(line).len() == 2)).await;
        let subscriptions = house.workers[0].worker.subscriptions(&tenant("t"));
        assert_eq!(subscriptions.sizes()[0], 2, "each format has a group");
        house.insert(&["c", "-a"], &[]);
        settle(|| [&plain, &wrapped].iter().all(|line| lines(line).len() == 4)).await;
        // From memory, which the other format has filled.
        let late = house.open_as(&WRAPPED, 1, "*");
        settle(|| lines(&late).len() == 2).await;
        assert_eq!(lines(&plain), lines(&wrapped));
        assert_eq!(lines(&late), [&lines(&plain)[0], &lines(&plain)[2]].map(String::as_str));
        assert!(!plain.taken.borrow().contains(&b'<') && wrapped.taken.borrow().contains(&b'<'));
    });
}
