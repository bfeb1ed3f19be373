//! What a client sends, for tests.

use super::frame::Opcode;

/// The parts of a frame that a client may write as it likes.
pub struct ClientFrame<'a> {
    pub opcode: u8,
    pub is_final: bool,
    pub is_compressed: bool,
    pub payload: &'a [u8],
}

impl<'a> ClientFrame<'a> {
    /// A whole message, or a control frame.
    pub fn whole(opcode: Opcode, payload: &'a [u8]) -> Self {
        Self { opcode: opcode as u8, is_final: true, is_compressed: false, payload }
    }

    /// The frame as bytes, masked.
    pub fn bytes(&self) -> Vec<u8> {
        let first = self.opcode | if self.is_final { 0x80 } else { 0 } | if self.is_compressed { 0x40 } else { 0 };
        let mut bytes = vec![first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        // Neither all alike nor zero.
        let mask = [0x5a, self.payload.len() as u8, 0xc3, 0x01];
        bytes.extend(mask);
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// A text as a client sends it.
pub fn text(text: &str) -> Vec<u8> {
    ClientFrame::whole(Opcode::Text, text.as_bytes()).bytes()
}

/// A control frame as a client sends it.
pub fn control(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    ClientFrame::whole(opcode, payload).bytes()
}

/// A message, compressed as a client does that keeps no context.
pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    let mut compressed = Vec::with_capacity(message.len() + 1024);
    compress.compress_vec(message, &mut compressed, flate2::FlushCompress::Sync).unwrap();
    assert!(compressed.ends_with(&[0, 0, 0xff, 0xff]));
    compressed.truncate(compressed.len() - 4);
    compressed
}
