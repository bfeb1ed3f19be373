//! The reference for the inserts: the same web framework on one worker. It accepts the same bodies within the same
//! size limit, parses the same JSON, and answers. It does not authenticate the client and stores nothing.

use std::net::Ipv4Addr;

use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpResponse, HttpServer};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;

const MAX_BODY_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
struct Insert {
    event: String,
    data: Box<RawValue>,
}

async fn insert(body: Bytes) -> HttpResponse {
    match serde_json::from_slice::<Insert>(&body) {
        Ok(Insert { event, data }) if event.len() + data.get().len() <= MAX_BODY_BYTES => HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"id":"0000000000000000000000","timestamp":1700000000000}"#),
        _ => HttpResponse::BadRequest().finish(),
    }
}

/// Serves until it is killed.
pub fn serve(port: u16) -> Result<()> {
    let server = HttpServer::new(|| {
        App::new()
            .app_data(PayloadConfig::new(MAX_BODY_BYTES))
            .service(web::resource("/insert").route(web::post().to(insert)))
    });
    let server = server.workers(1).bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    actix_web::rt::System::new().block_on(server.run()).map_err(|error| error.to_string())
}
