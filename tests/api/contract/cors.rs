//! Guards CORS: which origins may call, and the headers they get.

use reqwest::Method;

use super::bodies;
use crate::support::{Answer, TestServer, until_throttled};

const HERE: &str = "https://app.example";
const THERE: &str = "http://localhost:3000";

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// Whether a page may send cookies, and read what they are answered with.
fn credentials(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-credentials")
}

/// Asks whether a page from an origin may post JSON.
async fn preflight(server: &TestServer, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,authorization"),
    ];
    server.client().request(Method::OPTIONS, path, &headers, None).await
}

#[tokio::test]
async fn every_origin_is_allowed_by_default() {
    let server = TestServer::start().await;
    for origin in [HERE, THERE, "null"] {
        let answer = server.client().request(Method::GET, "/", &[("origin", origin)], None).await.ok();
        assert_eq!(allowed(&answer), Some("*"), "{origin}");
        assert_eq!(credentials(&answer), None, "{origin}");
    }
}

#[tokio::test]
async fn an_origin_of_the_list_is_named_and_another_is_not() {
    let server = TestServer::start_with(&["--origin=https://app.example, http://localhost:3000"]).await;
    let of = async |origin: &str| server.client().request(Method::GET, "/", &[("origin", origin)], None).await.ok();
    for origin in [HERE, THERE] {
        let answer = of(origin).await;
        assert_eq!((allowed(&answer), credentials(&answer)), (Some(origin), Some("true")));
    }
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://evil.example/https://app.example",
        "https://app",
        "null",
        "*",
        "",
    ] {
        let answer = of(origin).await;
        assert_eq!((allowed(&answer), credentials(&answer)), (None, None), "{origin}");
    }
}

