//! The frames of a client.

use crate::error::Error;
use crate::transports::commands::{Body, Verb};

/// A frame of a client: what it asks for, the number by which the answer names it, and its fields.
pub struct Frame<'a> {
    pub verb: Verb,
    pub reference: u64,
    pub body: Body<'a>,
}

impl<'a> Frame<'a> {
    /// Reads a frame. If it is none, what could be read of its number is beside the error.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::CommandUnknown`].
    pub fn parse(text: &'a str) -> Result<Self, (Option<u64>, Error)> {
        let body = Body::parse(text).map_err(|error| (None, error))?;
        let missing = |field: &str| (body.reference, Error::BodyInvalid(format!("missing field `{field}`")));
        let reference = body.reference.ok_or_else(|| missing("ref"))?;
        let verb = body.verb.as_deref().ok_or_else(|| missing("do"))?;
        let verb = Verb::parse(verb).map_err(|error| (Some(reference), error))?;
        Ok(Self { verb, reference, body })
    }
}
