//! A disk of its own for a server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cannot_run;

/// An ext4 file system in a file, mounted through a loop device. Unmounted when dropped.
pub struct LoopDisk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl LoopDisk {
    /// Makes and mounts one. `None` where this machine may not mount, where that is accepted ([`cannot_run`]).
    pub fn create(directory: &Path, name: &str, mebibytes: u64) -> Option<Self> {
        let image = directory.join(format!("{name}.img"));
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image)).unwrap();
        Self::mount(image)
    }

    /// What would be found after a loss of power now: a copy of what is on the disk, without what the file system still
    /// has in memory.
    pub fn after_power_loss(&self, name: &str) -> Self {
        let image = self.image.with_file_name(format!("{name}.img"));
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&image)).unwrap();
        Self::mount(image).expect("what could be mounted once can be mounted again")
    }

    fn mount(image: PathBuf) -> Option<Self> {
        let mounted_at = image.with_extension("mounted");
        std::fs::create_dir_all(&mounted_at).unwrap();
        match run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted_at)) {
            Ok(()) => Some(Self { image, mounted_at }),
            Err(why) => {
                cannot_run(&format!("this machine may not mount a file system ({why})"));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.mounted_at
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind must not keep the loop device.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mounted_at));
        let _ = std::fs::remove_file(&self.image);
    }
}

/// Runs a program; what it complained of is the error.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
