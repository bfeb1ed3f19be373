//! Limits that apply to every connection, whatever version of HTTP it speaks.

use std::time::Duration;

use crate::error::Error;

/// Time limit for a request's head.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Maximum length of a request's head, in bytes.
pub const MAX_HEADER_BYTES: usize = 32 << 10;
/// Maximum number of headers: actix reads no more.
pub const MAX_HEADERS: usize = 96;
/// The refusal of a larger head.
pub const HEAD_TOO_LARGE: Error = Error::HeadTooLarge { bytes: MAX_HEADER_BYTES, headers: MAX_HEADERS };
/// How long an idle connection is kept.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a refused client may keep sending before it must have read the answer.
pub const LINGER: Duration = Duration::from_secs(1);
