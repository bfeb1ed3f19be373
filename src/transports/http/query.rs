//! Query strings: the parameters that several endpoints take.

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::Error;

/// How many events a page may have.
const MAX_LIMIT: usize = 1000;

/// Reads the parameters of a request that takes `events` and `except`. Others are ignored, except those that these two are often
/// mistaken for: a client that asks for a few events must not be given all of them.
///
/// # Errors
/// [`Error::QueryInvalid`], [`Error::ParameterMeant`].
pub fn parameters<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Error> {
    let query = request.query_string();
    let parse = |_| Error::QueryInvalid;
    let Query(all) = Query::<Vec<(String, IgnoredAny)>>::from_query(query).map_err(parse)?;
    for (given, beginning, meant) in
        [("event", "event[", "events"), ("events[]", "events[", "events"), ("except[]", "except[", "except")]
    {
        if all.iter().any(|(name, _)| name == given || name.starts_with(beginning)) {
            return Err(Error::ParameterMeant { given, meant });
        }
    }
    Query::from_query(query).map(Query::into_inner).map_err(parse)
}

/// Checks how many items a page is to have.
///
/// # Errors
/// [`Error::QueryInvalid`].
pub fn check_limit(limit: Option<usize>) -> Result<(), Error> {
    if limit.is_none_or(|limit| (1..=MAX_LIMIT).contains(&limit)) { Ok(()) } else { Err(Error::QueryInvalid) }
}
