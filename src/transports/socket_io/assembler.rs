//! Puts packets together: the text of one, and the binary attachments that follow it.

use bytes::Bytes;

use super::malformed::Malformed;
use super::packet::Packet;

/// What an attachment costs beside its bytes.
const ATTACHMENT_BYTES: usize = 64;

/// Packets of a session, of which one may be incomplete.
#[derive(Default)]
pub struct Assembler {
    // In a box, since most packets are complete at once.
    partial: Option<Box<Partial>>,
}

/// A packet with its attachments.
#[derive(Debug)]
pub struct Assembled {
    /// The packet, with placeholders for the attachments in its arguments.
    pub packet: Packet,
    /// The attachments, by the numbers in the placeholders.
    pub attachments: Vec<Bytes>,
}

impl Assembled {
    /// How much memory it takes at most, in bytes.
    pub fn cost(&self) -> usize {
        self.packet.cost() + self.attachments.iter().map(|bytes| bytes.len() + ATTACHMENT_BYTES).sum::<usize>()
    }
}

struct Partial {
    packet: Packet,
    attachments: Vec<Bytes>,
    held: usize,
    /// How many bytes text and attachments had so far.
    length: usize,
}

impl Assembler {
    /// How much memory it takes, in bytes.
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.held)
    }

    /// Takes the text of a packet. Returns the packet if nothing of it is to follow.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn text(&mut self, text: &str) -> Result<Option<Assembled>, Malformed> {
        if self.partial.is_some() {
            return Err(Malformed);
        }
        let packet = Packet::parse(text)?;
        if packet.attachments() == 0 {
            return Ok(Some(Assembled { packet, attachments: Vec::new() }));
        }
        let (attachments, held) = (Vec::with_capacity(packet.attachments()), packet.cost());
        self.partial = Some(Box::new(Partial { packet, attachments, held, length: text.len() }));
        Ok(None)
    }

    /// Takes an attachment. Returns the packet if it is complete by that. Text and attachments together have at most `max_bytes`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn binary(&mut self, bytes: Bytes, max_bytes: usize) -> Result<Option<Assembled>, Malformed> {
        let mut partial = self.partial.take().ok_or(Malformed)?;
        partial.length += bytes.len();
        partial.held += bytes.len() + ATTACHMENT_BYTES;
        if partial.length > max_bytes {
            return Err(Malformed);
        }
        partial.attachments.push(bytes);
        if partial.attachments.len() < partial.packet.attachments() {
            self.partial = Some(partial);
            return Ok(None);
        }
        let Partial { packet, attachments, .. } = *partial;
        Ok(Some(Assembled { packet, attachments }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;

    #[test]
    fn a_packet_is_complete_with_its_last_attachment() {
        let mut assembler = Assembler::default();
        let [one, two] = [&[1_u8, 2][..], &[3]].map(Bytes::copy_from_slice);
        for _ in 0..2 {
            assert!(assembler.text(TWO).unwrap().is_none());
            assert!(assembler.binary(one.clone(), 1000).unwrap().is_none());
            assert!(assembler.held() > TWO.len());
            let assembled = assembler.binary(two.clone(), 1000).unwrap().unwrap();
            assert_eq!(assembled.attachments, [one.clone(), two.clone()]);
            assert_eq!(assembler.held(), 0);
        }
        assert!(assembler.text(r#"2["a"]"#).unwrap().is_some());
        // Labelled as binary, and complete all the same.
        assert!(assembler.text(r#"50-["a"]"#).unwrap().is_some());
    }

    #[test]
    fn text_in_the_middle_of_a_packet_bytes_outside_of_one_and_too_many_bytes_are_malformed() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.binary(Bytes::new(), 1000).err(), Some(Malformed));
        assert!(assembler.text(TWO).unwrap().is_none());
        assert_eq!(assembler.text(r#"2["a"]"#).err(), Some(Malformed));

        let mut assembler = Assembler::default();
        assert!(assembler.text(TWO).unwrap().is_none());
        let most = TWO.len() + 10;
        assert!(assembler.binary(Bytes::from_static(&[0; 10]), most).unwrap().is_none());
        assert_eq!(assembler.binary(Bytes::from_static(&[0]), most).err(), Some(Malformed));
    }
}
