//! Guards what `deploy/Containerfile` makes: as its last stage says, the program runs as nobody in a directory with nothing else in it.
//!
//! It is the program of the tests, with the libraries that it is linked to. `STATIC_BROKER` names one that `deploy/static.sh` has built, for a
//! release.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::ntp::NtpServer;
use crate::support::{ADMIN_TOKEN, Authority, Client, JWT_SECRET, TestServer, cannot_run, free_port, until};

/// What the Containerfile says of the image.
struct Image {
    user: u32,
    directory: String,
    variables: Vec<(String, String)>,
    program: String,
    health_check: Vec<String>,
}

impl Image {
    fn read() -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Containerfile")).unwrap();
        let (_, last) = text.rsplit_once("\nFROM scratch\n").unwrap();
        let said = |word: &str| {
            let line = last.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no {word}"));
            line.trim().to_owned()
        };
        let list = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap();
        let [program] = list(said("ENTRYPOINT ")).try_into().unwrap();
        let (user, group) =
            said("USER ").split_once(':').map(|(user, group)| (user.to_owned(), group.to_owned())).unwrap();
        assert_eq!(user, group);
        assert_eq!(said("STOPSIGNAL "), "SIGTERM");
        let variables = said("ENV ");
        let variables = variables.split(' ').map(|pair| pair.split_once('=').unwrap());
        Self {
            user: user.parse().unwrap(),
            directory: said("WORKDIR "),
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            program,
            health_check: list(said("HEALTHCHECK CMD ")),
        }
    }

    /// A directory with the program and an empty `/data`, and what builders and whoever runs it put there: the names of hosts, and secrets
    /// and a certificate that only its user can read.
    fn unpack(&self, authority: &Authority) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = |below: &str| root.path().join(below.trim_start_matches('/'));
        let private = |path: &Path| {
            chown(path, Some(self.user), Some(self.user)).unwrap();
            let mode = if path.is_dir() { 0o700 } else { 0o400 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = std::env::var_os("STATIC_BROKER").map_or(env!("CARGO_BIN_EXE_broker").into(), PathBuf::from);
        fs::copy(&program, path(&self.program)).unwrap();
        for library in libraries(&program) {
            fs::create_dir_all(path(&library).parent().unwrap()).unwrap();
            fs::copy(&library, path(&library)).unwrap();
        }
        fs::create_dir(path(&self.directory)).unwrap();
        private(&path(&self.directory));
        fs::create_dir_all(path("etc")).unwrap();
        fs::write(path("etc/hosts"), "127.0.0.1 localhost time.example\n").unwrap();
        let secrets = path("run/secrets");
        fs::create_dir_all(&secrets).unwrap();
        let (chain, key) = authority.issue(&secrets);
        for (name, secret) in [("admin_token", ADMIN_TOKEN), ("jwt_secret", JWT_SECRET)] {
            fs::write(secrets.join(name), secret).unwrap();
            private(&secrets.join(name));
        }
        private(&chain);
        private(&key);
        root
    }

    /// The program there, with the variables of the image and others, and nothing else of this machine.
    fn command(&self, root: &Path, others: &[(&str, String)]) -> Command {
        let mut command = Command::new("/usr/sbin/chroot");
        command.env_clear().envs(self.variables.clone()).envs(others.iter().cloned());
        command.arg(format!("--userspec={0}:{0}", self.user)).arg(root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// The libraries that a program is linked to, and the loader of them; none if it is static.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_around_it_the_program_serves_over_tls_knows_the_time_and_is_whole_after_a_kill() {
    if !rustix::process::geteuid().is_root() {
        return cannot_run("a directory as the root of a program takes root");
    }
    let (image, authority, time) = (Arc::new(Image::read()), Authority::new(), NtpServer::start(3600));
    let root = Arc::new(image.unpack(&authority));
    let port = free_port();
    let settings = [
        ("BROKER_SECURE", "true".to_owned()),
        ("BROKER_AUTO_CERT", "false".to_owned()),
        ("BROKER_CERT_PATH", "/run/secrets/chain.pem".to_owned()),
        ("BROKER_KEY_PATH", "/run/secrets/private_key.pem".to_owned()),
        ("BROKER_HTTPS_PORT", port.to_string()),
        ("BROKER_HOST", "127.0.0.1".to_owned()),
        ("BROKER_NTP_SERVERS", time.named("time.example")),
        ("BROKER_LOG_FORMAT", "json".to_owned()),
    ];
    let serving = (Arc::clone(&image), settings.clone());
    let server = TestServer::try_start(Arc::clone(&root), move |root| {
        let (image, settings) = &serving;
        let mut command = image.command(root, settings);
        let secrets = ["admin_token", "jwt_secret"].map(|name| format!("--{name}_file=/run/secrets/{name}"));
        command.arg(&image.program).args(secrets);
        command
    })
    .await;
    let mut server = server.unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), image.user);

    let client = || Client::trusting(&authority.root(), reqwest::Client::builder(), &server.url);
    client().create_user("alice", "acme").await.ok();
    let alice = client().sign_in("alice").await;
    let mut stream = alice.stream().await;
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    let clock = until("an answer of the server of the time", async || {
        let status = client().admin("/status", json!({})).await.ok().json();
        (status["clock"]["source"] == "ntp").then(|| status["clock"].clone())
    });
    assert_eq!(clock.await["server"], Value::from(time.named("time.example")));

    // As whoever runs it has it done, and by name.
    let by_name = ["--url", &format!("https://localhost:{port}"), "--ca=/run/secrets/chain.pem"].map(str::to_owned);
    for more in [&[][..], &by_name] {
        let output =
            image.command(root.path(), &settings).args(&image.health_check).args(more).stdout(Stdio::piped()).output();
        let output = output.unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"{\"status\":\"ok\"}"), "{more:?}: {output:?}");
    }

    server.kill();
    let mut server = server.restart().await;
    let alice = Client::trusting(&authority.root(), reqwest::Client::builder(), &server.url).sign_in("alice").await;
    assert_eq!(alice.latest("/events").await[0].id, id);
    server.stop().await;
}
