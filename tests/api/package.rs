//! Guards the Debian package: it is installed in a small Debian of its own, serves there, and goes without harm.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::json;

use crate::support::{Client, TestServer, cannot_run};

const SUITE: &str = "bookworm";

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program that must succeed. Returns what it says.
fn does(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// A Debian in a directory, which goes with it.
struct Debian(Arc<tempfile::TempDir>);

impl Debian {
    /// From a copy that is made once.
    fn new() -> Self {
        let kept = source().join(format!("target/debian-{SUITE}.tar"));
        let directory = tempfile::tempdir().unwrap();
        if !kept.exists() {
            let root = directory.path().join("made");
            does(Command::new("debootstrap").args(["--variant=minbase", "--include=adduser", SUITE]).arg(&root));
            let partial = kept.with_extension("partial");
            does(Command::new("tar").arg("-C").arg(&root).args(["-cf"]).arg(&partial).arg("."));
            fs::rename(partial, &kept).unwrap();
            fs::remove_dir_all(root).unwrap();
        }
        does(Command::new("tar").arg("-C").arg(directory.path()).arg("-xpf").arg(kept));
        // Else other users could not enter it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(Arc::new(directory))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below.trim_start_matches('/'))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.0.path()).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn does(&self, args: &[&str]) -> String {
        does(&mut self.command(args))
    }

    /// Owner and mode of a file.
    fn rights(&self, below: &str) -> (u32, u32) {
        let file = fs::metadata(self.path(below)).unwrap_or_else(|error| panic!("{below}: {error}"));
        (file.uid(), file.mode() & 0o777)
    }

    /// Has a `systemctl` there that only notes what it is asked to do, as if the Debian was run by systemd.
    fn note_systemctl(&self) {
        let program = self.path("usr/bin/systemctl");
        fs::write(&program, "#!/bin/sh\necho \"$*\" >>/systemctl.log\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(self.path("run/systemd/system")).unwrap();
    }

    /// What `systemctl` was asked to do with units since the last call, without what only tells it of new files.
    fn asked_of_systemctl(&self) -> Vec<String> {
        let noted = fs::read_to_string(self.path("systemctl.log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("systemctl.log"));
        let asks =
            |line: &&str| !["daemon-reload", "is-enabled", "is-active", "show"].iter().any(|word| line.contains(word));
        noted.lines().filter(asks).map(|line| line.replace("--quiet ", "").replace("--system ", "")).collect()
    }

    /// Makes a package of another one: of a later version, and with another configuration file.
    fn later(&self, package: &str) -> String {
        let (unpacked, later) = (self.path("later"), "/later.deb".to_owned());
        does(Command::new("dpkg-deb").arg("-R").arg(self.path(package)).arg(&unpacked));
        let change = |below: &str, from: &str, to: &str| {
            let text = fs::read_to_string(unpacked.join(below)).unwrap();
            assert!(text.contains(from), "{below}: {text}");
            fs::write(unpacked.join(below), text.replacen(from, to, 1)).unwrap();
        };
        change("DEBIAN/control", "Version: ", "Version: 9");
        change("etc/broker/broker.toml", "#", "# Of a later version.\n#");
        does(Command::new("dpkg-deb").args(["-Znone", "-b"]).arg(&unpacked).arg(self.path(&later)));
        later
    }

    fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("etc/broker/{name}"))).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_package_is_installed_serves_is_upgraded_and_keeps_data_until_it_is_purged() {
    if !rustix::process::geteuid().is_root() {
        return cannot_run("a Debian of its own takes root");
    }
    let debian = Debian::new();
    let package = debian.path("broker.deb");
    let mut making = Command::new(source().join("deploy/package.sh"));
    does(making.arg(env!("CARGO_BIN_EXE_broker")).arg(&package).arg("--fast"));
    let inside = does(Command::new("dpkg-deb").arg("-c").arg(&package));
    for file in [
        "./usr/bin/broker",
        "systemd/system/broker.service",
        "systemd/system/broker.socket",
        "./etc/broker/broker.toml",
        "./usr/share/man/man1/broker.1.gz",
        "./usr/share/bash-completion/completions/broker",
        "./usr/share/zsh/vendor-completions/_broker",
        "./usr/share/fish/vendor_completions.d/broker.fish",
    ] {
        assert!(inside.contains(file), "{file} is missing: {inside}");
    }

    debian.note_systemctl();
    debian.does(&["dpkg", "-i", "/broker.deb"]);
    assert_eq!(debian.asked_of_systemctl(), [""; 0], "whoever has configured it starts it");
    let user: u32 = debian.does(&["id", "-u", "broker"]).trim().parse().unwrap();
    let secrets = ["admin_token", "jwt_secret"].map(|name| debian.secret(name));
    assert!(secrets.iter().all(|secret| secret.len() == 64) && secrets[0] != secrets[1], "32 bytes each");
    for file in ["etc/broker/admin_token", "etc/broker/jwt_secret"] {
        assert_eq!(debian.rights(file), (0, 0o600), "{file}");
    }
    assert_eq!(debian.rights("etc/broker/broker.toml"), (0, 0o644));

    // As the unit does: the directory of the state, and copies of the secrets for the user.
    debian.does(&["install", "-d", "-o", "broker", "-g", "broker", "-m", "700", "/var/lib/broker", "/run/credentials"]);
    for name in ["admin_token", "jwt_secret"] {
        let (from, to) = (format!("/etc/broker/{name}"), format!("/run/credentials/{name}"));
        debian.does(&["install", "-o", "broker", "-m", "400", &from, &to]);
    }
    let server = TestServer::try_start(Arc::clone(&debian.0), |root| {
        let mut command = Command::new("chroot");
        command.arg("--userspec=broker:broker").arg(root);
        command.args(["/usr/bin/broker", "--config=/etc/broker/broker.toml", "--host=127.0.0.1", "--port=0"]);
        command.args(["--ntp_servers=", "--log_format=json", "--db=/var/lib/broker/db"]);
        command.args(["admin_token", "jwt_secret"].map(|name| format!("--{name}_file=/run/credentials/{name}")));
        crate::support::without_settings(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    });
    let mut server = server.await.unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), user);
    let alice = json!({ "admin_token": secrets[0], "username": "alice", "password": "quiet Osprey 71 lantern", "tenant_name": "acme" });
    Client::new(&server.url).post("/create_user", &alice).await.ok();
    server.stop().await;

    // An upgrade changes neither secrets nor what an operator has written.
    let written = debian.path("etc/broker/broker.toml");
    fs::write(&written, "max_names = 7\n").unwrap();
    // As apt does without somebody who answers: it keeps the file, and puts the new one beside it.
    debian.does(&["dpkg", "-i", "--force-confdef", &debian.later("broker.deb")]);
    assert!(debian.does(&["dpkg-query", "-W", "-f", "${Version}", "broker"]).starts_with('9'));
    // This starts nothing that does not run, and leaves the socket open: connections wait there meanwhile.
    assert_eq!(debian.asked_of_systemctl(), ["try-restart broker.service"]);
    assert!(debian.path("etc/broker/broker.toml.dpkg-dist").exists());
    assert_eq!(["admin_token", "jwt_secret"].map(|name| debian.secret(name)), secrets);
    assert_eq!(fs::read_to_string(&written).unwrap(), "max_names = 7\n");
    let checked = debian.does(&["broker", "check", "--config=/etc/broker/broker.toml"]);
    assert!(checked.starts_with("ok\n"), "{checked}");
    let mut server = server.restart().await;
    let list = json!({ "admin_token": secrets[0] });
    let users = Client::new(&server.url).post("/list_users", &list).await.ok().json();
    assert_eq!(users[0]["username"], "alice", "{users}");
    server.stop().await;

    debian.does(&["dpkg", "-r", "broker"]);
    let stopped = debian.asked_of_systemctl();
    assert_eq!(stopped, ["stop broker.service broker.socket"]);
    assert!(!debian.path("usr/bin/broker").exists());
    assert!(debian.path("var/lib/broker/db/committed").exists() && debian.path("etc/broker/admin_token").exists());
    let said = debian.does(&["dpkg", "-P", "broker"]);
    assert!(said.contains("deleting /var/lib/broker"), "{said}");
    assert!(!debian.path("var/lib/broker").exists() && !debian.path("etc/broker").exists());
    debian.does(&["id", "-u", "broker"]);
}
