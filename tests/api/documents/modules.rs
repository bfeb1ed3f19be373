//! Guards the names on the page on architecture: every file and every test module that it names exists, and every file is named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::page::Page;
use super::root;

/// The folders of which the page has a table with every file, each with the line before the rows.
const LISTED: &[(&str, &str)] = &[
    ("src/events", "Files of `events`:"),
    ("src/store", "Files of `store`:"),
    ("src/transports/http", "| file in `transports/http` | contents |"),
    ("src/transports/broker_v1", "| file in `transports/broker_v1` | contents |"),
];

#[test]
fn every_test_module_on_the_page_on_architecture_exists() {
    let page = Page::read(root(), "docs/architecture.md").text;
    let named = modules_with_tests(&page);
    assert!(named.len() > 50, "only {} names were found", named.len());
    let unknown: Vec<_> = named.into_iter().filter(|name| !has_tests(name)).collect();
    assert!(unknown.is_empty(), "there is no such module, or no test is in it: {unknown:?}");
}

#[test]
fn the_page_on_architecture_names_every_file_and_no_other() {
    let page = Page::read(root(), "docs/architecture.md").text;
    let named: BTreeSet<_> = code(&page).filter(|code| code.ends_with(".rs")).map(Path::new).collect();
    assert!(named.len() > 50, "only {} names were found", named.len());
    let files: Vec<_> = ["src", "tests"].iter().flat_map(|tree| files(&root().join(tree))).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !files.iter().any(|file| file.ends_with(name))).collect();
    assert!(unknown.is_empty(), "there is no such file: {unknown:?}");
    for (folder, line) in LISTED {
        let (_, after) = page.split_once(line).unwrap_or_else(|| panic!("the page lacks {line:?}"));
        let table: Vec<_> =
            after.lines().skip_while(|line| line.is_empty()).take_while(|line| line.starts_with('|')).collect();
        let listed: BTreeSet<_> = table.iter().flat_map(|row| code(row)).map(Path::new).collect();
        let here = files.iter().filter(|file| file.parent() == Some(&root().join(folder)));
        let left_out: Vec<_> = here
            .map(|file| Path::new(file.file_name().unwrap()))
            .filter(|name| !["mod.rs", "tests.rs"].map(Path::new).contains(name) && !listed.contains(name))
            .collect();
        assert!(left_out.is_empty(), "the table of the files of {folder} lacks {left_out:?}");
    }
}

/// The modules in every column that is called "tested in".
fn modules_with_tests(page: &str) -> BTreeSet<String> {
    let (mut named, mut in_table) = (BTreeSet::new(), false);
    for line in page.lines() {
        let last = line.trim().strip_suffix('|').and_then(|row| row.rsplit('|').next()).map(str::trim);
        in_table = last.is_some() && (in_table || last == Some("tested in"));
        if in_table {
            named.extend(last.into_iter().flat_map(code).map(str::to_owned));
        }
    }
    named
}

/// Everything that is between single backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether a test is in a module of the unit tests or of the socket tests, or in a module below it.
fn has_tests(module: &str) -> bool {
    let below = module.replace("::", "/");
    ["src", "tests/api"].iter().any(|tree| {
        let place = root().join(tree).join(&below);
        // Tests may be written in the file that they test.
        let inline = module.strip_suffix("::tests").map(|_| place.parent().unwrap().with_extension("rs"));
        let below = if place.is_dir() { files(&place) } else { Vec::new() };
        [place.with_extension("rs")].into_iter().chain(inline).chain(below).any(|file| {
            fs::read_to_string(file).is_ok_and(|text| text.contains("#[test]") || text.contains("#[tokio::test"))
        })
    })
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
