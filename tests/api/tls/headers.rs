//! Guards HSTS.

use h2::client::Builder;
use reqwest::Method;

use super::Secure;
use super::http2::{connect, get_from};
use crate::sse_ticket::ask;
use crate::support::within;

#[tokio::test]
async fn a_host_with_a_name_is_only_asked_over_https_from_then_on() {
    let secure = Secure::start().await;
    let client = secure.client_with(reqwest::Client::builder().http1_only());
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    const TOLD: Option<&str> = Some("max-age=31536000");
    for (host, expected) in [
        ("broker.example.com", TOLD),
        ("broker.example.com:443", TOLD),
        ("broker.example.com:8443", None),
        ("localhost", None),
        ("127.0.0.1", None),
    ] {
        let headers = [("host", host), ("authorization", alice.authorization.as_str())];
        for path in ["/", "/verify", "/nothing"] {
            let answer = client.request(Method::GET, path, &headers, None).await;
            assert_eq!(answer.header("strict-transport-security"), expected, "{host}{path}");
        }
        let stream = ask(&client, "/sse", &headers).await;
        let told = stream.headers().get("strict-transport-security").map(|told| told.to_str().unwrap().to_owned());
        assert_eq!((stream.status().as_u16(), told.as_deref()), (200, expected), "{host}/sse");
    }
    // HTTP/2 names the host otherwise.
    let mut connection = connect(&secure, &Builder::new()).await;
    for (host, expected) in [("broker.example.com", TOLD), ("broker.example.com:8443", None), ("localhost", None)] {
        let (answer, _) = connection.requests.send_request(get_from(host, "/", &[]), true).unwrap();
        let answer = within("an answer", answer).await.unwrap();
        let told = answer.headers().get("strict-transport-security").map(|told| told.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told), (200, expected), "{host}");
    }
}
