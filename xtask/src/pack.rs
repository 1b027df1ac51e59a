//! Packing files into a tar that comes out the same, byte for byte, from the same files.
//!
//! Invariant: names are sorted, times, owners and modes are fixed, and the sums of all files stand in SHA256SUMS.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

/// A file to be packed.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its path in the tar, below the top folder.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub is_program: bool,
}

/// The name of the file with the sums.
pub const SUMS: &str = "SHA256SUMS";

/// The tar, compressed: all files and their sums in the folder `top`, as of `time_s`.
///
/// # Errors
/// Where a name is too long for a tar.
pub fn pack(top: &str, mut items: Vec<Item>, time_s: u64) -> io::Result<Vec<u8>> {
    items.sort_by(|a, b| a.path.cmp(&b.path));
    let sums: String = items.iter().map(|item| format!("{}  {}\n", sum(&item.bytes), item.path)).collect();
    items.push(Item { path: SUMS.to_owned(), bytes: sums.into_bytes(), is_program: false });
    items.sort_by(|a, b| a.path.cmp(&b.path));
    // No name and no time of the packing in the header.
    let gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gz);
    for item in &items {
        let mut header = tar::Header::new_ustar();
        header.set_size(item.bytes.len() as u64);
        header.set_mode(if item.is_program { 0o755 } else { 0o644 });
        header.set_mtime(time_s);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{top}/{}", item.path), item.bytes.as_slice())?;
    }
    let mut gz = tar.into_inner()?;
    gz.flush()?;
    gz.finish()
}

/// The SHA-256 of some bytes, in hexadecimal.
#[must_use]
pub fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn items() -> Vec<Item> {
        let item = |path: &str, is_program| Item { path: path.to_owned(), bytes: path.into(), is_program };
        vec![item("minidvodbcopy", true), item("README.md", false), item("completions/x.bash", false)]
    }

    #[test]
    fn the_same_files_in_any_order_give_the_same_tar() {
        let one = pack("x-1", items(), 1_000_000_000).unwrap();
        let mut other = items();
        other.reverse();
        assert_eq!(one, pack("x-1", other, 1_000_000_000).unwrap());
        assert_ne!(one, pack("x-1", items(), 1_000_000_001).unwrap());
    }

    #[test]
    fn the_real_tar_unpacks_it_and_the_real_sha256sum_finds_every_sum_right() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar.gz");
        std::fs::write(&file, pack("x-1", items(), 1_000_000_000).unwrap()).unwrap();
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = run(Command::new("tar").args(["-tvzf"]).arg(&file));
        assert!(listed.contains("-rwxr-xr-x 0/0"), "{listed}");
        let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(names, ["x-1/README.md", "x-1/SHA256SUMS", "x-1/completions/x.bash", "x-1/minidvodbcopy"]);
        run(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(dir.path()));
        let checked = run(Command::new("sha256sum").args(["-c", SUMS]).current_dir(dir.path().join("x-1")));
        assert_eq!(checked.lines().filter(|line| line.ends_with(": OK")).count(), 3, "{checked}");
    }
}
