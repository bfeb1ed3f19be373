//! The base of a backup: the rows of sled, in parts.

use super::BackupProblem;
use super::pace::Pace;
use super::target::Target;
use crate::store::database::failed;
use crate::store::open::FORMAT_SETTING;
use crate::store::progress::Progress;
use crate::store::{keys, record};

/// The first bytes of a part: its format.
pub const MAGIC: &[u8; 8] = b"brokerb1";
/// How many rows and bytes are read before a pause, in which others get the disk and the processor.
const ROWS_AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 64 << 10;
/// How long a record of a part becomes, up to one row.
const RECORD_BYTES: usize = 256 << 10;
/// How long a part becomes, up to one record. It is in memory before it is written.
const PART_BYTES: usize = 4 << 20;

/// The name of a part.
pub fn name_of(part: usize) -> String {
    format!("base.{part:08}")
}

/// Whether a row of sled belongs to sled's own state, which is not restored from rows.
fn is_of_sled(key: &[u8]) -> bool {
    key == keys::setting(FORMAT_SETTING) || key == keys::setting(keys::PROGRESS_SETTING)
}

/// Writes all rows of sled, as of some moments after `progress`. `go_on` is asked at each pause.
pub fn write(
    tree: &sled::Tree,
    progress: Progress,
    target: &mut dyn Target,
    pace: &mut Pace,
    go_on: impl Fn() -> Result<(), BackupProblem>,
) -> Result<(), BackupProblem> {
    let mut parts = Parts { target, pace, part: MAGIC.to_vec(), record: Vec::new(), progress, number: 0 };
    record::begin_record(&mut parts.record);
    // A new iterator after each pause: one that lives long would keep old versions of pages in memory.
    let mut from = Vec::new();
    loop {
        let (mut last, mut bytes) = (None, 0);
        for row in tree.range(from.as_slice()..).take(ROWS_AT_ONCE) {
            let (key, value) = row.map_err(|error| failed(&from, &error))?;
            if !is_of_sled(&key) {
                parts.add(&key, &value)?;
            }
            bytes += key.len() + value.len();
            last = Some(key);
            if bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        let Some(last) = last else { break };
        from = keys::after(&last);
        go_on()?;
        parts.pace.spend(bytes);
    }
    parts.end_record();
    parts.end_part()
}

struct Parts<'a> {
    target: &'a mut dyn Target,
    pace: &'a mut Pace,
    part: Vec<u8>,
    record: Vec<u8>,
    progress: Progress,
    number: usize,
}

impl Parts<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupProblem> {
        record::add_row(&mut self.record, key, Some(value));
        if self.record.len() >= RECORD_BYTES {
            self.end_record();
            if self.part.len() >= PART_BYTES {
                self.end_part()?;
            }
        }
        Ok(())
    }

    fn end_record(&mut self) {
        record::end_record(&mut self.record, self.progress);
        self.part.extend_from_slice(&self.record);
        record::begin_record(&mut self.record);
    }

    fn end_part(&mut self) -> Result<(), BackupProblem> {
        let name = name_of(self.number);
        self.target.add(&name, self.part.len() as u64, &mut self.pace.reading(&mut self.part.as_slice()))?;
        self.number += 1;
        self.part.truncate(MAGIC.len());
        Ok(())
    }
}
