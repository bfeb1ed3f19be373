//! Guards flags and environment variables, and the secrets among them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use super::run;
use crate::support::{ADMIN_TOKEN, JWT_SECRET, TestServer, bare_command, claims, command};

fn with_flags(directory: &Path, flags: &[&str]) -> Command {
    let mut command = bare_command(directory);
    command.args(flags);
    command
}

#[tokio::test]
async fn an_unknown_flag_or_a_bad_value_is_status_2_with_a_message_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    for (flags, said) in [
        (&["--nonsense=1"][..], "--nonsense"),
        (&["stray"], "stray"),
        (&["--port=x"], "--port"),
        (&["--port=65536"], "--port"),
        (&["--port"], "--port"),
        (&["--https_port=-1"], "--https_port"),
        (&["--host=nowhere"], "--host"),
        (&["--jwt_expiry=0"], "--jwt_expiry"),
        (&["--jwt_expiry=1.5"], "--jwt_expiry"),
        (&["--totp_duration=0"], "--totp_duration"),
        (&["--journal_bytes=1"], "--journal_bytes"),
        (&["--secure=maybe"], "--secure"),
        (&["--auto_cert=2"], "--auto_cert"),
        (&["--password_checker=x"], "--password_checker"),
        (&["--password_min=0"], "--password_min"),
        (&["--password_min=65"], "--password_min"),
        (&["--origin=example.com"], "origin"),
        (&["--origin="], "origin"),
        (&["--base_path="], "--base_path"),
        (&["--base_path=api"], "--base_path"),
        (&["--base_path=/api"], "--base_path"),
        (&["--base_path=/a b/"], "--base_path"),
        (&["--base_path=/../"], "--base_path"),
        (&["--base_path=/a;b/"], "--base_path"),
        (&["--origin=https://example.com:443"], "origin"),
        (&["--origin=https://a b"], "origin"),
        (&["--origin=https://x?y"], "origin"),
        (&["--origin=https://u@h"], "origin"),
        (&["--origin=https://*.com"], "origin"),
        (&["--origin=https://a.*.example.com"], "origin"),
        (&["--origin=https://x.example,https://*example.com"], "origin"),
        (&["--trusted_proxies=proxy.example.com"], "trusted_proxies"),
        (&["--trusted_proxies=127.0.0.1,10.0.0.1/8"], "write 10.0.0.0/8"),
        (&["--trusted_proxies=0.0.0.0/0"], "trusted_proxies"),
        (&["--ntp_servers=ntp://time.example.com"], "ntp_servers"),
        (&["--ntp_servers=a,b c"], "ntp_servers"),
        (&["--db=db\r"], "db"),
        (&["--admin_token_file=token\r"], "admin_token_file"),
        (&["--jwt_secret=0123456789abcdef\r"], "jwt_secret ends with a line break"),
        (&["--log_format=xml"], "--log_format"),
        (&["--log=broker=loud"], "log"),
        (&["--db="], "--db"),
        (&["--port=1", "--port=2"], "--port"),
    ] {
        let outcome = run(with_flags(directory.path(), flags)).await;
        outcome.assert_refused(2, &[said]);
        assert_eq!(outcome.stdout, "", "{flags:?}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "a command line that is refused leaves nothing behind");
}

#[tokio::test]
async fn default_scopes_with_which_nobody_could_have_a_token_are_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let scopes: Vec<_> = (0..950).map(|number| format!("news/{number:010}:get")).collect();
    let flag = format!("--default_scopes={}", scopes.join(","));
    let outcome = run(with_flags(directory.path(), &[&flag])).await;
    outcome.assert_refused(2, &["default_scopes", "a token would be longer than"]);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_bad_value_from_the_environment_is_status_2_with_a_message_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in [("PORT", "x"), ("SECURE", "maybe"), ("JWT_EXPIRY", "0"), ("LOG_FORMAT", "xml")] {
        let mut command = bare_command(directory.path());
        command.env(format!("BROKER_{name}"), value);
        run(command).await.assert_refused(2, &[&name.to_lowercase()]);
    }
}

