//! Guards the configuration file of a server that starts, and `broker check`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reqwest::Method;

use super::run;
use crate::support::{ADMIN_TOKEN, JWT_SECRET, TestServer, bare_command, claims};

/// What every file here begins with.
pub fn basis() -> String {
    format!(
        "host = '127.0.0.1'\nport = 0\nntp_servers = []\nadmin_token = '{ADMIN_TOKEN}'\njwt_secret = '{JWT_SECRET}'\nlog = 'debug'\n\
         log_format = 'json'\n"
    )
}

/// A server by a file of this text.
pub async fn start_by(text: &str, recipe: impl Fn(&mut Command) + Send + Sync + 'static) -> TestServer {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    write(directory.path(), text);
    let started = TestServer::try_start(directory, move |directory| {
        let mut command = bare_command(directory);
        recipe(&mut command);
        command
    });
    started.await.unwrap_or_else(|log| panic!("the server did not start: {log}"))
}

/// Writes the file of a server in this directory, readable by its owner alone.
pub fn write(directory: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("broker.toml");
    fs::write(&path, basis() + text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A command with its flags, in this directory.
async fn broker(directory: &Path, args: &[&str]) -> super::Outcome {
    let mut command = bare_command(directory);
    command.args(args);
    run(command).await
}

#[tokio::test]
async fn a_variable_takes_precedence_over_the_file_and_a_flag_over_both() {
    let text = "db = 'by file'\njwt_expiry = 55\norigin = ['https://file.example', 'https://other.example']\npassword_min = 9\n";
    let server = start_by(text, |command| {
        let args = ["--jwt_expiry=77"];
        command
            .args(args)
            .env("BROKER_CONFIG", "broker.toml")
            .env("BROKER_JWT_EXPIRY", "66")
            .env("BROKER_DB", "by variable");
    });
    let server = server.await;
    let database = |name: &str| server.directory().join(name).join("db").exists();
    assert!(database("by variable") && !database("by file") && !database("db"));
    let alice = server.user("alice", "acme").await;
    let claims = claims(alice.jwt());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 77);
    let origin = [("origin", "https://other.example")];
    let answer = server.client().request(Method::GET, "/", &origin, None).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://other.example"));
}

#[tokio::test]
async fn a_mistake_in_the_file_ends_the_start_and_the_check_with_status_2_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "max_name = 5\n");
    for args in [&["--config=broker.toml"][..], &["check", "--config", "broker.toml"]] {
        let outcome = broker(directory.path(), args).await;
        outcome.assert_refused(2, &["broker.toml, line 8: max_name: there is no flag of this name"]);
        assert!(!outcome.stderr.contains(ADMIN_TOKEN) && outcome.stdout.is_empty(), "{outcome:?}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
}

#[tokio::test]
async fn the_check_says_what_would_be_served_without_secrets_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "");
    let outcome = broker(directory.path(), &["check", "--config=broker.toml", "--port=8123"]).await;
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    assert_eq!(outcome.stdout, "ok\naddress: http://127.0.0.1:8123\ndatabase: db\n");
    let by_acme = ["check", "--config=broker.toml", "--secure", "--domain=app.example.com"];
    let outcome = broker(directory.path(), &by_acme).await;
    assert!(outcome.stdout.contains("certificate: for app.example.com, by https://"), "{outcome:?}");
    assert!(!outcome.stdout.contains(ADMIN_TOKEN), "{outcome:?}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    // With the secrets that everybody knows.
    let outcome = broker(directory.path(), &["check"]).await;
    assert!(outcome.stdout.contains("only this machine is served"), "{outcome:?}");
}

#[tokio::test]
async fn the_check_finds_what_only_a_start_would_find() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), "").unwrap();
    let [one, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    fs::write(path("chain.pem"), one.cert.pem()).unwrap();
    fs::write(path("key.pem"), one.key_pair.serialize_pem()).unwrap();
    fs::write(path("other.pem"), other.key_pair.serialize_pem()).unwrap();
    let files = ["--secure", "--auto_cert=false", "--cert_path=chain.pem"];
    for (flags, said) in [
        (&["--db=file"][..], &["db file: file: it is no directory"][..]),
        (&["--db=file/db"], &["it is no directory"]),
        (&["--archive=db/sets"], &["archive and db must be directories apart from each other"]),
        (&["--archive=file/sets"], &["archive file/sets: file: it is no directory"]),
        (&["--archive=x/../db/sets"], &["archive and db must be"]),
        (&["--archive=./sets", "--db=sets/../sets/db"], &["archive and db must be"]),
        (&["--log=broker=loud"], &["log \"broker=loud\""]),
        (&["--log=broker=loud", "--db=file"], &["log \"broker=loud\"", "db file"]),
        (&["--mqtt_port=0", "--mqtt_tenant=a", "--mqtt_jwt_key_file=file"], &["mqtt_jwt_key_file"]),
        (&[&files[..], &["--key_path=none.pem"]].concat(), &["none.pem"]),
        (&[&files[..], &["--key_path=other.pem"]].concat(), &["cannot use the certificate"]),
        (&["--secure", "--domain=a.example.com", "--acme_ca=file"], &["there is no certificate in it"]),
    ] {
        let outcome = broker(directory.path(), &[&["check", "--config=broker.toml"], flags].concat()).await;
        outcome.assert_refused(2, said);
    }
    let outcome =
        broker(directory.path(), &[&["check", "--config=broker.toml", "--key_path=key.pem"], &files[..]].concat())
            .await;
    assert_eq!(
        outcome.stdout, "ok\naddress: https://127.0.0.1:443\ncertificate: chain.pem\ndatabase: db\n",
        "{outcome:?}"
    );
}
