//! The flags of a CONNECT (MQTT 5.0, 3.1.2.3).

pub const RESERVED: u8 = 0b1;
pub const CLEAN_START: u8 = 0b10;
pub const WILL: u8 = 0b100;
pub const WILL_QOS: u8 = 0b1_1000;
pub const WILL_RETAIN: u8 = 0b10_0000;
pub const PASSWORD: u8 = 0b100_0000;
pub const USER_NAME: u8 = 0b1000_0000;