#[tokio::test]
async fn every_setting_comes_from_the_environment_too_and_a_flag_wins_over_it() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(Arc::clone(&directory), |directory| {
        let mut command = with_flags(directory, &["--db", "by flag", "--jwt_expiry", "77"]);
        for (name, value) in [
            ("PORT", "0"),
            ("HOST", "127.0.0.1"),
            ("DB", "by environment"),
            ("ADMIN_TOKEN", ADMIN_TOKEN),
            ("JWT_SECRET", JWT_SECRET),
            ("JWT_EXPIRY", "55"),
            ("PASSWORD_CHECKER", "true"),
            ("ORIGIN", "https://example.com"),
            ("NTP_SERVERS", ""),
            ("LOG", "debug"),
            ("LOG_FORMAT", "json"),
        ] {
            command.env(format!("BROKER_{name}"), value);
        }
        command
    });
    let server = server.await.unwrap();
    let client = server.client();
    assert!(directory.path().join("by flag/db").exists() && !directory.path().join("by environment").exists());
    let weak = json!({ "username": "a", "password": "password", "tenant_name": "t" });
    assert_eq!(client.admin("/create_user", weak).await.code(), "password_weak");
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let claims = claims(alice.jwt());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 77);
    let origin = [("origin", "https://example.com")];
    let answer = client.request(reqwest::Method::GET, "/", &origin, None).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://example.com"));
    // The same secret signs, wherever it comes from.
    let other = TestServer::try_start(directory, |directory| {
        let file = directory.join("secret");
        std::fs::write(&file, format!("{JWT_SECRET}\n")).unwrap();
        command(&[format!("--jwt_secret_file={}", file.display()), "--db=other".to_owned()], directory)
    });
    let other = other.await.unwrap();
    other.client().create_user("alice", "acme").await;
    let foreign = other.client().with_authorization(&alice.authorization).verify().await;
    assert_eq!(foreign.status, 401, "her generation is another one there");
}

#[tokio::test]
async fn with_default_secrets_it_serves_this_machine_alone_and_says_so() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server =
        TestServer::try_start(directory, |directory| with_flags(directory, &["--port=0", "--ntp_servers="])).await;
    let server = server.unwrap();
    let port = server.url.strip_prefix("http://127.0.0.1:").expect("it listens on loopback");
    // 127.0.0.2 is loopback as well, and not what was bound.
    assert!(std::net::TcpStream::connect(format!("127.0.0.2:{port}")).is_err());
    server.says("only this machine is served").await;
    assert!(server.log().contains("WARN"), "{}", server.log());
    let body = json!({ "username": "a", "password": "password1", "tenant_name": "t", "admin_token": "letmein" });
    server.client().post("/create_user", &body).await.ok();
}

#[tokio::test]
async fn default_or_short_secrets_are_refused_beyond_this_machine_with_the_flags_to_set() {
    let strong = "0123456789abcdef";
    let short = "0123456789abcde";
    let directory = tempfile::tempdir().unwrap();
    for beyond in ["--host=0.0.0.0", "--host=::", "--host=192.0.2.1", "--secure=true", "--secure"] {
        for (admin_token, jwt_secret, said, unsaid) in [
            ("letmein", "secret", &["admin_token", "jwt_secret", "--admin_token_file", "--jwt_secret_file"][..], ""),
            (strong, "secret", &["jwt_secret"], "admin_token"),
            ("letmein", strong, &["admin_token"], "jwt_secret"),
            (short, strong, &["admin_token", "16"], "jwt_secret"),
            (strong, short, &["jwt_secret", "16"], "admin_token"),
        ] {
            let secrets = [format!("--admin_token={admin_token}"), format!("--jwt_secret={jwt_secret}")];
            let mut command = with_flags(directory.path(), &[beyond, "--port=0", "--https_port=0", "--ntp_servers="]);
            command.args(&secrets);
            let outcome = run(command).await;
            outcome.assert_refused(2, said);
            assert!(unsaid.is_empty() || !outcome.stderr.contains(unsaid), "{beyond}: {outcome:?}");
            assert!(!outcome.stderr.contains(short), "{beyond}: {outcome:?}");
        }
    }
    // An empty one is none, here or there.
    for secret in ["admin_token", "jwt_secret"] {
        let outcome = run(with_flags(directory.path(), &["--port=0", &format!("--{secret}=")])).await;
        outcome.assert_refused(2, &[secret]);
    }
    // Strong ones pass; this one ends for want of a certificate.
    let secrets = [format!("--admin_token={strong}"), format!("--jwt_secret={strong}")];
    let mut command =
        with_flags(directory.path(), &["--secure", "--auto_cert=false", "--https_port=0", "--host=127.0.0.1"]);
    command.args(&secrets);
    run(command).await.assert_refused(1, &["certs/chain.pem"]);
}