#[tokio::test]
async fn an_answer_that_depends_on_the_origin_says_so_to_caches() {
    let server = TestServer::start_with(&["--origin", HERE]).await;
    for origin in [HERE, "https://evil.example"] {
        let answer = server.client().request(Method::GET, "/", &[("origin", origin)], None).await.ok();
        assert!(answer.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")), "{answer:?}");
    }
}

#[tokio::test]
async fn a_preflight_is_200_and_lists_the_allowed_methods_and_headers() {
    for (flag, expected) in [("--origin=*", "*"), ("--origin=https://app.example", HERE)] {
        let server = TestServer::start_with(&[flag]).await;
        let paths = bodies().into_iter().map(|(path, _)| path).chain(["/", "/sse", "/verify", "/nothing"]);
        for path in paths {
            let answer = preflight(&server, path, HERE).await.ok();
            assert_eq!(allowed(&answer), Some(expected), "{path}");
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"), "{path}");
            assert_eq!(
                answer.header("access-control-allow-headers"),
                Some(
                    "authorization, content-type, last-event-id, idempotency-key, if-match, if-none-match, broker-stream"
                ),
                "{path}"
            );
            assert_eq!(answer.header("access-control-max-age"), Some("86400"), "{path}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
            assert_eq!(answer.body, "", "{path}");
        }
    }
}

#[tokio::test]
async fn a_page_may_send_all_other_headers_that_it_asks_for() {
    const FIXED: &str =
        "authorization, content-type, last-event-id, idempotency-key, if-match, if-none-match, broker-stream";
    for flag in ["--origin=*", "--origin=https://app.example"] {
        let server = TestServer::start_with(&[flag]).await;
        let ask = async |names: &str| {
            let headers = [
                ("origin", HERE),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", names),
                ("access-control-request-private-network", "true"),
            ];
            server.client().request(Method::OPTIONS, "/insert", &headers, None).await.ok()
        };
        let traced = ask("authorization,Baggage, sentry-trace,traceparent,x-requested-with").await;
        let expected = format!("{FIXED}, baggage, sentry-trace, traceparent, x-requested-with");
        assert_eq!(traced.header("access-control-allow-headers"), Some(expected.as_str()));
        assert_eq!(traced.header("access-control-allow-private-network"), Some("true"));
        let vary: Vec<_> = traced.headers.get_all("vary").iter().map(|vary| vary.to_str().unwrap()).collect();
        assert!(vary.join(",").contains("Access-Control-Request-Headers"), "{vary:?}");
        let odd = ask("x-a, a b, ,\"q\",é,x:y,*,x-a").await;
        assert_eq!(odd.header("access-control-allow-headers"), Some(format!("{FIXED}, x-a, *").as_str()));
        let many = (0..1000).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(",");
        let length = ask(&many).await.header("access-control-allow-headers").unwrap().len();
        assert!((4000..4300).contains(&length), "{length}");
        // So many are looked at, whatever they are: it is asked before anybody has signed in.
        for repeated in ["x-a,", "authorization,", ",", "a b,"] {
            let late = ask(&format!("x-b,{}x-late", repeated.repeat(1100))).await;
            let names = late.header("access-control-allow-headers").unwrap();
            assert!(names.contains("x-b") && !names.contains("x-late"), "{names}");
        }
    }
}

#[tokio::test]
async fn a_star_in_the_list_is_one_label_of_the_host() {
    let server = TestServer::start_with(&["--origin=https://*.app.example,http://localhost:3000"]).await;
    let of = async |origin: &str| server.client().request(Method::GET, "/", &[("origin", origin)], None).await.ok();
    for origin in ["https://a.app.example", "https://pr-17.app.example", THERE] {
        let answer = of(origin).await;
        assert_eq!((allowed(&answer), credentials(&answer)), (Some(origin), Some("true")));
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{answer:?}");
    }
    for origin in [
        HERE,
        "https://*.app.example",
        "https://.app.example",
        "https://a.b.app.example",
        "http://a.app.example",
        "https://a.app.example:444",
        "https://evil.example/.app.example",
    ] {
        let answer = of(origin).await;
        assert_eq!((allowed(&answer), credentials(&answer)), (None, None), "{origin}");
    }
}

#[tokio::test]
async fn a_preflight_from_elsewhere_allows_nothing() {
    let server = TestServer::start_with(&["--origin", HERE]).await;
    let headers = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-a"),
        ("access-control-request-private-network", "true"),
    ];
    let answer = server.client().request(Method::OPTIONS, "/insert", &headers, None).await;
    for name in ["origin", "methods", "headers", "credentials", "private-network"] {
        assert_eq!(answer.header(&format!("access-control-allow-{name}")), None, "{answer:?}");
    }
}

#[tokio::test]
async fn refusals_tell_which_origins_may_read_them_too() {
    let server = TestServer::start_with(&["--origin", HERE]).await;
    let client = server.client();
    let of =
        async |method, path, body: &[u8]| client.request(method, path, &[("origin", HERE)], Some(body.to_vec())).await;
    for (status, answer) in [
        (400, of(Method::POST, "/login", b"{").await),
        (401, of(Method::POST, "/login", br#"{"username":"nobody","password":"x"}"#).await),
        (401, of(Method::GET, "/verify", b"").await),
        (401, of(Method::GET, "/sse", b"").await),
        (404, of(Method::GET, "/nothing", b"").await),
        (405, of(Method::GET, "/insert", b"").await),
        (413, of(Method::POST, "/login", &vec![b' '; 1 << 20]).await),
    ] {
        assert_eq!((answer.status, allowed(&answer)), (status, Some(HERE)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_throttled_page_may_read_how_long_to_wait() {
    let server = TestServer::start().await;
    let body = br#"{"username":"nobody","password":"x"}"#;
    let guess =
        async || server.client().request(Method::POST, "/login", &[("origin", HERE)], Some(body.to_vec())).await;
    for _ in 0..20 {
        guess().await.refused(401, "unauthorized");
    }
    let refused = until_throttled(guess).await;
    assert_eq!(allowed(&refused), Some("*"));
    assert!(refused.header("access-control-expose-headers").is_some_and(|names| names.contains("retry-after")));
}

#[tokio::test]
async fn a_page_may_read_the_time_of_the_server_from_every_answer() {
    let server = TestServer::start().await;
    for (path, status) in [("/", 200), ("/nowhere", 404), ("/verify", 401)] {
        let answer = server.client().request(Method::GET, path, &[("origin", HERE)], None).await;
        assert_eq!(answer.status, status);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.split(", ").any(|name| name == "date"), "{exposed}");
        let date = answer.header("date").unwrap_or_else(|| panic!("no date: {path}"));
        assert!(date.ends_with(" GMT") && date.contains("20"), "{date}");
    }
}

#[tokio::test]
async fn a_stream_tells_which_origins_may_read_it() {
    for (flag, origin, credentials) in [("--origin=*", "*", None), ("--origin=https://app.example", HERE, Some("true"))]
    {
        let server = TestServer::start_with(&[flag]).await;
        let alice = server.user("alice", "acme").await;
        let request = alice.client.http.get(format!("{}/sse", server.url)).header("origin", HERE);
        let response = request.header("authorization", &alice.authorization).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        let told = response.headers().get("access-control-allow-credentials").map(|told| told.to_str().unwrap());
        assert_eq!(told, credentials);
    }
}
