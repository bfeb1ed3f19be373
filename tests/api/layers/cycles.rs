//! Guards that the files of one folder do not import each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::imports::{Crate, Path};

#[test]
fn files_of_one_folder_do_not_import_each_other_in_a_circle() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let tree = Crate::read(&|file| std::fs::read_to_string(root.join(file)).ok());
    assert!(tree.folders().count() > 5, "the crate was not read");
    let mut found = Vec::new();
    // The folder `src` itself is a matter of floors.
    for folder in tree.folders().filter(|folder| !folder.is_empty()) {
        let (name, cycles) = (folder.join("/"), cycles(&tree.inside(folder)));
        found.extend(cycles.iter().map(|cycle| format!("src/{name}: {}", cycle.join(" -> "))));
    }
    assert!(found.is_empty(), "files that import each other in a circle:\n{}", found.join("\n"));
}

/// The shortest cycle through each file that is in one, each cycle once. The first name is repeated at the end.
fn cycles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let mut cycles = BTreeSet::new();
    for start in uses.keys() {
        if let Some(mut cycle) = shortest_cycle(uses, start) {
            // The same cycle is found from each file in it: begin with the first by name.
            let first = (0..cycle.len()).min_by_key(|at| &cycle[*at]).unwrap_or_default();
            cycle.rotate_left(first);
            cycle.push(cycle[0].clone());
            cycles.insert(cycle);
        }
    }
    cycles
}

fn shortest_cycle(uses: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut routes = VecDeque::from([vec![start.to_owned()]]);
    let mut reached = BTreeSet::new();
    while let Some(route) = routes.pop_front() {
        for next in uses.get(&route[route.len() - 1]).into_iter().flatten() {
            if next == start {
                return Some(route);
            }
            if reached.insert(next) {
                routes.push_back([&route[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

/// The cycles in the folder `folder` of a crate with these files.
fn cycles_in(folder: &str, files: &[(&str, &str)]) -> Vec<String> {
    let tree = Crate::read(&|file| {
        let text = files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        text.or_else(|| (file == "lib.rs").then(|| "mod folder; mod other;".to_owned()))
            .or_else(|| (file == "other.rs").then(String::new))
    });
    let folder: Path = folder.split('/').map(str::to_owned).collect();
    cycles(&tree.inside(&folder)).iter().map(|cycle| cycle.join(" -> ")).collect()
}

#[test]
fn a_cycle_is_found_however_it_is_written() {
    let ways = [
        "use super::b::B;",
        "use crate::folder::b::B;",
        "use crate::{other, folder::{b::{B, E as D}}};",
        "use super::{b};",
        "use super::B;",
        "fn f() { super::b::B::new(); }",
        "use crate::folder; fn f() { folder::B::new(); }",
        "use super::super::folder::B as Other;",
        "fn f() { use crate::folder::Renamed; }",
        "const TEXT: &str = r#\"\"#; const C: char = '\"'; use super::b::B;",
    ];
    for way in ways {
        let files = [
            ("folder/mod.rs", "mod a; mod b; mod c; pub use b::B; pub(crate) use self::b::{B as Renamed};"),
            ("folder/a.rs", way),
            ("folder/b.rs", "use super::c::C; pub struct B;"),
            ("folder/c.rs", "use super::a::A;"),
        ];
        assert_eq!(cycles_in("folder", &files), ["a -> b -> c -> a"], "{way}");
    }
}

#[test]
fn a_subfolder_counts_as_its_parent_file() {
    let files = [
        ("folder/mod.rs", "mod a; mod b;"),
        ("folder/a.rs", "mod inner;"),
        ("folder/a/inner.rs", "use super::super::b::B;"),
        ("folder/b.rs", "use super::a::A;"),
    ];
    assert_eq!(cycles_in("folder", &files), ["a -> b -> a"]);
}

#[test]
fn a_folders_own_file_is_in_a_cycle_with_a_file_that_uses_what_it_defines() {
    let parts = [("folder/a.rs", "use super::Defined;"), ("folder/mod.rs", "mod a; use a::A; struct Defined(A);")];
    assert_eq!(cycles_in("folder", &parts), ["a -> mod -> a"]);
    let parts = [("folder/a.rs", "use super::Defined;"), ("folder/mod.rs", "mod a; pub use a::A; struct Defined;")];
    assert!(cycles_in("folder", &parts).is_empty());
}

#[test]
fn comments_texts_and_tests_import_nothing() {
    let files = [
        ("folder/mod.rs", "mod a; mod b; pub use b::B; #[cfg(test)] mod tests;"),
        (
            "folder/a.rs",
            r##"
            //! use super::b::B;
            /* use super::b::B; /* nested */ use super::b::B; */
            const TEXT: &str = "use super::b::B; \" super::b::B";
            const RAW: &[u8] = br#"super::b::B"#;
            #[cfg(test)]
            use super::b::{B, C};
            struct A<'a> { #[cfg(test)] b: super::b::B, quote: &'a char }
            #[cfg(all(test, unix))] #[allow(dead_code)] fn f<X, Y>(b: super::b::B) -> [u8; 2] { super::b::f() }
            #[cfg(test)]
            mod tests { use super::super::b::B; }
            "##,
        ),
        ("folder/b.rs", "use super::a::A;"),
    ];
    assert!(cycles_in("folder", &files).is_empty(), "{:?}", cycles_in("folder", &files));
}