#[tokio::test]
async fn a_secret_comes_from_a_file_but_not_from_two_places_nor_from_nowhere() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (token, empty) = (file("token", &format!("{ADMIN_TOKEN}\r\n")), file("empty", "\n"));
    let missing = directory.path().join("missing").display().to_string();
    for (flags, said) in [
        (["--admin_token=x", &format!("--admin_token_file={token}")], &["admin_token", "not both"][..]),
        (["--jwt_secret=x", &format!("--jwt_secret_file={token}")], &["jwt_secret", "not both"]),
        (["--port=0", &format!("--admin_token_file={missing}")], &["admin_token_file", &missing]),
        (["--port=0", &format!("--jwt_secret_file={empty}")], &["jwt_secret is empty"]),
    ] {
        run(with_flags(directory.path(), &flags)).await.assert_refused(2, said);
    }
    let server = TestServer::try_start(Arc::clone(&directory), move |directory| {
        command(&[format!("--admin_token_file={token}")], directory)
    });
    server.await.unwrap().client().create_user("alice", "acme").await;
}

/// A file that is no secret, and what is said of it.
const NO_SECRETS: [(&[u8], &str); 8] = [
    (b"\xef\xbb\xbf0123456789abcdef\n", "byte-order mark"),
    (b"\xff\xfe0\x001\x002\x003\x00", "UTF-16"),
    (b"\xfe\xff\x000\x001\x002\x003", "UTF-16"),
    (b"0\x001\x002\x003\x00", "cannot be seen"),
    (b"0123456789abcdef\x1b[0m", "cannot be seen"),
    (b"0123456789abcdef\xff", "not UTF-8"),
    (b" \r\n\r\n", "is empty"),
    (&[b'x'; 70_000], "larger than 64 KiB"),
];

#[tokio::test]
async fn a_secret_that_is_ambiguous_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    for (content, said) in NO_SECRETS {
        std::fs::write(&path, content).unwrap();
        for name in ["admin_token", "jwt_secret"] {
            let flag = format!("--{name}_file={}", path.display());
            run(with_flags(directory.path(), &[&flag])).await.assert_refused(2, &[name, said]);
        }
    }
    let flag = format!("--admin_token_file={}", directory.path().display());
    run(with_flags(directory.path(), &[&flag])).await.assert_refused(2, &["admin_token_file", "directory"]);
    for name in ["BROKER_ADMIN_TOKEN", "BROKER_JWT_SECRET"] {
        let mut command = bare_command(directory.path());
        command.env(name, "\u{feff}0123456789abcdef");
        run(command).await.assert_refused(2, &[&name[7..].to_lowercase(), "byte-order mark"]);
    }
}

#[tokio::test]
async fn a_certificate_that_no_authority_can_give_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = ["--admin_token=0123456789abcdef", "--jwt_secret=0123456789abcdef"];
    for (flag, said) in [
        ("--port=0", "set domain"),
        ("--domain=https://example.com", "domain"),
        ("--domain=example.com:443", "domain"),
        ("--domain=*.example.com", "domain"),
        ("--domain=192.0.2.1", "domain"),
        ("--acme_directory=http://127.0.0.1/dir", "acme_directory"),
        ("--acme_directory=127.0.0.1/dir", "acme_directory"),
        ("--acme_directory=https://", "acme_directory"),
    ] {
        let flags = [secrets[0], secrets[1], "--secure", "--https_port=0", flag];
        run(with_flags(directory.path(), &flags)).await.assert_refused(2, &[said]);
    }
}

