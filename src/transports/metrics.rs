//! `/metrics`, on a port of its own: counts of the whole server, for Prometheus.
//!
//! It has a thread of its own, few connections, and a pace: whoever asks more often waits. So no flood of questions takes much from the
//! clients, and none holds the writer or reads the database.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource};
use socket2::SockRef;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::app::Services;
use crate::metrics::TextFormat;

/// How many connections there may be.
const CONNECTIONS: usize = 16;
/// How many may wait for these.
const BACKLOG: u32 = 16;
/// How long a client may take to ask, and how long it may stay without asking.
const QUIET_FOR: Duration = Duration::from_secs(10);
/// The time between two answers.
const PACE: Duration = Duration::from_millis(50);

/// What a scrape needs.
struct Scraping {
    services: Services,
    /// When the next answer may be made. Those that wait are served in order.
    next: Mutex<Instant>,
}

/// Serves the metrics of these services to everybody who connects. It does so once it is awaited.
///
/// # Errors
/// If the operating system does not allow it.
pub fn serve(listener: TcpListener, services: Services) -> std::io::Result<Server> {
    let scraping = Data::from(Arc::new(Scraping { services, next: Mutex::new(Instant::now()) }));
    let server = HttpServer::new(move || App::new().app_data(scraping.clone()).service(route()))
        .workers(1)
        .worker_max_blocking_threads(1)
        .max_connections(CONNECTIONS)
        .backlog(BACKLOG)
        .keep_alive(QUIET_FOR)
        .client_request_timeout(QUIET_FOR)
        .client_disconnect_timeout(QUIET_FOR)
        .shutdown_timeout(0)
        .disable_signals()
        // Whoever does not take an answer is gone by then, too.
        .on_connect(|connection, _| {
            if let Some(connection) = connection.downcast_ref::<TcpStream>() {
                let _ = SockRef::from(connection).set_tcp_user_timeout(Some(QUIET_FOR));
            }
        })
        .listen(listener)?;
    Ok(server.run())
}

fn route() -> Resource {
    web::resource("/metrics").route(web::get().to(scrape)).route(web::head().to(scrape))
}

/// `GET /metrics`: everything that is counted, in the format that the client prefers.
async fn scrape(scraping: Data<Scraping>, request: HttpRequest) -> HttpResponse {
    let mut next = scraping.next.lock().await;
    sleep_until(*next).await;
    *next = Instant::now() + PACE;
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = TextFormat::for_accept(accept.unwrap_or_default());
    let Scraping { services, .. } = &**scraping;
    match format.write(services.metrics(), services.readings()) {
        Ok(text) => HttpResponse::Ok().insert_header((header::CONTENT_TYPE, format.content_type())).body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
