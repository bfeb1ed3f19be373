//! Guards the module of the page on WebSocket: over whatever its connection is lost, it misses no event.

use std::process::Command;

use super::page::{Kind, Page};
use super::root;

#[test]
fn the_module_resumes_only_if_nothing_is_missing_and_stays_closed() {
    let page = Page::read(root(), "docs/websocket.md");
    let is_module = |kind: &Kind| matches!(kind, Kind::File(name) if name == "socket.mjs");
    let module = page.blocks.iter().find(|block| is_module(&block.kind)).expect("the page has the module");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("socket.mjs"), &module.text).unwrap();
    let program = root().join("tests/clients/websocket_module.mjs");
    let output = Command::new("node").arg(program).arg(directory.path()).output();
    let output = output.expect("node starts: tests/run.sh says what the tests need");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
