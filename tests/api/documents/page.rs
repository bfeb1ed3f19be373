//! Reads the code blocks of a page, and what each of them is for.

use std::path::Path;

/// Why a block may be left out: it cannot run in a test, or would do harm.
const REASONS: &[&str] = &[
    "builds-the-program",
    "runs-the-tests",
    "needs-root",
    "needs-systemd",
    "needs-a-domain",
    "needs-mkcert",
    "needs-npm-registry",
    "upgrades",
    "needs-a-firebase-project",
    "needs-a-pocketbase",
];

pub struct Page {
    pub path: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

/// A code block with the line of its first line, counted from 1.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub line: usize,
    pub text: String,
    pub kind: Kind,
}

#[derive(Debug, PartialEq)]
pub enum Kind {
    /// `sh`: run, and its output compared with the block that follows at once, if there is one.
    Run { shown: Option<Shown> },
    /// `sh stream`: runs until the end of the page.
    Stream,
    /// `sh server`: starts a server that must come to listen, at a port and with a database of its own. With `sh server=stays` it
    /// takes the place of the one that the page has had.
    Server { stays: bool },
    /// `text stream`: what the last stream has given since the block of this kind before.
    Streamed,
    /// `sh skip=…`: not run.
    Skipped,
    /// `file=…`: saved.
    File(String),
    /// Something to read.
    Fragment { language: String },
}

/// The output that a page shows.
#[derive(Debug, PartialEq)]
pub struct Shown {
    pub line: usize,
    pub text: String,
}

/// A block as it stands in the page.
struct Fence {
    line: usize,
    /// Whether only blank lines are between it and the block before.
    follows: bool,
    info: String,
    text: String,
}

impl Page {
    pub fn read(root: &Path, path: &str) -> Self {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::parse(path, text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
    }

    /// # Errors
    /// Blocks that are not written as the tests need them.
    pub fn parse(path: &str, text: String) -> Result<Self, Vec<String>> {
        let (mut blocks, mut errors): (Vec<Block>, _) = (Vec::new(), Vec::new());
        for fence in fences(&text) {
            let previous = if fence.follows { blocks.last_mut().map(|block| &mut block.kind) } else { None };
            let (language, words) = fence.info.split_once(' ').unwrap_or((&fence.info, ""));
            match (language, words, previous) {
                ("" | "json", "", Some(Kind::Run { shown: shown @ None })) => {
                    *shown = Some(Shown { line: fence.line, text: fence.text });
                    continue;
                }
                // The answer of a command that is not run is only read.
                ("" | "json", "", Some(Kind::Skipped)) => continue,
                _ => {}
            }
            match kind(language, words) {
                Ok(kind) => blocks.push(Block { line: fence.line, text: fence.text, kind }),
                Err(why) => errors.push(format!("{path}:{}: {why}: ```{}", fence.line - 1, fence.info)),
            }
        }
        if errors.is_empty() { Ok(Self { path: path.to_owned(), text, blocks }) } else { Err(errors) }
    }
}

fn kind(language: &str, words: &str) -> Result<Kind, String> {
    Ok(match (language, words.split_once('=').unwrap_or((words, ""))) {
        ("sh", ("", "")) => Kind::Run { shown: None },
        ("sh", ("stream", "")) => Kind::Stream,
        ("sh", ("server", "")) => Kind::Server { stays: false },
        ("sh", ("server", "stays")) => Kind::Server { stays: true },
        ("sh", ("skip", reason)) if REASONS.contains(&reason) => Kind::Skipped,
        ("sh", ("skip", reason)) => return Err(format!("{reason:?} is no reason to leave a block out")),
        ("text", ("stream", "")) => Kind::Streamed,
        ("sh", _) => return Err("an unknown word after sh".to_owned()),
        ("bash" | "shell" | "console" | "zsh", _) => return Err("write sh".to_owned()),
        (_, ("file", name)) if !name.is_empty() && !name.contains(['/', ' ']) => Kind::File(name.to_owned()),
        (_, ("", "")) => Kind::Fragment { language: language.to_owned() },
        _ => return Err("an unknown word".to_owned()),
    })
}

fn fences(text: &str) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut follows = false;
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let bare = line.trim_start();
        let ticks = bare.bytes().take_while(|byte| *byte == b'`').count();
        if ticks < 3 {
            follows &= bare.is_empty();
            continue;
        }
        let (indent, info) = (line.len() - bare.len(), bare[ticks..].trim().to_owned());
        let mut block = String::new();
        for (line, _) in lines.by_ref() {
            let bare = line.trim();
            if bare.len() >= ticks && bare.bytes().all(|byte| byte == b'`') {
                break;
            }
            block.push_str(line.get(indent..).unwrap_or(bare));
            block.push('\n');
        }
        fences.push(Fence { line: number + 1, follows, info, text: block });
        follows = true;
    }
    fences
}

/// The page without its code blocks: their lines are empty.
pub fn prose(text: &str) -> String {
    let mut ticks = 0;
    let mut prose = String::new();
    for line in text.lines() {
        let here = line.trim_start().bytes().take_while(|byte| *byte == b'`').count();
        if ticks == 0 && here < 3 {
            prose.push_str(line);
        } else if ticks == 0 {
            ticks = here;
        } else if here >= ticks {
            ticks = 0;
        }
        prose.push('\n');
    }
    prose
}

#[test]
fn each_block_is_read_with_what_it_is_for() {
    let text = "# Page\n```sh\nls\n```\n\n```json\n[]\n```\n```\nlate\n```\n````sh stream\ncurl\n```\n````\nprose\n```json\n1\n```\n\
        - item\n  ```js file=a.mjs\n  one\n    two\n  ```\n```text stream\nx\n```\n```sh skip=needs-root\nreboot\n```\n\n```\nrebooting\n```\n\
        ```sh server\nbroker\n```\n```sh server=stays\nbroker\n```\n";
    let page = Page::parse("page.md", text.to_owned()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let kinds: Vec<_> = page.blocks.iter().map(|block| (block.line, block.text.as_str(), &block.kind)).collect();
    let fragment = |language: &str| Kind::Fragment { language: language.to_owned() };
    assert_eq!(
        kinds,
        [
            (3, "ls\n", &Kind::Run { shown: Some(Shown { line: 7, text: "[]\n".into() }) }),
            (10, "late\n", &fragment("")),
            (13, "curl\n```\n", &Kind::Stream),
            (18, "1\n", &fragment("json")),
            (22, "one\n  two\n", &Kind::File("a.mjs".into())),
            (26, "x\n", &Kind::Streamed),
            (29, "reboot\n", &Kind::Skipped),
            (36, "broker\n", &Kind::Server { stays: false }),
            (39, "broker\n", &Kind::Server { stays: true }),
        ]
    );
}

#[test]
fn a_block_that_would_silently_not_be_run_is_an_error() {
    for info in
        ["bash", "sh skip=", "sh skip=boring", "sh once", "sh server=other", "js run", "js file=", "js file=../a.mjs"]
    {
        let errors = Page::parse("page.md", format!("text\n```{info}\nls\n```\n")).err();
        assert!(errors.is_some_and(|errors| errors[0].starts_with("page.md:2: ")), "{info}");
    }
}
