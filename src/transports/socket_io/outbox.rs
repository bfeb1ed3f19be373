//! What a session has yet to give to its client.

use std::collections::VecDeque;

use bytes::Bytes;

use super::engine_packet::{SEPARATOR, write_binary};

/// How many packets a payload has at most: python-engineio ends a session in which it gets more.
const MAX_PACKETS: usize = 16;
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

    /// The form that it has in a payload.
    fn into_payload(self) -> Bytes {
        match self {
            Self::Text(packets) | Self::Chunk(packets) => packets,
            Self::Binary(bytes) => {
                let mut text = String::new();
                write_binary(&bytes, &mut text);
                text.into()
            }
        }
    }
}

/// Frames in order, first in, first out. A session that is quiet keeps no memory for them.
#[derive(Default)]
pub struct Outbox(Option<Box<Queue>>);

#[derive(Default)]
struct Queue {
    /// At least one.
    frames: VecDeque<Frame>,
    held: usize,
    has_chunk: bool,
}

impl Outbox {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How much memory it takes, in bytes.
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.held)
    }

    /// Whether there is a piece of an event stream.
    pub fn has_chunk(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.has_chunk)
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.counting(&frame).push_back(frame);
    }

    /// Puts a frame before all others.
    fn push_front(&mut self, frame: Frame) {
        self.counting(&frame).push_front(frame);
    }

    /// Drops what an event stream has written: its client has lost the right to it.
    pub fn drop_chunks(&mut self) {
        for frame in self.0.take().into_iter().flat_map(|queue| queue.frames) {
            if !matches!(frame, Frame::Chunk(_)) {
                self.push(frame);
            }
        }
    }

    /// The queue, with this frame counted.
    fn counting(&mut self, frame: &Frame) -> &mut VecDeque<Frame> {
        let queue = self.0.get_or_insert_default();
        queue.held += frame.cost();
        queue.has_chunk |= matches!(frame, Frame::Chunk(_));
        &mut queue.frames
    }

    /// Takes the first frame.
    pub fn pop(&mut self) -> Option<Frame> {
        let queue = self.0.as_mut()?;
        let frame = queue.frames.pop_front()?;
        queue.held -= frame.cost();
        queue.has_chunk &= !matches!(frame, Frame::Chunk(_));
        if queue.frames.is_empty() {
            self.0 = None;
        }
        Some(frame)
    }

    /// Takes the first frame, and the attachments that belong to it.
    pub fn pop_packet(&mut self) -> Option<(Frame, Vec<Frame>)> {
        let first = self.pop()?;
        let mut attachments = Vec::new();
        while self.0.as_ref().is_some_and(|queue| matches!(queue.frames.front(), Some(Frame::Binary(_)))) {
            attachments.extend(self.pop());
        }
        Some((first, attachments))
    }

    /// Takes the first packets as one payload of long polling.
    pub fn take_payload(&mut self) -> Bytes {
        let mut room = MAX_PACKETS;
        let first = self.pop_packets(&mut room).map(Frame::into_payload).unwrap_or_default();
        let Some(second) = self.pop_packets(&mut room) else {
            // The usual case, without a copy: what a group of readers gets at once is shared.
            return first;
        };
        let mut payload = Vec::from(first);
        let mut next = Some(second);
        while let Some(frame) = next {
            payload.push(SEPARATOR as u8);
            payload.extend_from_slice(&frame.into_payload());
            next = self.pop_packets(&mut room);
        }
        payload.into()
    }

    /// Takes the first frame, or as many packets of it as there is room for.
    fn pop_packets(&mut self, room: &mut usize) -> Option<Frame> {
        if *room == 0 {
            return None;
        }
        let mut frame = self.pop()?;
        let mut taken = 1;
        if let Frame::Chunk(packets) = &mut frame {
            let ends = memchr::memchr_iter(SEPARATOR as u8, packets).chain([packets.len()]).take(*room).enumerate();
            let (last, end) = ends.last().unwrap_or_default();
            taken += last;
            if end < packets.len() {
                let rest = packets.slice(end + 1..);
                packets.truncate(end);
                self.push_front(Frame::Chunk(rest));
            }
        }
        *room -= taken;
        Some(frame)
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
    fn a_payload_has_at_most_16_packets_and_the_next_one_has_the_rest() {
        let number = |number: usize| format!("4{number}");
        let numbers = |numbers: std::ops::Range<usize>| numbers.map(number).collect::<Vec<_>>().join("\x1e");
        for before in 0..20 {
            for chunk in [1, 15, 16, 17, 32, 50] {
                let mut outbox = Outbox::default();
                (0..before).for_each(|one| outbox.push(Frame::text(number(one))));
                outbox.push(Frame::Chunk(numbers(before..before + chunk).into()));
                let all = before + chunk + 1;
                outbox.push(Frame::text(number(all - 1)));
                for from in (0..all).step_by(16) {
                    assert_eq!(outbox.has_chunk(), from < before + chunk, "{before} {chunk}");
                    assert_eq!(outbox.take_payload(), numbers(from..all.min(from + 16)), "{before} {chunk}");
                }
                assert!(outbox.is_empty() && outbox.held() == 0);
            }
        }
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
