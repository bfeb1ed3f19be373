//! The route table.

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App as ActixApp, HttpRequest, HttpResponse, Resource, Route, http::header, web};

use actix_web_lab::middleware::CatchPanic;

use super::bodies::Bodies;
use super::{around, events, reply, session, sse, ticket, users};
use crate::app::App;
use crate::error::Error;

/// The application of one worker, with every route.
pub fn application(
    app: App,
    bodies: Bodies,
) -> ActixApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let base = app.base_path.clone();
    ActixApp::new()
        .app_data(app)
        .app_data(bodies)
        // Innermost, so that a panic in a handler becomes an answer like others.
        .wrap(CatchPanic::default())
        .wrap_fn(around::around)
        .configure(routes)
        // A proxy may strip the prefix or keep it.
        .configure(|config| match base.prefix() {
            "" => {}
            prefix => {
                config.service(web::scope(prefix).configure(routes));
            }
        })
        .default_service(web::to(|| async { reply::refusal(&Error::NotFound) }))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(get("/", web::get().to(alive), web::head().to(alive)))
        .service(get("/sse", web::get().to(sse::stream), web::head().to(sse::stream)))
        .service(post("/sse_ticket", web::post().to(ticket::issue)))
        .service(get("/verify", web::get().to(session::verify), web::head().to(session::verify)))
        .service(get("/events", web::get().to(events::latest), web::head().to(events::latest)))
        .service(get("/history", web::get().to(events::history), web::head().to(events::history)))
        .service(get("/presence", web::get().to(events::presence), web::head().to(events::presence)))
        .service(post("/insert", web::post().to(events::insert)))
        .service(post("/subscription", web::post().to(events::subscription)))
        .service(post("/remove", web::post().to(events::remove)))
        .service(post("/login", web::post().to(session::login)))
        .service(post("/password_reset", web::post().to(session::password_reset)))
        .service(post("/create_user", web::post().to(users::create_user)))
        .service(post("/update_user", web::post().to(users::update_user)))
        .service(post("/revoke_user", web::post().to(users::revoke_user)))
        .service(post("/unrevoke_user", web::post().to(users::unrevoke_user)))
        .service(post("/list_users", web::post().to(users::list_users)))
        .service(post("/get_user", web::post().to(users::get_user)))
        .service(post("/create_qr", web::post().to(users::create_qr)))
        .service(post("/create_totp", web::post().to(users::create_totp)));
}

fn get(path: &str, get: Route, head: Route) -> Resource {
    web::resource(path)
        .route(get)
        .route(head)
        .default_service(web::to(|_: HttpRequest| wrong_method("GET, HEAD, OPTIONS")))
}

fn post(path: &str, post: Route) -> Resource {
    web::resource(path).route(post).default_service(web::to(|_: HttpRequest| wrong_method("POST, OPTIONS")))
}

async fn wrong_method(allowed: &'static str) -> HttpResponse {
    let mut response = reply::refusal(&Error::MethodNotAllowed);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

/// `GET /`: the health check.
async fn alive() -> HttpResponse {
    reply::empty()
}
