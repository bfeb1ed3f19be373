//! Guards clients that nobody here wrote: npm's `ws`, PyPI's `websockets`, and Autobahn's cases as kosoku drives them.

use std::path::Path;
use std::process::Command;

use super::EchoServer;
use super::echo::pages_of;

/// How many messages each of Autobahn's 216 cases of compression sends. The suite has 1,000, of up to 128 KiB.
const MESSAGES: &str = "20";

/// The page that clients claim not to be of.
const PAGE: &str = "https://page.example";

#[tokio::test]
async fn ws_of_npm_exchanges_messages_of_every_kind() {
    with_and_without_tls("node", "ws_echo.mjs").await;
}

#[tokio::test]
async fn websockets_of_pypi_exchanges_messages_of_every_kind() {
    with_and_without_tls("python", "websockets_echo.py").await;
}

#[tokio::test]
async fn every_case_of_autobahn_passes() {
    let server = EchoServer::start();
    let address = format!("ws://{}/cases", server.address);
    let said = run("python", "kosoku_cases.py", vec![address, MESSAGES.to_owned()]).await;
    assert!(said.ends_with("all 517 cases pass\n"), "{said}");
}

async fn with_and_without_tls(program: &'static str, script: &'static str) {
    for server in [EchoServer::start_for_pages_of(PAGE), EchoServer::start_with_tls(pages_of(PAGE))] {
        let (url, root) = server.url();
        run(program, script, [url].into_iter().chain(root).collect()).await;
    }
}

/// Runs a program of `tests/clients` to its end, which must be a good one. Returns what it said.
async fn run(program: &'static str, script: &'static str, arguments: Vec<String>) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = match program {
        "python" => Command::new(root.join("target/python/bin/python")),
        other => Command::new(other),
    };
    command.current_dir(root.join("tests/clients")).arg(script).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("tests/run.sh installs all that the tests need");
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{script} ended with {}: {said}\n{complained}", output.status);
    said
}
