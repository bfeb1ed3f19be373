//! The route table.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::{App as ActixApp, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, web};

use actix_web_lab::middleware::CatchPanic;

use super::bodies::Bodies;
use super::endpoint::{ELSEWHERE, Endpoint};
use super::sockets::{self, Sockets};
use super::{
    account, around, backup, broadcast, channels, events, health, import, mqtt, reply, session, sse, ticket,
    two_factor, users, ws,
};
use crate::app::App;
use crate::config::{Callers, Live};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::transports::tcp::Connections;

/// Adds the routes of an application, and what their handlers need.
pub type Routes = Rc<dyn Fn(&mut web::ServiceConfig)>;

/// Every route of Broker, for one worker.
pub fn routes(app: App, bodies: Bodies, sockets: Sockets, connections: Connections) -> Routes {
    let metrics = Rc::new(app.metrics().clone());
    Rc::new(move |config| {
        let table = |config: &mut web::ServiceConfig| table(Table { config, metrics: &metrics });
        config
            .app_data(Endpoint::new(&metrics, ELSEWHERE))
            .app_data(Arc::clone(&app.trusted_proxies))
            .app_data(app.clone())
            .app_data(bodies.clone())
            .app_data(sockets.clone())
            .app_data(connections.clone())
            .configure(table);
        // A proxy may strip the prefix or keep it.
        match app.base_path.prefix() {
            "" => {}
            prefix => {
                config.service(web::scope(prefix).configure(table));
            }
        }
        config.default_service(web::to(mqtt::elsewhere));
    })
}

/// An application with these routes, and with what is around every request.
pub fn application(
    routes: Routes,
    callers: Live<Callers>,
) -> ActixApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    ActixApp::new()
        .app_data(callers)
        // Innermost, so that a panic in a handler becomes an answer like others.
        .wrap(CatchPanic::default())
        .wrap_fn(around::around)
        .configure(|config| routes(config))
}

/// The routes that are added, and what counts them.
struct Table<'a> {
    config: &'a mut web::ServiceConfig,
    metrics: &'a Rc<Metrics>,
}

impl Table<'_> {
    fn service(self, (path, resource): (&str, Resource)) -> Self {
        self.config.service(resource.app_data(Endpoint::new(self.metrics, path)));
        self
    }
}

fn table(table: Table<'_>) {
    table
        .service(get("/", mqtt::root))
        .service(get("/health", health::is_there))
        .service(get("/healthz", health::works))
        .service(get("/readyz", health::is_ready))
        .service(post("/status", health::status))
        .service(get("/ws", ws::connect))
        .service(get("/mqtt", mqtt::connect))
        .service(post("/broadcast", broadcast::broadcast))
        .service(post("/channel/{name:.*}", channels::open))
        .service(post("/message/{name:.*}", channels::send))
        .service(any("/socket.io/", sockets::handle))
        .service(get("/sse", sse::stream))
        .service(post("/sse_ticket", ticket::issue))
        .service(get("/verify", session::verify))
        .service(get("/events", events::latest::list))
        .service(get("/history", events::history::list))
        .service(get("/presence", events::presence::list))
        .service(post("/insert", events::insert::insert))
        .service(post("/subscription", events::subscription::change))
        .service(post("/remove", events::insert::remove))
        .service(post("/login", session::login))
        .service(post("/sign_up", session::sign_up))
        .service(post("/refresh", session::refresh))
        .service(post("/logout", session::logout))
        .service(get("/sessions", session::sessions))
        .service(post("/end_session", session::end_session))
        .service(post("/two_factor_begin", two_factor::begin))
        .service(post("/two_factor_confirm", two_factor::confirm))
        .service(post("/two_factor_end", two_factor::end))
        .service(post("/password_reset", session::password_reset))
        .service(get("/me", account::show))
        .service(post("/update_me", account::update))
        .service(post("/change_password", account::change_password))
        .service(post("/delete_me", account::delete))
        .service(get("/export_me", account::export))
        .service(post("/backup", backup::backup))
        .service(post("/create_user", users::create_user))
        .service(post("/update_user", users::update_user))
        .service(post("/revoke_user", users::revoke_user))
        .service(post("/unrevoke_user", users::unrevoke_user))
        .service(post("/delete_user", users::delete_user))
        .service(post("/list_users", users::list_users))
        .service(post("/export", users::export))
        .service(post("/import", import::import))
        .service(post("/create_invite", users::create_invite))
        .service(post("/delete_invite", users::delete_invite))
        .service(post("/get_user", users::get_user))
        .service(post("/create_qr", users::create_qr))
        .service(post("/create_totp", users::create_totp));
}

