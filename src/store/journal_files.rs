//! The names of the files of the journal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of a file of the journal.
pub fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("journal.{number:016}"))
}

/// The numbers of the journal files in a directory, in order. A directory that is not there has none.
pub fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("journal."));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes files whose whole content is in sled, or that have none. It needs no descriptor.
pub fn remove(directory: &Path, files: &[u64]) -> io::Result<()> {
    for number in files {
        match fs::remove_file(path_of(directory, *number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
