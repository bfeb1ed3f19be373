//! The configuration file: flags by their names, in TOML. This only turns values into the text of a flag, and says in which line a mistake
//! is; the parser of the command line reads the text.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Command};
use toml::de::{DeTable, DeValue};

use super::values::{said, text_in};

/// Flags with several values, which are an array in the file, and have commas between them on the command line.
const LISTS: [&str; 4] = ["origin", "trusted_proxies", "default_scopes", "ntp_servers"];
/// The right of users other than the owner and the group to read a file, and that to write it (inode(7)).
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// A configuration file that was read. Each of its values is one that the flag of this name takes.
pub struct File {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    /// The value as on the command line.
    text: String,
    /// Its line, counted from 1.
    line: usize,
}

impl File {
    /// Reads a file with values for the flags of a command.
    ///
    /// # Errors
    /// A text that says what to change, and in which line.
    pub fn read(path: &Path, flags: &Command) -> Result<Self, String> {
        let of_file = |why: String| format!("{}: {why}", path.display());
        let file = std::fs::File::open(path).map_err(|error| of_file(error.to_string()))?;
        let mode = file.metadata().map_err(|error| of_file(error.to_string()))?.mode();
        if mode & OTHERS_WRITE != 0 {
            return Err(of_file(
                "every user of this machine may write the file: take that away, by chmod o-w".to_owned(),
            ));
        }
        let text = text_in(file).map_err(of_file)?;
        let file = Self { path: path.to_owned(), entries: Self::entries(path, &text, flags)? };
        file.check(flags, mode)?;
        Ok(file)
    }

    fn entries(path: &Path, text: &str, flags: &Command) -> Result<BTreeMap<String, Entry>, String> {
        let line_at =
            |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        // Not as the library writes an error: that shows the line, which may have a secret.
        let table = DeTable::parse(text).map_err(|error| {
            at_line(
                path,
                line_at(error.span().map_or(0, |span| span.start)),
                &format!("it is no TOML: {}", error.message()),
            )
        })?;
        let mut entries = BTreeMap::new();
        for (key, value) in table.get_ref() {
            let (name, line) = (key.get_ref().as_ref(), line_at(key.span().start));
            let of_line = |why: &str| at_line(path, line, &format!("{name}: {why}"));
            let flag = flags.get_arguments().find(|flag| flag.get_long() == Some(name));
            let flag = flag.ok_or_else(|| of_line("there is no flag of this name"))?;
            if name == "config" {
                return Err(of_line("a configuration file names no other"));
            }
            let text = text_of(flag, value.get_ref()).map_err(|why| of_line(&why))?;
            entries.insert(name.to_owned(), Entry { text, line });
        }
        Ok(entries)
    }

    /// Has each value read by itself, so that a mistake has a line.
    fn check(&self, flags: &Command, mode: u32) -> Result<(), String> {
        for (name, Entry { text, line }) in &self.entries {
            let is_secret = flags.get_arguments().any(|flag| flag.get_long() == Some(name) && is_secret(flag));
            if is_secret && mode & OTHERS_READ != 0 {
                let why = format!(
                    "{name}: it is a secret, and every user of this machine may read the file: take that away, by chmod o-r, or set \
                     {name}_file instead"
                );
                return Err(at_line(&self.path, *line, &why));
            }
            let command = flags.clone().try_get_matches_from(["broker", &format!("--{name}={text}")]);
            if let Err(error) = command {
                let said = said(&error);
                // The rest is about the command line.
                let why = said.split("\n\n").next().unwrap_or_default();
                return Err(at_line(&self.path, *line, &format!("{name}: {why}")));
            }
        }
        Ok(())
    }

    /// The value of a flag, as on the command line.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.text.as_str())
    }

    /// Adds the place of the flag that a text begins with, if it is in this file.
    pub fn place(&self, why: String) -> String {
        let name = why.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        match self.entries.get(name) {
            Some(entry) => at_line(&self.path, entry.line, &why),
            None => why,
        }
    }
}

fn at_line(path: &Path, line: usize, why: &str) -> String {
    format!("{}, line {line}: {why}", path.display())
}

/// A value as on the command line. Each flag takes one type of TOML, a list also a text with commas.
fn text_of(flag: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let parsed = flag.get_value_parser().type_id();
    let is_one_of = |types: &[TypeId]| types.iter().any(|one| parsed == *one);
    let is_number = is_one_of(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<Duration>(),
    ]);
    let is_list = flag.get_long().is_some_and(|name| LISTS.contains(&name));
    let (text, wanted) = if is_number {
        let number = value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        (number.map(|number| number.to_string()), "an integer")
    } else if is_one_of(&[TypeId::of::<bool>()]) {
        (value.as_bool().map(|is| is.to_string()), "true or false")
    } else {
        let text = value.as_str().map(str::to_owned);
        match is_list {
            true => (text.or_else(|| list(value)), "an array of strings, without commas in them"),
            false => (text, "a string"),
        }
    };
    text.ok_or_else(|| format!("it must be {wanted}"))
}

fn list(value: &DeValue<'_>) -> Option<String> {
    let entries = value.as_array()?.iter().map(|entry| entry.get_ref().as_str().filter(|text| !text.contains(',')));
    Some(entries.collect::<Option<Vec<_>>>()?.join(","))
}

/// Whether the value of a flag is a secret: then `--help` does not show it either.
pub fn is_secret(flag: &Arg) -> bool {
    flag.is_hide_env_values_set()
}

#[cfg(test)]
mod tests;