/// Every flag of the table "HTTPS" of the page, with a value that is not its default.
fn flags_of_https() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split("\n## ").find(|section| section.starts_with("HTTPS\n")).unwrap();
    let names = table.lines().filter_map(|line| line.strip_prefix("| `--")?.split('`').next());
    let flags = names.map(|name| {
        let value = match name {
            "secure" => "true",
            "auto_cert" => "false",
            "https_port" => "1",
            "domain" => "example.com",
            "acme_directory" => "https://acme.example.com/",
            "certs" | "cert_path" | "key_path" | "acme_ca" => "elsewhere",
            new => panic!("give {new} a value, and an effect in config.rs"),
        };
        (name.to_owned(), format!("--{name}={value}"))
    });
    flags.collect()
}

#[tokio::test]
async fn every_flag_of_https_that_does_nothing_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let all = flags_of_https();
    let without = |out: &[&str]| -> Vec<_> {
        all.iter().filter(|(name, _)| !out.contains(&name.as_str())).map(|(_, flag)| flag.as_str()).collect()
    };
    for (given, idle) in [
        (without(&["secure"]), "https_port auto_cert certs domain acme_directory acme_ca cert_path key_path"),
        (without(&[]), "port certs domain acme_directory acme_ca"),
        (without(&["auto_cert"]), "port cert_path key_path"),
        (vec![], ""),
    ] {
        // It ends because it cannot make the database.
        let mut command = with_flags(directory.path(), &["--host=127.0.0.1", "--db=/dev/null/db", "--port=1"]);
        command.args(["--admin_token=0123456789abcdef", "--jwt_secret=0123456789abcdef"]).args(&given);
        let outcome = run(command).await;
        outcome.assert_refused(1, &["/dev/null/db"]);
        let told = outcome.stderr.split("flags=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let [told, idle]: [BTreeSet<_>; 2] =
            [told.split(", ").filter(|name| !name.is_empty()).collect(), idle.split_whitespace().collect()];
        assert_eq!(told, idle, "{given:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn help_and_refusals_never_show_a_secret_of_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [&["--help"][..], &["-h"], &["--version"], &["--nonsense"], &["--port=x"], &["--host=0.0.0.0"]] {
        let mut command = with_flags(directory.path(), flags);
        command.env("BROKER_ADMIN_TOKEN", "hush-hush-1").env("BROKER_JWT_SECRET", "hush-hush-2");
        let outcome = run(command).await;
        assert!(!outcome.stdout.contains("hush") && !outcome.stderr.contains("hush"), "{flags:?}: {outcome:?}");
    }
    let help = run(with_flags(directory.path(), &["--help"])).await;
    assert_eq!(help.status, Some(0));
    for default in ["8080", "443", "86400", "300", "certs/private_key.pem", "certs/chain.pem", "localhost"] {
        assert!(help.stdout.contains(&format!("[default: {default}]")), "{default}");
    }
    // Every flag of the contract, by its name.
    for flag in [
        "port",
        "origin",
        "jwt_expiry",
        "jwt_secret",
        "secure",
        "auto_cert",
        "key_path",
        "cert_path",
        "certs",
        "db",
        "domain",
        "admin_token",
        "password_min",
        "password_checker",
        "totp_duration",
        "journal_bytes",
        "ntp_servers",
        "accept_clock_step",
        "acme_directory",
        "acme_ca",
        "https_port",
        "host",
        "log_format",
        "admin_token_file",
        "jwt_secret_file",
        "jwt_audience",
    ] {
        assert!(help.stdout.contains(&format!("--{flag} ")) || help.stdout.contains(&format!("--{flag}[")), "{flag}");
        assert!(help.stdout.contains(&format!("BROKER_{}", flag.to_uppercase())), "{flag}");
    }
}
