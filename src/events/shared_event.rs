use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::format::{Content, EventParts, Format};
use super::lock::lock;
use crate::domain::{Event, EventId, EventKind, EventName, Payload, Position, Published, Timestamp, Username};

/// What a format adds to an event's name and data, and what its username takes beside the text, about.
const AROUND_BYTES: usize = 56;

/// What a pair of user properties takes beside its texts, about: the two of them, and what the allocator adds.
const PAIR_BYTES: usize = 2 * size_of::<String>() + 32;

/// An event in memory, shared by all streams that get it. Each format encodes it at most once, when the first stream of that format
/// needs it, whichever worker or group that stream belongs to.
///
/// The fields that a snapshot of thousands of events looks at stand first, in as few lines of the processor's cache as possible.
#[repr(C)]
pub struct SharedEvent {
    bytes: u32,
    /// What it does to its name.
    pub kind: EventKind,
    /// Whether it is the removal of a value that had expired.
    by_expiry: bool,
    /// What it is called.
    pub name: EventName,
    encoding: OnceLock<Encoding>,
    /// Its position, as clients see it.
    pub id: EventId,
    timestamp: Timestamp,
    /// What few events have.
    rare: Option<Box<Rare>>,
    username: Username,
    /// What was inserted. `None` once an encoding contains it, so that it is not in memory twice.
    data: Mutex<Option<Payload>>,
}

/// What few events have. It stands apart, so that others take no memory for it.
struct Rare {
    /// When it expires. A value that expires is followed by its removal.
    expires_at: Option<Timestamp>,
    /// What it has beside its data if it was published over MQTT.
    published: Option<Arc<Published>>,
}

/// What a format made of an event.
#[repr(C)]
struct Encoding {
    bytes: Bytes,
    /// The [`FormatKey::encoding`](super::format::FormatKey) of the format.
    of: &'static str,
    /// Where the event's data stands in it; nowhere if it is not there, since no JSON is empty.
    data: Range<u32>,
    /// That of another format.
    next: OnceLock<Box<Encoding>>,
}

impl SharedEvent {
    /// An event that was committed and has this id, and that nobody has encoded yet.
    pub fn new(event: Event, id: EventId) -> Self {
        // Data has 1 MiB at most.
        let bytes = u32::try_from(memory(&event)).unwrap_or(u32::MAX);
        let Event { name, username, timestamp, data, kind, expires_at, by_expiry, published, .. } = event;
        let is_rare = expires_at.is_some() || published.is_some();
        let rare = is_rare.then(|| Box::new(Rare { expires_at, published }));
        let (data, encoding) = (Mutex::new(Some(data)), OnceLock::new());
        Self { bytes, kind, by_expiry, name, encoding, id, timestamp, rare, username, data }
    }

    /// Whether it is a transient event that has expired. It may be in memory all the same.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.kind == EventKind::Transient && self.expires_at().is_some_and(|expires_at| expires_at <= now)
    }

    /// The time of its commit.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.expires_at
    }

    /// Its place in the order of all events.
    pub fn position(&self) -> Position {
        self.id.position
    }

    /// How much memory it and one encoding take, about. Each further format in use adds its own.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The event as a format writes it. `of` is [`FormatKey::encoding`](super::format::FormatKey) of the format.
    fn encoded_as(&self, of: &'static str, format: &dyn Format) -> &Bytes {
        let mut encoding = self.encoding.get_or_init(|| self.encode(format));
        // For thousands of events in a row: the same text is nearly always the same place, too.
        while !std::ptr::eq(encoding.of, of) && encoding.of != of {
            encoding = encoding.next.get_or_init(|| Box::new(self.encode(format)));
        }
        &encoding.bytes
    }

    /// The event as a format writes it.
    pub fn encoded(&self, format: &dyn Format) -> &Bytes {
        self.encoded_as(format.key().encoding, format)
    }

    /// Called for one encoding after another, since each waits for the ones before it.
    fn encode(&self, format: &dyn Format) -> Encoding {
        let mut given = lock(&self.data);
        let data = given.as_ref().map_or_else(|| self.encoded_data(), Payload::as_str);
        let (id, name, username) = (self.id, self.name.as_str(), self.username.as_str());
        let (kind, timestamp, by_expiry) = (self.kind, self.timestamp, self.by_expiry);
        let (expires_at, published) =
            (self.expires_at(), self.rare.as_ref().and_then(|rare| rare.published.as_deref()));
        let mut bytes = Vec::new();
        let parts = EventParts { id, name, data, kind, timestamp, username, expires_at, by_expiry, published };
        let at = format.event(&parts, &mut bytes);
        // A format that is mistaken about this must not cost the other formats the data.
        let at = at.filter(|at| bytes.get(at.clone()).is_some_and(|data| std::str::from_utf8(data).is_ok()));
        let at = at.and_then(|at| Some(u32::try_from(at.start).ok()?..u32::try_from(at.end).ok()?)).unwrap_or(0..0);
        if !at.is_empty() {
            *given = None;
        }
        Encoding { of: format.key().encoding, bytes: bytes.into(), data: at, next: OnceLock::new() }
    }

    /// The data, from the encoding that contains it.
    fn encoded_data(&self) -> &str {
        let mut encodings =
            std::iter::successors(self.encoding.get(), |encoding| encoding.next.get().map(|next| &**next));
        let with_data = encodings.find(|encoding| !encoding.data.is_empty());
        let data = with_data.and_then(|Encoding { bytes, data, .. }| bytes.get(data.start as usize..data.end as usize));
        // It was looked at when it was encoded.
        data.and_then(|data| std::str::from_utf8(data).ok()).unwrap_or_default()
    }
}

