//! Taking a backup.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::pace::Pace;
use super::records::range_of;
use super::target::Target;
use super::{BackupProblem, Manifest, base};
use crate::domain::Timestamp;
use crate::error::Error;
use crate::store::keeping::{Closed, Hold, Serving};
use crate::store::lineage::Lineage;
use crate::store::progress::Progress;
use crate::store::set_names::name_of_journal;
use crate::store::{Store, codec, keys};

/// How long the writer may take to begin a new file.
const WRITER_WITHIN: Duration = Duration::from_secs(60);
/// How long checkpoints may take: the one under way, and the one that a backup asks for. Each may be of 4 GiB.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(1800);

/// Takes a backup. Blocks until it is finished, and sleeps often.
///
/// # Errors
/// [`BackupProblem`]. Then the target has no manifest.
pub fn take(
    store: &Store,
    lineage: Lineage,
    now: Timestamp,
    target: &mut dyn Target,
    server: &dyn Serving,
) -> Result<Manifest, BackupProblem> {
    let hold = store.keeping.hold();
    hold.checkpoint(CHECKPOINT_WITHIN, server)?;
    let base = store.in_sled()?;
    let mut manifest = Manifest::of(lineage, now, base, store.epochs.all());
    let mut pace = Pace::new();
    base::write(&store.tree, base, target, &mut pace, || go_on(store, &hold, server))?;
    // What the scan has seen is at most what has been committed by now.
    let Closed { last: end, made_at } = hold.close_file(WRITER_WITHIN, server)?;
    // Without a commit since the start, those that there are were made before it.
    manifest.end_at = made_at.unwrap_or(now).as_millis();
    for (_, path) in hold.files() {
        go_on(store, &hold, server)?;
        let Some((first, last)) = range_of(&path)?.filter(|(first, _)| *first <= end) else { continue };
        if first > manifest.end.commit + 1 {
            return Err(BackupProblem::damaged(&path, "commits before it are missing"));
        }
        add_file(target, &name_of_journal(first, last.commits), &path, &mut pace)?;
        manifest.end = last.into();
    }
    if manifest.end.commit < end {
        return Err(BackupProblem::Damaged("the last commits are missing".to_owned()));
    }
    manifest.files = target.files().to_vec();
    target.finish(&manifest)?;
    Ok(manifest)
}

/// Checks that a backup may go on. It may be written to the disk of the database.
fn go_on(store: &Store, hold: &Hold, server: &dyn Serving) -> Result<(), BackupProblem> {
    server.check()?;
    store.keeping.check_room()?;
    if hold.has_given_up() { Err(Error::StorageFull.into()) } else { Ok(()) }
}

fn add_file(target: &mut dyn Target, name: &str, path: &Path, pace: &mut Pace) -> Result<(), BackupProblem> {
    let failed = BackupProblem::of_file(path);
    let mut file = File::open(path).map_err(&failed)?;
    let bytes = file.metadata().map_err(&failed)?.len();
    target.add(name, bytes, &mut pace.reading(&mut file))
}

impl Store {
    /// How far sled has come.
    fn in_sled(&self) -> Result<Progress, BackupProblem> {
        let key = keys::setting(keys::PROGRESS_SETTING);
        let value = self.tree.get(&key).map_err(|error| crate::store::database::failed(&key, &error))?;
        let Some(value) = value else { return Ok(Progress::default()) };
        codec::decode_progress(&value).map_err(|why| crate::store::damage::damaged(&key, why).into())
    }
}
