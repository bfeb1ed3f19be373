//! Where a backup goes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::BackupProblem;
use super::manifest::{ListedFile, Manifest};
use crate::store::disk::Directory;
use crate::store::set_names::MANIFEST;

/// Takes the files of a backup, one after the other, and the manifest last.
pub trait Target {
    /// Adds a file of so many bytes.
    ///
    /// # Errors
    /// [`BackupProblem::File`].
    fn add(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<(), BackupProblem>;

    /// The files that were added.
    fn files(&self) -> &[ListedFile];

    /// Adds the manifest, and makes everything durable.
    ///
    /// # Errors
    /// [`BackupProblem::File`].
    fn finish(&mut self, manifest: &Manifest) -> Result<(), BackupProblem>;
}

/// Reads on, and computes a hash of what is read.
struct Hashing<'a> {
    inner: &'a mut dyn Read,
    hash: Context,
    bytes: u64,
}

impl<'a> Hashing<'a> {
    fn of(inner: &'a mut dyn Read) -> Self {
        Self { inner, hash: Context::new(&SHA256), bytes: 0 }
    }

    fn listed(self, name: &str) -> ListedFile {
        ListedFile { name: name.to_owned(), bytes: self.bytes, sha256: hex(self.hash.finish().as_ref()) }
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a file would be listed.
///
/// # Errors
/// [`BackupProblem::File`].
pub fn listed(path: &Path, name: &str) -> Result<ListedFile, BackupProblem> {
    let failed = BackupProblem::of_file(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut hashing = Hashing::of(&mut file);
    io::copy(&mut hashing, &mut io::sink()).map_err(&failed)?;
    Ok(hashing.listed(name))
}

/// A stream in the format of tar (POSIX ustar).
pub struct Tar<W: Write> {
    builder: tar::Builder<W>,
    files: Vec<ListedFile>,
    /// In seconds since the Unix epoch, of all files.
    time: u64,
}

impl<W: Write> Tar<W> {
    /// Begins a stream. `time` is in seconds since the Unix epoch.
    pub fn new(to: W, time: u64) -> Self {
        Self { builder: tar::Builder::new(to), files: Vec::new(), time }
    }

    /// What the stream is written to.
    pub fn writer(&mut self) -> &mut W {
        self.builder.get_mut()
    }

    fn append(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<(), BackupProblem> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        self.builder
            .append_data(&mut header, name, content)
            .map_err(|error| BackupProblem::File(name.to_owned(), error))
    }
}

impl<W: Write> Target for Tar<W> {
    fn add(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<(), BackupProblem> {
        let mut hashing = Hashing::of(content);
        self.append(name, bytes, &mut hashing)?;
        self.files.push(hashing.listed(name));
        Ok(())
    }

    fn files(&self) -> &[ListedFile] {
        &self.files
    }

    fn finish(&mut self, manifest: &Manifest) -> Result<(), BackupProblem> {
        let text = manifest.text();
        self.append(MANIFEST, text.len() as u64, &mut text.as_slice())?;
        let ended = self.builder.finish().and_then(|()| self.builder.get_mut().flush());
        ended.map_err(|error| BackupProblem::File("the stream".to_owned(), error))
    }
}

/// A directory of its own, which must not exist.
pub struct InDirectory {
    path: PathBuf,
    files: Vec<ListedFile>,
}

impl InDirectory {
    /// Creates the directory.
    ///
    /// # Errors
    /// [`BackupProblem::File`].
    pub fn create(path: &Path) -> Result<Self, BackupProblem> {
        DirBuilder::new().mode(0o700).create(path).map_err(BackupProblem::of_file(path))?;
        Ok(Self { path: path.to_owned(), files: Vec::new() })
    }
}

/// The file of a stream that says why it ends without being a backup.
pub const FAILED: &str = "failed";
/// How long its text is at most, in bytes.
const FAILED_BYTES: u64 = 4096;
/// How long a manifest is at most, in bytes: that of a base of a TiB has half of it.
const MANIFEST_BYTES: u64 = 64 << 20;

/// Unpacks a stream of [`Tar`] into a new directory, which has its name only once everything in it is as it was sent.
///
/// # Errors
/// [`BackupProblem`]. Then there is no directory.
pub fn unpack(stream: &mut dyn Read, to: &Path) -> Result<Manifest, BackupProblem> {
    // Without a slash at its end, behind which another name would be a place within it.
    let to = &to.components().collect::<PathBuf>();
    if to.exists() {
        return Err(BackupProblem::Exists(to.to_owned()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".unfinished");
    let unfinished = PathBuf::from(name);
    let unpacked = unpack_into(stream, &unfinished).and_then(|manifest| {
        let placed = fs::rename(&unfinished, to).and_then(|()| sync_parent(to));
        placed.map(|()| manifest).map_err(BackupProblem::of_file(to))
    });
    unpacked.inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))
}

fn unpack_into(stream: &mut dyn Read, to: &Path) -> Result<Manifest, BackupProblem> {
    let cut_off = |error| BackupProblem::File("the backup is cut off".to_owned(), error);
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BackupProblem::of_file(to)(error)),
        _ => {}
    }
    let mut target = InDirectory::create(to)?;
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries().map_err(cut_off)? {
        let is_first = target.files.is_empty();
        let mut entry = entry.map_err(|error| match error.kind() {
            io::ErrorKind::Other | io::ErrorKind::InvalidData if is_first => BackupProblem::Damaged(
                "it is no stream of a backup; if it is compressed, decompress it first".to_owned(),
            ),
            _ => cut_off(error),
        })?;
        let name = entry.path().map_err(cut_off)?.to_string_lossy().into_owned();
        // The stream may come from anywhere: no name leads out of the directory.
        if !entry.header().entry_type().is_file() || name.contains('/') || name.starts_with('.') {
            return Err(BackupProblem::Damaged(format!("{name:?} is no file of a backup")));
        }
        match name.as_str() {
            FAILED => {
                let mut why = String::new();
                entry.take(FAILED_BYTES).read_to_string(&mut why).map_err(cut_off)?;
                // It may be from anywhere, and is shown on a terminal.
                return Err(BackupProblem::Sender(why.replace(char::is_control, " ")));
            }
            MANIFEST => {
                let mut text = Vec::new();
                entry.take(MANIFEST_BYTES).read_to_end(&mut text).map_err(cut_off)?;
                let manifest = Manifest::of_text(&to.join(MANIFEST), &text)?;
                if manifest.files != target.files {
                    return Err(BackupProblem::Damaged("its files differ from what was sent".to_owned()));
                }
                target.finish(&manifest)?;
                return Ok(manifest);
            }
            name => {
                let bytes = entry.size();
                target.add(name, bytes, &mut entry)?;
            }
        }
    }
    Err(BackupProblem::Unfinished(to.to_owned()))
}

/// Makes the name of a directory durable, if its parent may be read.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    match path.parent().map_or(Ok(()), |parent| Directory::open(parent)?.sync()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Writes a new file, and makes it durable. It has its name only once it is whole.
///
/// # Errors
/// [`BackupProblem::File`].
pub fn write_file(path: &Path, content: &mut dyn Read) -> Result<(), BackupProblem> {
    let unfinished = path.with_extension("unfinished");
    let write = || {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        io::copy(content, &mut file)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    let mut write = write;
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        BackupProblem::of_file(path)(error)
    })
}

impl Target for InDirectory {
    fn add(&mut self, name: &str, _: u64, content: &mut dyn Read) -> Result<(), BackupProblem> {
        let mut hashing = Hashing::of(content);
        write_file(&self.path.join(name), &mut hashing)?;
        self.files.push(hashing.listed(name));
        Ok(())
    }

    fn files(&self) -> &[ListedFile] {
        &self.files
    }

    fn finish(&mut self, manifest: &Manifest) -> Result<(), BackupProblem> {
        let sync = || Directory::open(&self.path)?.sync();
        sync().map_err(BackupProblem::of_file(&self.path))?;
        write_file(&self.path.join(MANIFEST), &mut manifest.text().as_slice())?;
        sync().map_err(BackupProblem::of_file(&self.path))
    }
}