/// How much memory an event takes, about, once it is encoded. A format may write data that is not ASCII with the escapes of JSON, and
/// what it wrote takes the place of the data. What was published over MQTT is in memory beside it, and may be in the encoding as well.
fn memory(Event { name, username, data, published, .. }: &Event) -> usize {
    let data = data.as_str();
    let escaped = |char: char| if char.is_ascii() { 1 } else { r"\u0000".len() * char.len_utf16() };
    let data = if data.is_ascii() { data.len() } else { data.chars().map(escaped).sum() };
    let beside = published.as_ref().map_or(0, |published| {
        // A name and a value are a text each on the heap.
        let pairs = published.properties.user_properties.len() * PAIR_BYTES;
        size_of::<Published>() + pairs + 2 * published.bytes()
    });
    AROUND_BYTES + name.as_str().len() + username.as_str().len() + data + beside
}

/// Events as one write of a format.
pub fn join(format: &dyn Format, events: &[Arc<SharedEvent>]) -> Bytes {
    let of = format.key().encoding;
    if let [event] = events
        && let Some(alone) = format.alone(event.encoded_as(of, format))
    {
        return alone;
    }
    format.join_or_nothing(content(format, events))
}

/// Latest events as one write of a format.
pub fn join_latest(format: &dyn Format, events: &[Arc<SharedEvent>]) -> Bytes {
    format.join_latest_or_nothing(content(format, events))
}

