//! The form of refusals: `{"error": "<sentence>", "code": "<snake_case>"}`, with more for some of them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::log::RequestId;

/// A refusal, as every transport of our own tells it.
#[derive(Serialize)]
pub struct Refusal<'a> {
    error: std::borrow::Cow<'static, str>,
    code: &'static str,
    /// The scope that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    /// The event that is there instead of the one that was expected: `null` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Option<&'a RawValue>>,
}

impl<'a> Refusal<'a> {
    /// The refusal for an error.
    pub fn of(error: &'a Error) -> Self {
        let scope = if let Error::MissingScope(scope) = error { Some(scope.as_str()) } else { None };
        Self { error: error.sentence(), code: error.code(), scope, current: None }
    }

    /// The same, which says what is there instead.
    pub fn with_current(self, current: Option<&'a RawValue>) -> Self {
        Self { current: Some(current), ..self }
    }
}

/// The one place that logs server faults; the client gets no details.
pub fn log_fault(error: &Error) {
    if matches!(error, Error::Storage(_) | Error::Damaged(_) | Error::Internal(_)) {
        let request_id = RequestId::current();
        tracing::error!(%error, request_id = request_id.as_deref(), "a request failed");
    }
}
