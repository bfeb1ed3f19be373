//! Guards a disk that fails: the server ends with status 1 and says why, so that it is started anew.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use super::run;
use crate::support::{TestServer, command};

/// A user that has no processes.
const OF_NOBODY: u32 = 61_234;

/// Has every sync fail, as on a failing disk, once there is a file `fail` in the directory. To be loaded before the system's library.
const FAILING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
static int fails(void) {
    if (access(getenv("FAIL_SYNC_IF"), F_OK) != 0) return 0;
    errno = EIO;
    return 1;
}
int fsync(int fd) { return fails() ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails() ? -1 : syscall(SYS_fdatasync, fd); }
int sync_file_range(int fd, off64_t from, off64_t bytes, unsigned flags) {
    return fails() ? -1 : syscall(SYS_sync_file_range, fd, from, bytes, flags);
}
"#;

/// A server on a disk whose syncs fail as soon as [`fail`] says so.
async fn on_a_failing_disk() -> TestServer {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (source, library) = (directory.path().join("failing.c"), directory.path().join("failing.so"));
    std::fs::write(&source, FAILING_SYNC).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(compiled.success());
    let server = TestServer::try_start(directory, move |directory: &Path| {
        let mut command = command(&[], directory);
        command.env("LD_PRELOAD", &library).env("FAIL_SYNC_IF", directory.join("fail"));
        command
    });
    server.await.unwrap()
}

fn fail(server: &TestServer) {
    std::fs::write(server.directory().join("fail"), "").unwrap();
}

/// Its last line, without the panic of the database's library, which is told as what it is.
async fn ends_with_a_reason(mut server: TestServer, why: &str) {
    assert_eq!(server.ended().await.code(), Some(1));
    server.says("error: ").await;
    let log = server.log();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains(why), "{log}");
    server.may_have_panicked();
}

/// The same command line for a server whose user may have so many threads and processes. If only root may choose a user
/// that has none, all processes of this user count, and the server may start no thread.
fn with_threads(threads: usize, server: &Command, directory: &Path) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nproc={threads}")).arg(server.get_program()).args(server.get_args()).current_dir(directory);
    if rustix::process::geteuid().is_root() {
        limited.uid(OF_NOBODY);
    }
    limited
}

#[tokio::test]
async fn a_lack_of_threads_at_the_start_is_status_1_with_a_reason_and_no_panic_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    for threads in 1..=3 {
        let outcome = run(with_threads(threads, &command(&[], directory.path()), directory.path())).await;
        assert_eq!(outcome.status, Some(1), "{threads}: {outcome:?}");
        assert!(
            outcome.stderr.contains("error: ") && !outcome.stderr.contains("panicked at"),
            "{threads}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_server_with_status_1_and_the_reason() {
    let server = on_a_failing_disk().await;
    let alice = server.user("alice", "acme").await;
    fail(&server);
    alice.try_insert("news", json!(1)).await.refused(500, "storage_failed");
    ends_with_a_reason(server, "Input/output error").await;
}

#[tokio::test]
async fn a_file_that_may_not_grow_ends_the_server_with_status_1_and_the_reason() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let process = format!("--pid={}", server.pid());
    assert!(Command::new("prlimit").args([&process, "--fsize=65536"]).status().unwrap().success());
    let mut answers = 0;
    loop {
        let answer = alice.try_insert("news", json!("x".repeat(20_000))).await;
        if answer.status != 200 {
            answer.refused(500, "storage_failed");
            break;
        }
        answers += 1;
        assert!(answers < 10, "there is no limit");
    }
    ends_with_a_reason(server, "File too large").await;
}

#[tokio::test]
async fn a_disk_that_fails_when_the_database_is_closed_is_status_1_too() {
    let server = on_a_failing_disk().await;
    server.client().create_user("alice", "acme").await;
    fail(&server);
    server.signal("TERM");
    ends_with_a_reason(server, "it cannot be closed").await;
}