fn content(format: &dyn Format, events: &[Arc<SharedEvent>]) -> Content {
    let of = format.key().encoding;
    let encoded = || events.iter().map(|event| event.encoded_as(of, format));
    let mut content = Content::with_capacity(encoded().map(Bytes::len).sum());
    encoded().for_each(|event| content.buffer().extend_from_slice(event));
    content
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::domain::Epoch;
    use crate::events::control::ControlEvent;
    use crate::events::format::FormatKey;

    /// Writes an event with a letter before its data, or before a number in its place, and counts how often.
    struct Counting {
        key: FormatKey,
        has_data: bool,
        written: AtomicUsize,
    }

    impl Counting {
        fn new(encoding: &'static str, framing: &'static str, has_data: bool) -> Self {
            Self { key: FormatKey { encoding, framing }, has_data, written: AtomicUsize::new(0) }
        }

        fn written(&self) -> usize {
            self.written.load(Ordering::Relaxed)
        }
    }

    impl Format for Counting {
        fn key(&self) -> FormatKey {
            self.key
        }

        fn transport(&self) -> &'static str {
            "test"
        }

        fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
            self.written.fetch_add(1, Ordering::Relaxed);
            buffer.extend_from_slice(self.key.encoding.as_bytes());
            let begin = buffer.len();
            if self.has_data {
                buffer.extend_from_slice(event.data.as_bytes());
                return Some(begin..buffer.len());
            }
            buffer.extend_from_slice(event.data.len().to_string().as_bytes());
            // This is wrong if it is not within what was written, and must not be believed.
            (self.key.encoding == "wrong").then_some(begin..begin + 100)
        }

        fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

        fn heartbeat(&self) -> &'static [u8] {
            b""
        }

        fn join(&self, content: Content) -> Bytes {
            content.wrap(b"(", b")")
        }
    }

    fn event(data: &str) -> Arc<SharedEvent> {
        let id = EventId { position: Position::new(7), epoch: Epoch::new(42) };
        Arc::new(SharedEvent::new(Event::example(7, "name", data), id))
    }

    #[test]
    fn an_event_is_encoded_once_for_each_encoding_however_many_threads_need_it_at_once() {
        let formats =
            [("a", "1"), ("a", "2"), ("b", "1")].map(|(encoding, framing)| Counting::new(encoding, framing, true));
        let (event, barrier) = (event("\"x\""), Barrier::new(formats.len() * 4));
        std::thread::scope(|scope| {
            for format in formats.iter().cycle().take(formats.len() * 4) {
                let (event, barrier) = (&event, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let expected = format!("({}\"x\")", format.key.encoding);
                    assert_eq!(join(format, std::slice::from_ref(event)), expected);
                });
            }
        });
        assert_eq!([formats[0].written() + formats[1].written(), formats[2].written()], [1, 1]);
    }

    #[test]
    fn each_format_gets_the_data_and_it_is_not_kept_beside_an_encoding_that_contains_it() {
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
            let formats = [("a", true), ("wrong", false), ("c", true)]
                .map(|(encoding, has_data)| Counting::new(encoding, "", has_data));
            let event = event("\"grün\"");
            let mut is_contained = false;
            for format in order.map(|number| &formats[number]) {
                let data = if format.has_data { "\"grün\"" } else { "7" };
                assert_eq!(event.encoded(format), format!("{}{data}", format.key.encoding).as_bytes());
                is_contained |= format.has_data;
                assert_eq!(lock(&event.data).is_none(), is_contained);
            }
        }
    }

    #[test]
    fn an_event_and_the_counts_of_its_owners_take_no_more_than_the_allocator_gives_in_any_case() {
        // mimalloc has blocks of 160, 192 and 224 bytes.
        let counts = 2 * size_of::<usize>();
        assert_eq!((size_of::<SharedEvent>() + counts).next_multiple_of(32), 192);
    }

    #[test]
    fn what_is_not_ascii_counts_as_what_a_format_may_make_of_it() {
        let ascii = event("\"gruen\"").bytes();
        let around = AROUND_BYTES + "name".len() + "zoe".len();
        assert_eq!(ascii, around + 7);
        assert_eq!(event("\"grün\"").bytes(), around + 5 + 6);
        assert_eq!(event("\"😀\"").bytes(), around + 2 + 12);
    }

    #[test]
    fn what_was_published_over_mqtt_counts_with_each_of_many_empty_properties() {
        let bytes = |user_properties| {
            let mut published = Published::example();
            published.properties.user_properties = user_properties;
            let published = Some(Arc::new(published));
            SharedEvent::new(Event { published, ..Event::example(7, "name", "1") }, event("1").id).bytes()
        };
        let none = bytes(Vec::new());
        assert!(none > event("1").bytes() + size_of::<Published>());
        let pair = size_of::<(String, String)>();
        assert!(bytes(vec![Default::default(); 1000]) > none + 1000 * pair);
    }

    #[test]
    fn a_single_event_is_shared_with_a_format_that_adds_nothing_and_copied_by_others() {
        struct Bare(bool);
        impl Format for Bare {
            fn key(&self) -> FormatKey {
                FormatKey { encoding: "bare", framing: if self.0 { "shared" } else { "copied" } }
            }

            fn transport(&self) -> &'static str {
                "test"
            }

            fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
                buffer.extend_from_slice(event.data.as_bytes());
                Some(0..buffer.len())
            }

            fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

            fn heartbeat(&self) -> &'static [u8] {
                b""
            }

            fn join(&self, content: Content) -> Bytes {
                content.wrap(b"", b"")
            }

            fn alone(&self, event: &Bytes) -> Option<Bytes> {
                self.0.then(|| event.clone())
            }
        }
        let event = event("\"x\"");
        for is_shared in [true, false] {
            let joined = join(&Bare(is_shared), std::slice::from_ref(&event));
            assert_eq!(joined, "\"x\"");
            assert_eq!(joined.as_ptr() == event.encoded(&Bare(true)).as_ptr(), is_shared);
        }
        assert_eq!(join(&Bare(true), &[Arc::clone(&event), event]), "\"x\"\"x\"");
    }
}
