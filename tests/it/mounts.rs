//! Small file systems of a test's own, below its own folder.
//!
//! Invariant: mounted by root alone, and unmounted when the value goes, so before the folder below does.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

/// The block of a tmpfs, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// The file that takes up room.
const FILLER: &str = "filler";

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    at: Utf8PathBuf,
    is_mounted: bool,
}

/// Whether this test may mount and change users; says that it needs to, where it may not.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("this test needs root; it is passed over");
    }
    is_root
}

impl Mount {
    /// A tmpfs at a folder that is there, such as `size=400k,nr_inodes=50`; root only.
    #[track_caller]
    pub fn tmpfs(at: &Utf8Path, options: &str) -> Self {
        run("mount", &["-t", "tmpfs", "-o", options, "minidvodbcopy-test", at.as_str()]);
        Self { at: at.to_owned(), is_mounted: true }
    }

    /// An ext4 of so many MiB in a file beside `at`; root only.
    #[track_caller]
    pub fn ext4(at: &Utf8Path, mib: u64) -> Self {
        let image = Utf8PathBuf::from(format!("{at}.ext4"));
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.as_str()]);
        let mut mount = Self { at: at.to_owned(), is_mounted: false };
        mount.mount_again();
        mount
    }

    /// Mounts an ext4 that was unmounted.
    #[track_caller]
    pub fn mount_again(&mut self) {
        run("mount", &["-o", "loop", &format!("{}.ext4", self.at), self.at.as_str()]);
        self.is_mounted = true;
    }

    /// Mounts it again with other options, such as `ro`.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.at.as_str()]);
    }

    /// Takes it away.
    #[track_caller]
    pub fn unmount(&mut self) {
        run("umount", &[self.at.as_str()]);
        self.is_mounted = false;
    }

    /// The number that `df` prints.
    #[track_caller]
    pub fn used_percent(&self) -> u64 {
        let text = run("df", &["-Pk", self.at.as_str()]);
        let percent = text.lines().nth(1).unwrap().split_whitespace().nth(4).unwrap();
        percent.trim_end_matches('%').parse().unwrap()
    }

    /// Writes a file so that `used` blocks of the file system are used; removes it where that is none.
    #[track_caller]
    pub fn fill_to(&self, used_blocks: u64) {
        self.empty();
        let stats = fs2::statvfs(&self.at).unwrap();
        let used = (stats.total_space() - stats.free_space()) / BLOCK_BYTES;
        self.fill(used_blocks.saturating_sub(used) * BLOCK_BYTES);
    }

    /// Writes a file of so many bytes.
    #[track_caller]
    pub fn fill(&self, bytes: u64) {
        std::fs::write(self.at.join(FILLER), vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
    }

    /// Writes until nothing goes in any more.
    #[track_caller]
    pub fn fill_up(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::options().create(true).append(true).open(self.at.join(FILLER)).unwrap();
        for piece in [1 << 16, BLOCK_BYTES as usize, 1] {
            while file.write_all(&vec![b'x'; piece]).is_ok() {}
        }
    }

    /// Takes the filling away.
    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.at.join(FILLER));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted {
            let at = self.at.as_str();
            let done = Command::new("umount").arg(at).output().is_ok_and(|output| output.status.success());
            if !done {
                // Something there still works in it.
                let _ = Command::new("umount").args(["-l", at]).output();
            }
        }
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
