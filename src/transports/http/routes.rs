//! The route table.

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::{App as ActixApp, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, web};

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
        .service(get("/", alive))
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
        .service(post("/password_reset", session::password_reset))
        .service(post("/create_user", users::create_user))
        .service(post("/update_user", users::update_user))
        .service(post("/revoke_user", users::revoke_user))
        .service(post("/unrevoke_user", users::unrevoke_user))
        .service(post("/list_users", users::list_users))
        .service(post("/get_user", users::get_user))
        .service(post("/create_qr", users::create_qr))
        .service(post("/create_totp", users::create_totp));
}

fn get<H, A>(path: &str, handler: H) -> Resource
where
    H: Handler<A, Output: Responder + 'static>,
    A: FromRequest + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(|_: HttpRequest| wrong_method("GET, HEAD, OPTIONS")))
}

fn post<H, A>(path: &str, handler: H) -> Resource
where
    H: Handler<A, Output: Responder + 'static>,
    A: FromRequest + 'static,
{
    web::resource(path)
        .route(web::post().to(handler))
        .default_service(web::to(|_: HttpRequest| wrong_method("POST, OPTIONS")))
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
