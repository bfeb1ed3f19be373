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
        self.0.path().join(below)
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
        "./etc/broker/broker.toml",
        "./usr/share/man/man1/broker.1.gz",
        "./usr/share/bash-completion/completions/broker",
    ] {
        assert!(inside.contains(file), "{file} is missing: {inside}");
    }

    debian.does(&["dpkg", "-i", "/broker.deb"]);
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
    let list = json!({ "admin_token": secrets[0] });
    Client::new(&server.url).post("/list_users", &list).await.ok();
    server.stop().await;

    // An upgrade changes neither secrets nor what an operator has written.
    let written = debian.path("etc/broker/broker.toml");
    fs::write(&written, "max_names = 7\n").unwrap();
    debian.does(&["dpkg", "-i", "--force-confdef", "/broker.deb"]);
    assert_eq!(["admin_token", "jwt_secret"].map(|name| debian.secret(name)), secrets);
    assert_eq!(fs::read_to_string(&written).unwrap(), "max_names = 7\n");
    let checked = debian.does(&["broker", "check", "--config=/etc/broker/broker.toml"]);
    assert!(checked.starts_with("ok\n"), "{checked}");

    debian.does(&["dpkg", "-r", "broker"]);
    assert!(!debian.path("usr/bin/broker").exists());
    assert!(debian.path("var/lib/broker/db/committed").exists() && debian.path("etc/broker/admin_token").exists());
    debian.does(&["dpkg", "-P", "broker"]);
    assert!(!debian.path("var/lib/broker").exists() && !debian.path("etc/broker").exists());
    debian.does(&["id", "-u", "broker"]);
}
