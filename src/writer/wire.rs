//! The one form of changes and of their answers as bytes, by which another process may decide a change.
//!
//! It is MessagePack, in which each field has its name: a field that is added with a default can be read by this version and by the one
//! before. Behind the version and the name of the change stands the change, and behind the version of an answer stands the answer.

use rmp_serde::decode::{Deserializer, ReadRefReader};
use rmp_serde::encode::Serializer;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::change::{Change, Reach};
use super::{Outcome, Writer};
use crate::error::Error;

/// The version of the form. One that is higher is read by no earlier Broker, so it is raised only for what a default cannot bridge.
pub const VERSION: u8 = 1;

/// An answer with a larger event is not sent through its bytes where that is only for tests.
const LARGE: usize = 64 << 10;

/// Another process may decide the change: it and its answer have a form as bytes.
#[derive(Debug)]
pub enum Anywhere {}

/// The change is decided by the process that it was made in, and has no form: it is about that process, such as a change that stops its
/// writer, or is found and decided by the same process, as all that maintenance does.
#[derive(Debug)]
pub enum Here {}

/// A change that has a form. `forms!` gives it one.
pub trait Named: Change + Serialize + DeserializeOwned {
    /// The name of the change in its form. It never becomes that of another change.
    const NAME: &'static str;
}

impl<C: Named> Reach<C> for Anywhere
where
    C::Outcome: Serialize + DeserializeOwned,
{
    fn sent(change: C) -> Result<C, Error> {
        let bytes = encode(&change)?;
        let (name, mut form) = named(&bytes)?;
        if name == C::NAME { read(&mut form) } else { Err(unreadable(&name)) }
    }

    fn answered(answer: Result<C::Outcome, Error>) -> Result<C::Outcome, Error> {
        match answer {
            // A fault is no answer: it is of the process that has it.
            Err(Error::Storage(_) | Error::Internal(_)) => answer,
            // A large event would be in memory three times for a moment, and tests measure how much that is.
            Err(Error::PreconditionFailed(Some(ref event))) if event.content_bytes() > LARGE => answer,
            answer => decode_answer(&encode_answer(&answer)?)?,
        }
    }
}

impl<C: Change> Reach<C> for Here {
    fn sent(change: C) -> Result<C, Error> {
        Ok(change)
    }

    fn answered(answer: Result<C::Outcome, Error>) -> Result<C::Outcome, Error> {
        answer
    }
}

/// Has a writer decide the change that is read, and gives the bytes of the answer.
type Post = for<'a> fn(&Writer, Bytes<'a>) -> Result<Outcome<Vec<u8>>, Error>;

/// The form of one kind of changes.
pub struct Form {
    /// The name of the change.
    pub name: &'static str,
    post: Post,
    /// What a change becomes that is read and written again.
    #[cfg(test)]
    pub again: fn(&[u8]) -> Result<Vec<u8>, Error>,
    /// The same of an answer.
    #[cfg(test)]
    pub again_answer: fn(&[u8]) -> Result<Vec<u8>, Error>,
}

impl Form {
    /// The form of these changes.
    pub const fn of<C: Named>() -> Self
    where
        C::Outcome: Serialize + DeserializeOwned,
    {
        Self {
            name: C::NAME,
            post: post::<C>,
            #[cfg(test)]
            again: |bytes| encode::<C>(&read(&mut named(bytes)?.1)?),
            #[cfg(test)]
            again_answer: |bytes| encode_answer::<C::Outcome>(&decode_answer(bytes)?),
        }
    }

    /// Has the writer decide a change that another process has sent. What is returned resolves with the bytes of the answer.
    ///
    /// # Errors
    /// [`Error::Internal`] if the change is none of these or cannot be read; those of [`Writer::post`].
    pub fn post(forms: &[&[Self]], writer: &Writer, change: &[u8]) -> Result<Outcome<Vec<u8>>, Error> {
        let (name, form) = named(change)?;
        let known = forms.iter().flat_map(|forms| forms.iter()).find(|known| known.name == name);
        (known.ok_or_else(|| unreadable(&name))?.post)(writer, form)
    }
}

fn post<C: Named>(writer: &Writer, mut form: Bytes<'_>) -> Result<Outcome<Vec<u8>>, Error>
where
    C::Outcome: Serialize + DeserializeOwned,
{
    let change = read::<C>(&mut form)?;
    at_its_end(&mut form)?;
    writer.post_then(change, |answer| match answer {
        Err(fault @ (Error::Storage(_) | Error::Internal(_))) => Err(fault),
        answer => encode_answer(&answer),
    })
}

/// Gives changes their names, and lists them.
macro_rules! forms {
    ($($name:literal => $change:path;)*) => {
        $(impl $crate::writer::Named for $change {
            const NAME: &'static str = $name;
        })*

        /// The changes of this room that another process may decide.
        pub const FORMS: &[$crate::writer::Form] = &[$($crate::writer::Form::of::<$change>()),*];
    };
}
pub(crate) use forms;

/// Bytes that are read, one value after the other.
type Bytes<'a> = Deserializer<ReadRefReader<'a, [u8]>>;

/// A change as bytes.
///
/// # Errors
/// [`Error::Internal`] if it cannot be written.
pub fn encode<C: Named>(change: &C) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    write(&mut bytes, &VERSION)?;
    write(&mut bytes, &C::NAME)?;
    write(&mut bytes, change)?;
    Ok(bytes)
}

/// The name of a change, and what stands behind it.
fn named(bytes: &[u8]) -> Result<(String, Bytes<'_>), Error> {
    let mut bytes = versioned(bytes)?;
    Ok((read(&mut bytes)?, bytes))
}

/// An answer as bytes.
///
/// # Errors
/// [`Error::Internal`] if it cannot be written.
pub fn encode_answer<T: Serialize>(answer: &Result<T, Error>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    write(&mut bytes, &VERSION)?;
    write(&mut bytes, answer)?;
    Ok(bytes)
}

/// What `encode_answer` wrote.
///
/// # Errors
/// [`Error::Internal`] if it cannot be read.
pub fn decode_answer<T: DeserializeOwned>(bytes: &[u8]) -> Result<Result<T, Error>, Error> {
    let mut bytes = versioned(bytes)?;
    let answer = read(&mut bytes)?;
    at_its_end(&mut bytes)?;
    Ok(answer)
}

/// Nothing may follow a form.
fn at_its_end(bytes: &mut Bytes<'_>) -> Result<(), Error> {
    match IgnoredAny::deserialize(bytes) {
        Err(_) => Ok(()),
        Ok(_) => Err(unreadable(&"something follows it")),
    }
}

fn write(bytes: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    let written = value.serialize(&mut Serializer::new(bytes).with_struct_map());
    written.map_err(|error| Error::Internal(format!("a change cannot be written: {error}")))
}

fn read<'a, T: Deserialize<'a>>(bytes: &mut Bytes<'a>) -> Result<T, Error> {
    // What the error says has the value in it, which may be secret.
    T::deserialize(bytes).map_err(|_| unreadable(&"it is of another form"))
}

fn versioned(bytes: &[u8]) -> Result<Bytes<'_>, Error> {
    let mut bytes = Deserializer::from_read_ref(bytes);
    match read(&mut bytes)? {
        VERSION => Ok(bytes),
        other => Err(unreadable(&format_args!("version {other}"))),
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::Internal(format!("a change cannot be read: {why}"))
}

#[cfg(test)]
mod tests;
