//! From the JSON of a client to values. No error quotes what was sent, which may hold a password or a token.

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::Error;

/// Reads an object.
///
/// # Errors
/// [`Error::BodyInvalid`].
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    // serde would accept an array as the fields in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Error::BodyInvalid("it is not a JSON object".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| Error::BodyInvalid(explain(&error)))
}

/// Reads an object that has been taken apart already.
///
/// # Errors
/// [`Error::BodyInvalid`].
pub fn from_object<'a, T: Deserialize<'a>>(object: &'a Map<String, Value>) -> Result<T, Error> {
    T::deserialize(object).map_err(|error| Error::BodyInvalid(explain(&error)))
}

/// Reads an array of objects.
///
/// # Errors
/// [`Error::BodyInvalid`].
pub fn parse_all<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Vec<T>, Error> {
    let objects: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| Error::BodyInvalid(explain(&error)))?;
    objects.into_iter().map(|object| parse(object.get())).collect()
}

/// Describes a parse error without quoting the text.
fn explain(error: &serde_json::Error) -> String {
    let place = format!("at line {} column {}", error.line(), error.column());
    let words = error.to_string();
    match error.classify() {
        // Names only the field, which is a fixed name.
        Category::Data if words.starts_with("missing field") || words.starts_with("duplicate field") => {
            words.split(" at line").next().unwrap_or_default().to_owned()
        }
        // The text is not there any more.
        Category::Data if error.line() == 0 => "a value has the wrong type".to_owned(),
        Category::Data => format!("a value has the wrong type {place}"),
        Category::Eof => "the JSON ends too early".to_owned(),
        Category::Syntax | Category::Io => format!("it is not JSON {place}"),
    }
}
