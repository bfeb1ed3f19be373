//! From bytes to messages and control frames (RFC 6455, sections 5 and 8.1).

use bytes::Bytes;

use super::close::Close;
use super::deflate::inflate;
use super::frame::{Header, MAX_HEADER, Opcode, unmask};
use super::message::Message;
use super::utf8::Utf8;
use super::violation::Violation;

/// What compression may add to what cannot be compressed: a part of the length, and this many bytes.
const DEFLATE_ADDS: usize = 64;

/// Makes messages and control frames of the bytes of a client, however they are cut. It does no I/O, and keeps nothing but what is
/// unfinished: at most twice what has come, and never more than a message may have.
///
/// `actix-http` has a parser too, but it takes whole frames only: each connection would need a buffer, it reserves memory for what a
/// client merely announces, and it would find late that a text is not UTF-8.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    /// In a box, since it is there only while something has come in part.
    begun: Option<Box<Begun>>,
}

/// What a client may send.
#[derive(Clone, Copy, Debug)]
struct Rules {
    max_message_bytes: usize,
    inflates: bool,
    /// Whether messages are passed over.
    skips: bool,
    /// Whether there are frames. Without, any bytes are a message.
    has_frames: bool,
}

/// What has come in part.
#[derive(Debug, Default)]
struct Begun {
    /// The beginning of a header.
    header: [u8; MAX_HEADER],
    header_length: u8,
    frame: Option<Frame>,
    message: Option<Unfinished>,
    /// The beginning of a control frame's payload.
    control: Vec<u8>,
}

/// A frame whose payload is coming.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    is_final: bool,
    /// How much of the payload is yet to come.
    left: u64,
    /// Turned so that it applies to what is next.
    mask: [u8; 4],
}

/// A message that is coming.
#[derive(Debug)]
struct Unfinished {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
    utf8: Utf8,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Message),
    /// A ping with this payload, of at most 125 bytes.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// A close frame, with a code if it has one.
    Close(Option<Close>),
}

impl Decoder {
    /// For messages of at most so many bytes, inflated. `inflates`: whether the client may send compressed messages.
    pub fn new(max_message_bytes: usize, inflates: bool) -> Self {
        Self { rules: Rules { max_message_bytes, inflates, skips: false, has_frames: true }, begun: None }
    }

    /// For bytes without frames.
    pub fn without_frames() -> Self {
        Self { rules: Rules { max_message_bytes: 0, inflates: false, skips: false, has_frames: false }, begun: None }
    }

    /// Changes how large a message may be, in bytes.
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.rules.max_message_bytes = bytes;
    }

    /// Passes over messages from now on, an unfinished one included: they are neither kept nor looked at nor inflated, however large
    /// they are. Control frames are items as before.
    ///
    /// Closes this fault: a client that nobody listened to any more sent small messages that inflate to large ones, and kept its thread
    /// busy for seconds.
    pub fn skip_messages(&mut self) {
        self.rules.skips = true;
        if let Some(begun) = &mut self.begun {
            begun.message = None;
        }
    }

    /// How much memory a message takes that has come in part, in bytes.
    pub fn held(&self) -> usize {
        let message = self.begun.as_ref().and_then(|begun| begun.message.as_ref());
        message.map_or(0, |message| message.bytes.capacity())
    }

    /// Takes bytes from the beginning of `input` until something is complete. Without an item, all of them were taken.
    ///
    /// # Errors
    /// [`Violation`]. Nothing more can be decoded then.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        if !self.rules.has_frames {
            let bytes = std::mem::take(input);
            return Ok((!self.rules.skips).then(|| Item::Message(Message::Binary(Bytes::copy_from_slice(bytes)))));
        }
        let mut begun = self.begun.take().map_or_else(Begun::default, |begun| *begun);
        let item = begun.decode(input, self.rules)?;
        if !begun.is_nothing() {
            self.begun = Some(Box::new(begun));
        }
        Ok(item)
    }
}

