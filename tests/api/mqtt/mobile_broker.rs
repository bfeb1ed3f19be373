//! Guards the clients of the mobile broker: its flow of contacts, its tokens by each algorithm, and its environment variables.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::super::support::mqtt::Connect;
use super::super::support::{Saying, TestServer, User, command};
use super::code;

const SECRET: &str = "0123456789abcdef-mobile";
const HANDLER_KEY: &str = "0123456789abcdef-handler";

/// A pair of keys of RSA, which openssl has made for the tests.
fn rsa_keys(directory: &std::path::Path) -> EncodingKey {
    let private = directory.join("rsa.pem");
    let openssl = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.pem"]);
    openssl(&["pkey", "-in", "rsa.pem", "-pubout", "-out", "rsa_public.pem"]);
    EncodingKey::from_rsa_pem(&std::fs::read(private).unwrap()).unwrap()
}

fn token(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    token(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

/// A server for the flow, and what the program must know of it.
async fn server_for_the_flow() -> (TestServer, User, Value) {
    let secret = format!("--mqtt_jwt_secret={SECRET}");
    let key = format!("--mqtt_handler_key={HANDLER_KEY}");
    let (server, alice) = super::server_with(&["--mqtt_any_path", "--mqtt_tenant=acme", &secret, &key]).await;
    let phones =
        json!({ "68946": by_secret(&json!({ "user_id": 68946 })), "23412": by_secret(&json!({ "user_id": 23412 })) });
    let known = json!({ "phones": phones, "key": HANDLER_KEY, "token": alice.jwt() });
    (server, alice, known)
}

/// Runs the flow with a client.
async fn the_flow_works(package: &str) {
    let (server, alice, known) = server_for_the_flow().await;
    // Without a path, mqtt.js asks for `/`.
    let websocket = format!("ws://{}", server.address());
    for url in [format!("mqtt://{}", server.mqtt()), format!("{websocket}/mqtt"), websocket] {
        let mut program = Saying::start("mobile-broker.mjs", &[package, &url, &server.url]);
        program.tell(&known.to_string());
        assert_eq!(program.next().await, "done", "{url}");
        // What the last run has left.
        alice.remove("68946_contact_list").await;
    }
}

#[tokio::test]
async fn contacts_are_requested_approved_and_listed_with_mqtt_js_5_and_broker_client_sees_them_live() {
    the_flow_works("mqtt").await;
}

#[tokio::test]
async fn contacts_are_requested_approved_and_listed_with_mqtt_js_2_and_broker_client_sees_them_live() {
    the_flow_works("mqtt2").await;
}

#[tokio::test]
async fn a_react_page_in_chromium_sees_the_request_of_a_contact_live() {
    let (server, _, known) = server_for_the_flow().await;
    let url = format!("mqtt://{}", server.mqtt());
    let mut program = Saying::start("mobile-broker.mjs", &["mqtt", &url, &server.url, "page"]);
    program.tell(&known.to_string());
    assert_eq!(program.next().await, "done");
}

/// What a device is told that connects with a token.
async fn told(server: &TestServer, token: &str) -> u8 {
    code(server, &Connect { level: 4, client_id: "x", login: Some(("JWT", token)), ..Connect::default() }).await
}

#[tokio::test]
async fn the_mobile_brokers_own_variables_give_the_secret() {
    for variables in [&["SECRET"][..], &["JWT_SECRET"], &["SECRET", "JWT_SECRET"]] {
        let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let started = TestServer::try_start(directory, move |directory| {
            let flags = ["--mqtt_port=0", "--mqtt_tenant=acme"].map(str::to_owned);
            let mut command = command(&flags, directory);
            for variable in variables {
                // The newer name of the two counts.
                let value =
                    if *variable == *variables.last().unwrap() { SECRET } else { "another secret that is older" };
                command.env(variable, value);
            }
            command
        });
        let server = started.await.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(told(&server, &by_secret(&json!({ "user_id": 1 }))).await, 0, "{variables:?}");
    }
}

#[tokio::test]
async fn tokens_by_rs256_are_taken_and_those_that_name_another_algorithm_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let key = rsa_keys(directory.path());
    let public = directory.path().join("rsa_public.pem");
    let flag = format!("--mqtt_jwt_key_file={}", public.display());
    let (server, _) = super::server_with(&["--mqtt_tenant=acme", &flag]).await;
    let claims = json!({ "user_id": 68946 });
    assert_eq!(told(&server, &token(Algorithm::RS256, &key, &claims)).await, 0);
    assert_eq!(told(&server, &token(Algorithm::RS512, &key, &claims)).await, 4);
    // The key is public: whoever signs with it as if it were a secret is nobody.
    let forged = token(Algorithm::HS256, &EncodingKey::from_secret(&std::fs::read(&public).unwrap()), &claims);
    assert_eq!(told(&server, &forged).await, 4);
    assert_eq!(told(&server, &by_secret(&claims)).await, 4);
}
