//! Tells which file of a crate uses which: paths are followed through re-exports to the file that defines what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, end_of_group, is_name, tokens};

/// The names from the crate's root to a module: empty for the root, `["events", "hub"]` for `src/events/hub.rs`.
pub type Path = Vec<String>;

/// A module with a file of its own.
#[derive(Default)]
struct Module {
    /// The modules declared in it.
    children: BTreeSet<String>,
    /// What its `use` declarations bind: a name, and the path as it was written.
    bound: BTreeMap<String, Path>,
    /// Every path in its code.
    paths: BTreeSet<Path>,
}

/// All modules of a crate.
pub struct Crate {
    modules: BTreeMap<Path, Module>,
}

impl Crate {
    /// Reads a crate, beginning at `lib.rs`. The sources are given by their path below `src`.
    pub fn read(source: &impl Fn(&str) -> Option<String>) -> Self {
        let mut found = Self { modules: BTreeMap::new() };
        found.add(Path::new(), source);
        found
    }

    fn add(&mut self, path: Path, source: &impl Fn(&str) -> Option<String>) {
        let files = match path.join("/") {
            root if root.is_empty() => vec!["lib.rs".to_owned()],
            path => vec![format!("{path}.rs"), format!("{path}/mod.rs")],
        };
        let text = files.iter().find_map(|file| source(file)).unwrap_or_else(|| panic!("there is no {files:?}"));
        let module = Module::read(&tokens(&text));
        let children = module.children.clone();
        self.modules.insert(path.clone(), module);
        for child in children {
            self.add([&path[..], &[child]].concat(), source);
        }
    }

    /// Every module, and the modules that define something that it uses.
    pub fn uses(&self) -> BTreeMap<Path, BTreeSet<Path>> {
        let uses = |(path, module): (&Path, &Module)| {
            let used = module.paths.iter().filter_map(|named| self.defines(path, named, 0));
            (path.clone(), used.filter(|used| used != path).collect())
        };
        self.modules.iter().map(uses).collect()
    }

    /// The module that defines what this path means in the module `from`, if it is one of this crate.
    fn defines(&self, from: &Path, named: &[String], depth: usize) -> Option<Path> {
        // A path that leads through more re-exports than this leads in a circle.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = named.split_first()?;
        let mut at = match first.as_str() {
            "crate" | "broker" => Path::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ => {
                rest = named;
                from.clone()
            }
        };
        let relative = rest.len() == named.len();
        while let Some((name, after)) = rest.split_first() {
            let module = &self.modules[&at];
            if name == "super" {
                at.pop();
            } else if name != "self" {
                if module.children.contains(name) {
                    at.push(name.clone());
                } else if let Some(path) = module.bound.get(name).filter(|path| path[..] != *named) {
                    return self.defines(&at, &[&path[..], after].concat(), depth + 1);
                } else if relative && at == *from {
                    return None;
                } else {
                    return Some(at);
                }
            }
            rest = after;
        }
        Some(at)
    }

    /// The imports inside a module: each of its children with all below it is one, and the module's own file is one.
    pub fn inside(&self, module: &Path) -> BTreeMap<String, BTreeSet<String>> {
        let mut inside: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, used) in self.uses() {
            let Some(from_name) = part_of(module, &from) else { continue };
            for to in used.iter().filter_map(|to| part_of(module, to)) {
                if to != from_name {
                    inside.entry(from_name.clone()).or_default().insert(to);
                }
            }
        }
        inside
    }

    /// Every module that has others in it.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.modules.iter().filter(|(_, module)| !module.children.is_empty()).map(|(path, _)| path)
    }
}

/// Which part of `module` another one is in: a child, or `mod` for the module's own file.
fn part_of(module: &Path, other: &Path) -> Option<String> {
    let below = other.strip_prefix(&module[..])?;
    Some(below.first().cloned().unwrap_or_else(|| "mod".to_owned()))
}

impl Module {
    fn read(tokens: &[Token]) -> Self {
        let (mut module, mut at) = (Self::default(), 0);
        let is = |at: usize, wanted: &str| tokens.get(at).is_some_and(|token| token == wanted);
        while at < tokens.len() {
            if is(at, "mod") && is(at + 2, ";") {
                module.children.insert(tokens[at + 1].clone());
                at += 3;
            } else if is(at, "mod") && is(at + 2, "{") {
                panic!("a module without a file of its own: {}", tokens[at + 1]);
            } else if is(at, "use") {
                // A re-export is the module's interface and not a use of what it names.
                let exported = at > 0 && (is(at - 1, "pub") || is(at - 1, ")"));
                let end = (at..tokens.len()).find(|end| is(*end, ";")).unwrap_or(tokens.len());
                module.add_use(&mut Path::new(), &tokens[at + 1..end], exported);
                at = end + 1;
            } else if is(at, "pub") && is(at + 1, "(") {
                at = end_of_group(tokens, at + 1);
            } else if is_name(&tokens[at]) {
                let mut path = vec![tokens[at].clone()];
                at += 1;
                while is(at, ":") && is(at + 1, ":") && tokens.get(at + 2).is_some_and(|token| is_name(token)) {
                    path.push(tokens[at + 2].clone());
                    at += 3;
                }
                if path.len() > 1 {
                    module.paths.insert(path);
                }
            } else {
                at += 1;
            }
        }
        module
    }

    /// Adds one tree of a `use` declaration, after the names that lead to it.
    fn add_use(&mut self, before: &mut Path, tree: &[Token], exported: bool) {
        let depth = before.len();
        let mut at = 0;
        while at < tree.len() {
            match tree[at].as_str() {
                ":" => at += 1,
                "{" => {
                    let end = end_of_group(tree, at);
                    for branch in split_at_commas(&tree[at + 1..end - 1]) {
                        self.add_use(before, branch, exported);
                    }
                    before.truncate(depth);
                    return;
                }
                // What it brings in cannot be told from this file.
                "*" => panic!("a glob import of {}: import by name", before.join("::")),
                "as" => break,
                name => {
                    before.push(name.to_owned());
                    at += 1;
                }
            }
        }
        let named = tree.get(at).is_some_and(|token| token == "as").then(|| tree[at + 1].clone());
        let mut path = before.clone();
        if path.last().is_some_and(|name| name == "self") && path.len() > 1 {
            path.pop();
        }
        if let Some(last) = named.or_else(|| path.last().cloned()) {
            self.bound.insert(last, path.clone());
        }
        if !exported && path.len() > 1 {
            self.paths.insert(path);
        }
        before.truncate(depth);
    }
}

fn split_at_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}