impl Begun {
    fn is_nothing(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn decode(&mut self, input: &mut &[u8], rules: Rules) -> Result<Option<Item>, Violation> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.take_header(input, rules)? {
                    Some(header) => self.begin(header, rules)?,
                    None => return Ok(None),
                },
            };
            let length = usize::try_from(frame.left).map_or(input.len(), |left| left.min(input.len()));
            let (piece, rest) = input.split_at(length);
            *input = rest;
            self.push(&mut frame, piece, rules);
            if frame.left > 0 {
                self.frame = Some(frame);
                self.check_text()?;
                return Ok(None);
            }
            if frame.opcode.is_control() {
                return self.finish_control(frame.opcode).map(Some);
            }
            if frame.is_final && !rules.skips {
                return self.finish_message(rules);
            }
            self.check_text()?;
        }
    }

    /// The next header, once it has come whole.
    fn take_header(&mut self, input: &mut &[u8], rules: Rules) -> Result<Option<Header>, Violation> {
        let kept = usize::from(self.header_length);
        if kept == 0 {
            // Nearly always.
            if let Some((header, length)) = Header::read(input, rules.inflates)? {
                *input = &input[length..];
                return Ok(Some(header));
            }
        }
        let more = input.len().min(MAX_HEADER - kept);
        self.header[kept..kept + more].copy_from_slice(&input[..more]);
        match Header::read(&self.header[..kept + more], rules.inflates)? {
            Some((header, length)) => {
                *input = &input[length - kept..];
                self.header_length = 0;
                Ok(Some(header))
            }
            None => {
                *input = &[];
                self.header_length += more as u8;
                Ok(None)
            }
        }
    }

    /// Begins a frame if it may stand here, and may be as long as it is.
    fn begin(&mut self, header: Header, rules: Rules) -> Result<Frame, Violation> {
        let Header { opcode, is_final, is_compressed, length, mask } = header;
        if !opcode.is_control() && !rules.skips {
            match (&self.message, opcode) {
                (None, Opcode::Continuation) => {
                    return Err(Violation::Protocol("a continuation of nothing"));
                }
                (Some(_), Opcode::Text | Opcode::Binary) => {
                    return Err(Violation::Protocol("a message within another"));
                }
                _ => {}
            }
            let (is_text, bytes, utf8) = (opcode == Opcode::Text, Vec::new(), Utf8::default());
            let new = Unfinished { is_text, is_compressed, bytes, utf8 };
            let message = self.message.get_or_insert(new);
            let most = most(rules.max_message_bytes, message.is_compressed);
            let fits = usize::try_from(length).is_ok_and(|length| length <= most.saturating_sub(message.bytes.len()));
            if !fits {
                return Err(Violation::TooLarge);
            }
        }
        Ok(Frame { opcode, is_final, left: length, mask })
    }

    /// Adds a piece of a frame's payload to what it belongs to.
    fn push(&mut self, frame: &mut Frame, piece: &[u8], rules: Rules) {
        frame.left -= piece.len() as u64;
        let (bytes, most) = match &mut self.message {
            _ if frame.opcode.is_control() => (&mut self.control, usize::MAX),
            Some(message) => (&mut message.bytes, most(rules.max_message_bytes, message.is_compressed)),
            None => return,
        };
        let before = bytes.len();
        let needed = before + piece.len();
        if needed > bytes.capacity() {
            // Doubled, to avoid moving it with each piece, also if each is a fragment of its own; but to no more than can come. What is
            // announced costs the client nothing.
            let most = if frame.is_final { needed.saturating_add(frame.left as usize) } else { most };
            bytes.reserve_exact((2 * bytes.capacity()).min(most).max(needed) - before);
        }
        bytes.extend_from_slice(piece);
        unmask(&mut bytes[before..], &mut frame.mask);
    }

    /// Looks at what has come of a text that is unfinished.
    fn check_text(&mut self) -> Result<(), Violation> {
        match &mut self.message {
            Some(Unfinished { is_text: true, is_compressed: false, bytes, utf8 }) => {
                utf8.grow(bytes).then_some(()).ok_or(Violation::NotUtf8)
            }
            _ => Ok(()),
        }
    }

    fn finish_control(&mut self, opcode: Opcode) -> Result<Item, Violation> {
        let payload = std::mem::take(&mut self.control);
        Ok(match opcode {
            Opcode::Close => Item::Close(Close::read(&payload)?),
            Opcode::Ping => Item::Ping(payload.into()),
            _ => Item::Pong(payload.into()),
        })
    }

    fn finish_message(&mut self, rules: Rules) -> Result<Option<Item>, Violation> {
        let Some(Unfinished { is_text, is_compressed, mut bytes, .. }) = self.message.take() else { return Ok(None) };
        if is_compressed {
            bytes = inflate(bytes, rules.max_message_bytes)?;
        }
        Ok(Some(Item::Message(if is_text {
            Message::Text(String::from_utf8(bytes).map_err(|_| Violation::NotUtf8)?)
        } else {
            Message::Binary(bytes.into())
        })))
    }
}

/// How many bytes of a message may come.
fn most(max_message_bytes: usize, is_compressed: bool) -> usize {
    let adds = if is_compressed { max_message_bytes / 512 + DEFLATE_ADDS } else { 0 };
    max_message_bytes.saturating_add(adds)
}

#[cfg(test)]
mod tests;
