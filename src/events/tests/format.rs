//! Guards encoding: each event is encoded once for each format.

use super::*;
use crate::domain::EventId;

/// The format of these tests: an event is a line with its id, its name and its data. The core knows nothing of it.
pub(super) struct Lines;

impl Lines {
    pub const HEARTBEAT: char = '~';
}

impl Format for Lines {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "lines", framing: "none" }
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<usize> {
        buffer.extend_from_slice(format!("{} {} ", event.id, event.name).as_bytes());
        let at = buffer.len();
        buffer.extend_from_slice(event.data.as_bytes());
        buffer.push(b'\n');
        Some(at)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (name, data) = match control {
            ControlEvent::Synced => ("$synced".to_owned(), String::new()),
            ControlEvent::Reset(reason) => ("$reset".to_owned(), format!("{reason:?}")),
            ControlEvent::Presence { username, person } => {
                (format!("$presence/{username}"), person.is_some().to_string())
            }
            ControlEvent::Left { name } => ("$left".to_owned(), (*name).to_owned()),
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
