//! All changes that another process may decide.

use super::backups::BeginCourse;
use super::import::Step;
use crate::error::Error;
use crate::events;
use crate::identity;
use crate::writer::{self, Form, Outcome, Writer};

writer::forms! {
    "import_step" => Step;
    "lineage_begin" => BeginCourse;
}

/// The forms of all changes.
pub const ALL: &[&[Form]] = &[FORMS, events::FORMS, identity::FORMS];

/// Has the writer decide a change that another process has sent. What is returned resolves with the bytes of the answer.
///
/// # Errors
/// [`Error::Internal`] if the change is none of these or cannot be read; those of [`Writer::post`].
pub fn post(writer: &Writer, change: &[u8]) -> Result<Outcome<Vec<u8>>, Error> {
    Form::post(ALL, writer, change)
}

#[cfg(test)]
mod tests;
