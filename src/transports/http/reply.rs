//! The forms of answers.

use actix_web::body::{self, MessageBody};
use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType, HeaderMap};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::Listing;
use crate::error::Error;
use crate::transports::refusal::{Refusal, log_fault};

/// The code of the error that an answer tells, for the metrics.
pub struct RefusedWith(pub &'static str);

/// The result of a handler.
pub type Reply = Result<HttpResponse, Error>;

/// An empty 200.
pub fn empty() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).finish()
}

/// The answer to HEAD: the headers of the JSON that GET would give, without a length, which only producing it would
/// tell (RFC 9110, section 8.6).
pub fn head_alone() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(body::None::new())
}

/// A 200 with this body.
pub fn json(value: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(body))
}

/// Lines of JSON (NDJSON).
const LINES: &str = "application/x-ndjson";

/// The answer to HEAD where GET would give lines of JSON.
pub fn head_of_lines() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, LINES)).body(body::None::new())
}

/// Done, with a list of lines.
pub fn lines(list: Listing) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, LINES));
    body_of(response, list)
}

/// Done, with files in one stream: tar (POSIX ustar).
pub fn tar(files: Listing) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "application/x-tar"));
    body_of(response, files)
}

/// Done, with a list.
pub fn listing(list: Listing) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(ContentType::json());
    body_of(response, list)
}

fn body_of(mut response: HttpResponseBuilder, list: Listing) -> HttpResponse {
    match list.rest {
        None => response.body(list.first),
        // After the first bytes no refusal can be made of an error any more, which would log it.
        Some(rest) => response.streaming(stream::iter([Ok(list.first)]).chain(rest.inspect_err(log_fault))),
    }
}

/// A refusal: `{"error": "<sentence>", "code": "<snake_case>"}`.
pub fn refusal(error: &Error) -> HttpResponse {
    refuse(error, &Refusal::of(error))
}

/// A refusal with the current event as `current`, or `null` if there is none.
pub fn refusal_with_current(error: &Error, current: Option<&RawValue>) -> HttpResponse {
    refuse(error, &Refusal::of(error).with_current(current))
}

/// A refusal as raw HTTP/1 bytes, with these headers in addition, after which the connection closes: for requests that
/// never reach the application.
pub fn bare_refusal(error: &Error, headers: &HeaderMap) -> Vec<u8> {
    let (response, body) = refusal(error).into_parts();
    // It is in memory as a whole.
    let body = body.try_into_bytes().unwrap_or_default();
    let (status, date, length) = (response.status(), header::HttpDate::from(SystemTime::now()), body.len());
    let mut answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\ndate: {date}\r\n").into_bytes();
    for (name, value) in response.headers().iter().chain(headers) {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend([b"\r\n", &body[..]].concat());
    answer
}

fn refuse(error: &Error, refusal: &Refusal<'_>) -> HttpResponse {
    let status = error.status_code();
    let mut response = HttpResponse::build(status);
    response.insert_header(ContentType::json());
    if let Some(seconds) = error.retry_after() {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, section 11.6.1. Not `Basic`, for which browsers open a dialogue of their own.
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
        response.insert_header((header::UPGRADE, "websocket"));
        response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
    }
    // Strings and events always serialize.
    let mut response = response.body(serde_json::to_vec(refusal).unwrap_or_default());
    response.extensions_mut().insert(RefusedWith(error.code()));
    response
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        log_fault(self);
        refusal(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_refusal_has_the_status_headers_and_body_of_any_other() {
        let errors = [
            Error::HeadTooLarge { bytes: 1024, headers: 1 },
            Error::Overloaded,
            Error::MissingScope("a:get".to_owned()),
        ];
        for error in errors {
            let (response, body) = refusal(&error).into_parts();
            let bare = String::from_utf8(bare_refusal(&error, &HeaderMap::new())).unwrap();
            let (head, bare_body) = bare.split_once("\r\n\r\n").unwrap();
            assert_eq!(bare_body.as_bytes(), body.try_into_bytes().unwrap());
            assert!(head.starts_with(&format!("HTTP/1.1 {}\r\n", response.status())), "{head}");
            for (name, value) in response.headers() {
                assert!(head.contains(&format!("\r\n{name}: {}", value.to_str().unwrap())), "{name}: {head}");
            }
        }
    }
}
