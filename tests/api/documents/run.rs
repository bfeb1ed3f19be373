//! Runs a page from its first block to its last.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::{TestServer, bare_command, free_port};

use super::compare::{same, streamed};
use super::page::{Block, Kind, Page};
use super::root;
use super::shell::Shell;

/// Programs that must be run.
const PROGRAMS: &[&str] = &[".js", ".mjs", ".cjs", ".py", ".ts", ".tsx"];
/// The port at which every page finds its server.
const PORT: &str = "8080";

/// Runs a page against a server of its own, with the default flags and an empty database.
pub async fn page(path: &str) {
    if !root().join(path).exists() {
        panic!("there is no {path}");
    }
    let page = Page::read(root(), path);
    let server = start().await;
    let port = server.url.rsplit(':').next().unwrap();
    let failures = failures(&page, port);
    assert!(failures.is_empty(), "{path}: {} failures\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Runs a page in a directory of its own, and gives what fails in it.
fn failures(page: &Page, port: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let modules = root().join("tests/clients/node_modules");
    std::os::unix::fs::symlink(modules, directory.path().join("node_modules")).unwrap();
    let mut run = Run { page, ports: ports(page, port), directory: directory.path(), failures: Vec::new() };
    // A server that a page has started stays until its pages for the browser have been opened.
    let shell = run.blocks();
    run.programs_that_never_run();
    run.html();
    drop(shell);
    run.failures
}

async fn start() -> TestServer {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let started = TestServer::try_start(directory, |directory| {
        let mut command = bare_command(directory);
        // Any free port, and no time from the network.
        command.args(["--port=0", "--ntp_servers="]);
        command
    });
    started.await.unwrap_or_else(|log| panic!("the server did not start: {log}"))
}

struct Run<'a> {
    page: &'a Page,
    /// The ports of the page, and those that stand for them here, so that pages can run side by side.
    ports: Vec<(String, String)>,
    directory: &'a Path,
    failures: Vec<String>,
}

impl Run<'_> {
    fn fail(&mut self, line: usize, why: &str) {
        self.failures.push(format!("{}:{line}: {}", self.page.path, why.trim_end()));
    }

    fn blocks(&mut self) -> Shell {
        let mut shell = Shell::start(self.directory);
        for Block { line, text, kind } in &self.page.blocks {
            let back: Vec<_> = self.ports.iter().map(|(of_page, here)| (here.clone(), of_page.clone())).collect();
            let here = with_ports(text, &self.ports);
            let outcome = match kind {
                Kind::Run { shown } => {
                    let outcome = shell.run(&here);
                    let is_over = outcome.is_err();
                    let outcome = outcome.map(|got| with_ports(&got, &back)).and_then(|got| match shown {
                        Some(shown) if same(&shown.text, &got) => Ok(()),
                        Some(shown) => Err(format!(
                            "another answer than in line {}\nexpected:\n{}got:\n{got}",
                            shown.line, shown.text
                        )),
                        None if is_refusal(&got) => {
                            Err(format!("it was refused, which the page does not show\ngot:\n{got}"))
                        }
                        None => Ok(()),
                    });
                    if is_over {
                        self.fail(*line, &outcome.err().unwrap_or_default());
                        return shell;
                    }
                    outcome
                }
                Kind::Stream => shell.stream(&here),
                Kind::Server { stays } => {
                    let port = free_port().to_string();
                    let outcome = shell.server(&here, &port, *stays);
                    if *stays {
                        self.ports[0].1 = port;
                    }
                    outcome
                }
                Kind::Streamed => shell
                    .streamed(|got| streamed(&here, got))
                    .map_err(|got| format!("the stream did not give this\nexpected:\n{text}got:\n{got}")),
                Kind::File(name) => {
                    std::fs::write(self.directory.join(name), here).unwrap();
                    Ok(())
                }
                Kind::Fragment { language } if language.is_empty() => {
                    Err("a block without a language follows no sh block".to_owned())
                }
                Kind::Skipped | Kind::Fragment { .. } => Ok(()),
            };
            if let Err(why) = outcome {
                self.fail(*line, &why);
            }
        }
        shell
    }

    /// Every JavaScript or Python program must be run by a block, opened in a page or imported by one that is.
    fn programs_that_never_run(&mut self) {
        let files: Vec<(&str, &Block)> = self
            .page
            .blocks
            .iter()
            .filter_map(|block| match &block.kind {
                Kind::File(name) => Some((name.as_str(), block)),
                _ => None,
            })
            .collect();
        let ran = self.page.blocks.iter().filter(|block| matches!(block.kind, Kind::Run { .. } | Kind::Stream));
        let mut running: Vec<&str> = ran.map(|block| block.text.as_str()).collect();
        running.extend(
            files
                .iter()
                .filter(|(name, _)| name.ends_with(".html") || *name == "App.tsx")
                .map(|(_, block)| block.text.as_str()),
        );
        let mut reached = BTreeSet::new();
        while let Some(text) = running.pop() {
            for (name, block) in &files {
                // TypeScript is imported without its ending.
                if text.contains(stem(name)) && reached.insert(stem(name)) {
                    running.push(&block.text);
                }
            }
        }
        for (name, block) in files {
            if PROGRAMS.iter().any(|ending| name.ends_with(ending))
                && !reached.contains(stem(name))
                && name != "App.tsx"
            {
                self.fail(block.line, &format!("no block runs {name}"));
            }
        }
    }

    /// Opens every page for the browser in Chromium, React's `App.tsx` too, and uses it: no error may be reported.
    fn html(&mut self) {
        for block in &self.page.blocks {
            let Kind::File(name) = &block.kind else { continue };
            if !name.ends_with(".html") && name != "App.tsx" {
                continue;
            }
            let mut command = Command::new("node");
            command.arg(root().join("tests/clients/page.mjs")).arg(self.directory).arg(name);
            let output = command.output().expect("node starts: tests/run.sh says what the tests need");
            if !output.status.success() {
                self.fail(block.line, &format!("{name} in Chromium:\n{}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
}

/// The name by which other programs import this one.
fn stem(name: &str) -> &str {
    name.strip_suffix(".tsx").or_else(|| name.strip_suffix(".ts")).unwrap_or(name)
}

/// The ports that a page names, as `localhost:port` or in a setting, each with a free one. That of the server stands for [`PORT`].
fn ports(page: &Page, server: &str) -> Vec<(String, String)> {
    let named = page.blocks.iter().flat_map(|block| {
        let after = ["localhost:", "port=", "PORT="].map(|before| block.text.split(before).skip(1));
        after.into_iter().flatten().map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
    });
    let named: BTreeSet<_> = named.filter(|port| port.len() >= 4 && port != PORT).collect();
    let others = named.into_iter().map(|port| (port, free_port().to_string()));
    std::iter::once((PORT.to_owned(), server.to_owned())).chain(others).collect()
}

/// The text with other ports, where these numbers stand alone.
fn with_ports(text: &str, ports: &[(String, String)]) -> String {
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let replaced = words.map(|word| {
        let number = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let port = ports.iter().find(|(port, _)| port == number);
        port.map_or_else(|| word.to_owned(), |(_, port)| word.replace(number, port))
    });
    replaced.collect()
}

/// Whether an answer has a refusal in it.
fn is_refusal(got: &str) -> bool {
    got.contains("\"error\":") && got.contains("\"code\":")
}

#[test]
fn a_page_fails_where_it_is_wrong() {
    let wrong = [
        ("```sh\ntrue\nfalse\ntrue\n```", "line 2: false"),
        ("```sh\necho $(false | true)x; false | true\n```", "a command failed"),
        ("```sh\necho 1\n```\n```\n2\n```", "expected:\n2\ngot:\n1"),
        ("```sh\nX=1\n```\n```sh\necho $X\n```\n```json\n2\n```", "got:\n1"),
        ("```sh\necho '{\"error\": \"no\", \"code\": \"no\"}'\n```", "it was refused"),
        ("```sh\necho 1\n```\nThis:\n```\n1\n```", "follows no sh block"),
        ("```sh stream\necho 1; exit 7\n```", "it ended with 7"),
        ("```sh server\nbroker --nonsense\n```", "it ended with 2"),
        ("```js file=a.mjs\n1\n```", "no block runs a.mjs"),
        (
            "```js file=a.mjs\nimport './b.mjs';\n```\n```js file=b.mjs\n1\n```\n```sh\nnode b.mjs\n```",
            "no block runs a.mjs",
        ),
        ("```html file=a.html\n<script>throw new Error('of the page')</script>\n```", "uncaught: of the page"),
        ("```html file=a.html\n<script src=missing.js></script>\n```", "404"),
        ("```html file=a.html\n<input name=title>\n```", "Timeout"),
        ("```tsx file=App.tsx\nexport default () => { throw new Error('of the app'); };\n```", "of the app"),
        ("```ts file=a.ts\n1\n```", "no block runs a.ts"),
    ];
    for (text, expected) in wrong {
        let failures = failures(&Page::parse("page.md", text.to_owned()).ok().unwrap(), "65535");
        assert!(failures.len() == 1 && failures[0].contains(expected), "{text}:\n{failures:?}");
    }
}

#[test]
fn a_page_passes_where_it_is_right() {
    let right = "```sh\ncd .; X=1\n```\n```sh stream\necho $X; sleep 0.1; echo localhost:8080\n```\n```text stream\n1\n```\n\
        ```js file=a.mjs\nconsole.log('localhost:8080');\n```\n```sh\nnode a.mjs; cat a.mjs\n```\n\
        ```\nlocalhost:8080\n…\n```\n```text stream\nlocalhost:8080\n```\n```html file=a.html\n<p>right</p>\n```\n\
        ```sh server\nBROKER_PORT=9000 broker\n```\n```sh server\nbroker --port=9000\n```\n```sh server=stays\nbroker\n```\n\
        ```sh\ncurl -sf http://localhost:8080/ && echo there\n```\n```\nthere\n```\n";
    assert_eq!(failures(&Page::parse("page.md", right.to_owned()).ok().unwrap(), "65535"), Vec::<String>::new());
}
