//! Finds links between pages that lead to no file or no heading.

use std::collections::HashSet;
use std::path::Path;

use super::page::prose;

/// The links of a page that lead nowhere, each with its line.
pub fn broken(root: &Path, page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join(page)).unwrap();
    let mut broken = Vec::new();
    for (line, link) in links(&text) {
        if let Err(why) = follow(root, page, &link) {
            broken.push(format!("{}:{line}: {link}: {why}", page.display()));
        }
    }
    broken
}

/// The targets of all links, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let prose = prose(text);
    // Links may be broken over lines, so the text is looked at as one.
    let without_code = without_code(&prose);
    let inline = without_code.match_indices("](").filter_map(|(at, _)| {
        let target = &without_code[at + 2..];
        Some((at, target[..target.find(')')?].to_owned()))
    });
    let mut links: Vec<_> = inline.map(|(at, target)| (prose[..at].matches('\n').count() + 1, target)).collect();
    for (line, number) in without_code.lines().zip(1..) {
        if let Some((_, target)) = line.strip_prefix('[').and_then(|line| line.split_once("]: ")) {
            links.push((number, target.trim().to_owned()));
        }
    }
    links
}

/// The text with blanks in the place of code within lines.
fn without_code(text: &str) -> String {
    let mut in_code = false;
    let bare = text.chars().map(|c| {
        in_code ^= c == '`';
        // A heading or an empty line ends what was never closed.
        if in_code && c != '\n' { ' ' } else { c }
    });
    // Each character in code is replaced by as many bytes, so that places stay the same.
    let bare: Vec<char> = bare.collect();
    text.chars()
        .zip(bare)
        .map(|(old, new)| if old == new { old.to_string() } else { " ".repeat(old.len_utf8()) })
        .collect()
}

fn follow(root: &Path, page: &Path, link: &str) -> Result<(), String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return Ok(());
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { root.join(page) } else { root.join(page).parent().unwrap().join(path) };
    if !target.exists() {
        return Err("there is no such file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let text = std::fs::read_to_string(&target).map_err(|error| error.to_string())?;
    if anchors(&text).contains(anchor) { Ok(()) } else { Err("there is no such heading".to_owned()) }
}

/// The anchors of a page: those of its headings, as GitHub makes them, and those that it sets itself.
fn anchors(text: &str) -> HashSet<String> {
    let prose = prose(text);
    let mut anchors = HashSet::new();
    for line in prose.lines() {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let slug = slug(heading.trim());
            let free = (0..).map(|n| if n == 0 { slug.clone() } else { format!("{slug}-{n}") });
            let mut free = free.skip_while(|slug| anchors.contains(slug));
            anchors.extend(free.next());
        }
        for (at, name) in ["<a id=\"", "<a name=\""].iter().flat_map(|tag| line.match_indices(tag)) {
            let id = &line[at + name.len()..];
            anchors.extend(id.split('"').next().map(str::to_owned));
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    // Of a link only its text counts.
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) =
            link.split_once("](").and_then(|(label, target)| Some((label, target.split_once(')')?.1)))
        else {
            break;
        };
        text.push_str(before);
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn a_link_is_found_and_code_is_none() {
    let text = "[a](b.md#c) `[code](x)`\n```sh\n[code](y)\n```\n[two\nlines](d.md)\n[e]: f.md\n";
    assert_eq!(links(text), [(1, "b.md#c".into()), (6, "d.md".into()), (7, "f.md".to_owned())]);
}

#[test]
fn anchors_are_those_that_github_makes() {
    let text = "# A `b` c!\n## Über [x](y.md)-z\n## A b c\n```\n# none\n```\n<a id=\"own\"></a>\n#tag\n";
    let expected = ["a-b-c", "über-x-z", "a-b-c-1", "own"].map(str::to_owned);
    assert_eq!(anchors(text), HashSet::from(expected));
}