fn get<H, A>(path: &str, handler: H) -> (&str, Resource)
where
    H: Handler<A, Output: Responder + 'static>,
    A: FromRequest + 'static,
{
    let resource = web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(|_: HttpRequest| wrong_method("GET, HEAD, OPTIONS")));
    (path, resource)
}

fn post<H, A>(path: &str, handler: H) -> (&str, Resource)
where
    H: Handler<A, Output: Responder + 'static>,
    A: FromRequest + 'static,
{
    let resource = web::resource(path)
        .route(web::post().to(handler))
        .default_service(web::to(|_: HttpRequest| wrong_method("POST, OPTIONS")));
    (path, resource)
}

/// A route that looks at the method itself.
fn any<H, A>(path: &str, handler: H) -> (&str, Resource)
where
    H: Handler<A, Output: Responder + 'static>,
    A: FromRequest + 'static,
{
    (path, web::resource(path).to(handler))
}

async fn wrong_method(allowed: &'static str) -> HttpResponse {
    let mut response = reply::refusal(&Error::MethodNotAllowed);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use actix_web::HttpServer;

    use super::*;
    use crate::config::Origins;

    /// The head and the body of the next answer on a connection.
    fn answer(connection: &mut TcpStream) -> (String, String) {
        let mut bytes = Vec::new();
        let (mut length, mut head) = (usize::MAX, String::new());
        while bytes.len() < length {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            bytes.extend(byte);
            if head.is_empty() && bytes.ends_with(b"\r\n\r\n") {
                head = String::from_utf8(std::mem::take(&mut bytes)).unwrap().to_ascii_lowercase();
                let after = head.split_once("content-length: ").unwrap().1;
                length = after.lines().next().unwrap().parse().unwrap();
            }
        }
        (head, String::from_utf8(bytes).unwrap())
    }

    fn ask(address: SocketAddr) {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for _ in 0..3 {
            connection.write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\norigin: https://a.example\r\n\r\n").unwrap();
            let (head, body) = answer(&mut connection);
            assert!(head.starts_with("http/1.1 500 "), "{head}");
            for line in ["access-control-allow-origin: *", "cache-control: no-store", "content-type: application/json"]
            {
                assert!(head.contains(line), "{head}");
            }
            assert_eq!(body, r#"{"error":"the server made a mistake","code":"internal"}"#);
            connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            assert_eq!(answer(&mut connection).1, "fine");
        }
    }

    #[test]
    fn a_handler_that_panics_is_an_answer_like_others_and_connection_and_worker_go_on() {
        async fn panics() -> &'static str {
            panic!("a handler panics")
        }
        actix_web::rt::System::new().block_on(async {
            let application = || {
                let routes: Routes = Rc::new(|config| {
                    config.route("/panic", web::get().to(panics)).route("/", web::get().to(|| async { "fine" }));
                });
                application(routes, Live::new(Callers { origins: Origins::Any, only_this_machine: false }))
            };
            let server = HttpServer::new(application).workers(1).bind("127.0.0.1:0").unwrap();
            let address = server.addrs()[0];
            let server = server.disable_signals().run();
            let handle = server.handle();
            let running = actix_web::rt::spawn(server);
            web::block(move || ask(address)).await.unwrap();
            handle.stop(false).await;
            running.await.unwrap().unwrap();
        });
    }
}
