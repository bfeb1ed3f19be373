//! Codes of close frames (RFC 6455, section 7.4.1, and IANA's registry). An application has those from 3000 to 4999.

/// All is done.
pub const NORMAL: u16 = 1000;
/// The server stops, or the page is left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL: u16 = 1002;
/// The peer sent a kind of message that is not taken.
pub const UNSUPPORTED: u16 = 1003;
/// A text is not UTF-8.
pub const NOT_UTF8: u16 = 1007;
/// A message breaks a rule of the application.
pub const POLICY: u16 = 1008;
/// A message is too large.
pub const TOO_LARGE: u16 = 1009;
/// A fault of the server.
pub const INTERNAL: u16 = 1011;
/// The server stops, to be started again: come back soon.
pub const RESTART: u16 = 1012;
/// The server has more to do than it can: come back later.
pub const TRY_AGAIN: u16 = 1013;
