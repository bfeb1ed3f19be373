//! What a session has yet to give to its client.

use std::collections::VecDeque;

use bytes::Bytes;

use super::engine_packet::{SEPARATOR, write_binary};

/// What a frame costs beside its bytes.
const FRAME_BYTES: usize = 64;

/// Something for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One packet, in its text form. It is UTF-8.
    Text(Bytes),
    /// One packet that is nothing but bytes.
    Binary(Bytes),
    /// A piece of an event stream: packets in their text form, with separators between them.
    Chunk(Bytes),
}

impl Frame {
    /// A packet in its text form.
    pub fn text(packet: impl Into<String>) -> Self {
        Self::Text(packet.into().into())
    }

    fn bytes(&self) -> &Bytes {
        let (Self::Text(bytes) | Self::Binary(bytes) | Self::Chunk(bytes)) = self;
        bytes
    }

    fn cost(&self) -> usize {
        self.bytes().len() + FRAME_BYTES
    }
}

/// Frames in order, first in, first out.
#[derive(Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    held: usize,
    has_chunk: bool,
}

impl Outbox {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether there is a piece of an event stream.
    pub fn has_chunk(&self) -> bool {
        self.has_chunk
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.held += frame.cost();
        self.has_chunk |= matches!(frame, Frame::Chunk(_));
        self.frames.push_back(frame);
    }

    /// Takes the first frame.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.held -= frame.cost();
        self.has_chunk &= !matches!(frame, Frame::Chunk(_));
        if self.frames.is_empty() {
            // A session that is quiet again keeps no memory.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// Takes everything as one payload of long polling.
    pub fn take_payload(&mut self) -> Bytes {
        let frames = std::mem::take(self).frames;
        // The usual case, without a copy: what a group of readers gets at once is shared.
        if let [Frame::Text(bytes) | Frame::Chunk(bytes)] = frames.as_slices().0
            && frames.len() == 1
        {
            return bytes.clone();
        }
        let mut payload = Vec::with_capacity(frames.iter().map(Frame::cost).sum());
        for frame in frames {
            if !payload.is_empty() {
                payload.push(SEPARATOR as u8);
            }
            match frame {
                Frame::Text(bytes) | Frame::Chunk(bytes) => payload.extend_from_slice(&bytes),
                Frame::Binary(bytes) => {
                    let mut text = String::new();
                    write_binary(&bytes, &mut text);
                    payload.extend_from_slice(text.as_bytes());
                }
            }
        }
        payload.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_joins_packets_and_a_single_one_is_not_copied() {
        let mut outbox = Outbox::default();
        let chunk = Bytes::from_static(b"42[\"a\"]\x1e42[\"b\"]");
        outbox.push(Frame::Chunk(chunk.clone()));
        assert!(outbox.has_chunk() && outbox.held() > chunk.len());
        assert_eq!(outbox.take_payload().as_ptr(), chunk.as_ptr());
        assert_eq!((outbox.held(), outbox.has_chunk(), outbox.is_empty()), (0, false, true));

        outbox.push(Frame::text("2"));
        outbox.push(Frame::Binary(Bytes::from_static(&[1, 2, 3, 4])));
        outbox.push(Frame::Chunk(chunk));
        assert_eq!(outbox.take_payload(), "2\x1ebAQIDBA==\x1e42[\"a\"]\x1e42[\"b\"]");
    }

    #[test]
    fn frames_come_out_in_order_and_count_until_then() {
        let mut outbox = Outbox::default();
        let frames = [Frame::text("43[]"), Frame::Chunk(Bytes::from_static(b"2")), Frame::text("2")];
        frames.iter().for_each(|frame| outbox.push(frame.clone()));
        for frame in &frames {
            assert!(outbox.held() > 0);
            assert_eq!(outbox.pop().as_ref(), Some(frame));
        }
        assert_eq!((outbox.pop(), outbox.held(), outbox.has_chunk()), (None, 0, false));
    }
}
