//! Guards the table of docs/errors.md: it has every status and code that the code has, and no other.

use std::collections::BTreeSet;

use super::root;

/// Statuses and codes as `src/error.rs` pairs them: `(400, "body_invalid", …)`.
fn in_the_code(source: &str) -> BTreeSet<(u16, String)> {
    let pairs = source.split('(').filter_map(|rest| {
        let (status, rest) = rest.split_once(',')?;
        let code = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        Some((status.trim().parse().ok()?, code.to_owned()))
    });
    pairs.collect()
}

/// The rows ``| 400 | `body_invalid` | …``.
fn in_the_table(page: &str) -> Vec<(u16, String)> {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

#[test]
fn the_table_of_errors_is_that_of_the_code() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (code, rows) = (in_the_code(&read("src/error.rs")), in_the_table(&read("docs/errors.md")));
    let table: BTreeSet<_> = rows.iter().cloned().collect();
    assert!(code.len() > 50, "only {} pairs were found in the code", code.len());
    assert_eq!(rows.len(), table.len(), "a row is there twice");
    let missing: Vec<_> = code.difference(&table).collect();
    let extra: Vec<_> = table.difference(&code).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing in the table: {missing:?}; not in the code: {extra:?}");
}
