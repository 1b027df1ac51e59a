//! What `df -Pk`, `df -Pi` and `stat -f` print.
//!
//! Invariant: pure; takes bytes; tested on captured output of GNU df. Anything else than one whole line with
//! numbers where they belong is refused.

use crate::model::{FileSystem, Inodes, Room, used_percent};

/// A line of `df -P`: what lies between the device and the mount point.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    source: String,
    total: u64,
    used: u64,
    free: u64,
    /// As printed; none for `-`.
    percent: Option<u8>,
    mount_point: String,
}

/// The room and the identity of a file system from the three outputs.
pub(super) fn parse(df_k: &[u8], df_i: &[u8], stat_f: &[u8]) -> Result<(Room, FileSystem), String> {
    let bytes = parse_df(df_k)?;
    let inodes = parse_df(df_i)?;
    let (id, block_bytes, kind) = parse_stat(stat_f)?;
    let kib = |blocks: u64| blocks.saturating_mul(1024);
    let room = Room {
        total_bytes: kib(bytes.total),
        free_bytes: kib(bytes.free),
        used_percent: bytes.percent.unwrap_or_else(|| used_percent(bytes.used, bytes.free)),
        inodes: (inodes.total > 0).then_some(Inodes { total: inodes.total, free: inodes.free }),
        block_bytes,
    };
    let file_system = FileSystem { mount_point: bytes.mount_point, source: bytes.source, kind, id };
    Ok((room, file_system))
}

fn parse_df(output: &[u8]) -> Result<Line, String> {
    let text = String::from_utf8_lossy(output);
    let refused = |why: &str| format!("df printed {why}: {}", text.trim().escape_debug());
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let [header, line] = lines[..] else { return Err(refused("not a heading and one line")) };
    if !header.starts_with("Filesystem") {
        return Err(refused("no heading"));
    }
    candidates(line).pop().ok_or_else(|| refused("no numbers where they belong"))
}

/// Every way to read a line as DEVICE TOTAL USED FREE PERCENT MOUNT: device and mount point may have blanks
/// and numbers of their own. The real one is the last, since a mount point of digits and a `%` sign, in
/// that form, is not known to exist, while devices such as `//filer/share 1 2 3 4% /x` may.
fn candidates(line: &str) -> Vec<Line> {
    let mut words = Vec::new();
    let mut at = 0;
    for word in line.split(' ') {
        if !word.is_empty() {
            words.push((at, word));
        }
        at += word.len() + 1;
    }
    let number = |index: usize| words.get(index).and_then(|(_, word)| word.parse::<u64>().ok());
    let mut lines = Vec::new();
    for first in 1..words.len() {
        let (Some(total), Some(used), Some(free)) = (number(first), number(first + 1), number(first + 2))
        else {
            continue;
        };
        let Some(&(_, percent_word)) = words.get(first + 3) else { continue };
        let percent = match percent_word.strip_suffix('%') {
            Some(digits) => match digits.parse::<u8>() {
                Ok(percent) => Some(percent),
                Err(_) => continue,
            },
            None if percent_word == "-" => None,
            None => continue,
        };
        let Some(&(mount_at, _)) = words.get(first + 4) else { continue };
        let source = line[..words[first].0].trim_end().to_owned();
        let mount_point = line[mount_at..].to_owned();
        if mount_point.starts_with('/') {
            lines.push(Line { source, total, used, free, percent, mount_point });
        }
    }
    lines
}

/// `stat -f -c '%i %S %T'`: id in hexadecimal, block size, kind.
fn parse_stat(output: &[u8]) -> Result<(String, u64, String), String> {
    let text = String::from_utf8_lossy(output);
    let refused = || format!("stat printed no file system: {}", text.trim().escape_debug());
    let mut words = text.trim().splitn(3, ' ');
    let id = words
        .next()
        .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(refused)?;
    let block = words
        .next()
        .and_then(|block| block.parse::<u64>().ok())
        .filter(|&block| block > 0)
        .ok_or_else(refused)?;
    let kind = words.next().filter(|kind| !kind.is_empty() && !kind.contains('\n')).ok_or_else(refused)?;
    Ok((id.to_owned(), block, kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn captured_output_is_read() {
        let folder = format!("{}/testdata/df", env!("CARGO_MANIFEST_DIR"));
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let mut table = String::new();
        for path in paths {
            let bytes = std::fs::read(&path).unwrap();
            let body: Vec<&[u8]> = bytes.splitn(3, |&b| b == b'\n').collect();
            let parts: Vec<Vec<u8>> =
                body[2].split(|&b| b == b'\n').fold(vec![Vec::new()], |mut parts, line| {
                    if line == b"--" {
                        parts.push(Vec::new());
                    } else if let Some(part) = parts.last_mut() {
                        part.extend_from_slice(line);
                        part.push(b'\n');
                    }
                    parts
                });
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            match parse(&parts[0], &parts[1], &parts[2]) {
                Ok((room, fs)) => writeln!(
                    table,
                    "{name}: {fs}, id {}; {} % of {} used, {} free, blocks of {}, inodes {}",
                    fs.id,
                    room.used_percent,
                    room.total_bytes,
                    room.free_bytes,
                    room.block_bytes,
                    room.inodes.map_or("not counted".to_owned(), |inodes| format!(
                        "{}/{}",
                        inodes.free, inodes.total
                    )),
                ),
                Err(why) => writeln!(table, "{name}: refused: {why}"),
            }
            .unwrap();
        }
        let expected =
            expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/outcomes-df.txt")];
        expected.assert_eq(&table);
    }

    #[test]
    fn what_is_not_df_is_refused() {
        for bad in [
            "",
            "Filesystem\n",
            "a b\nc d\n",
            "Filesystem x\n/dev/x 1 2 3 400% /\n",
            "Filesystem x\n1 2 3 4% x\n",
        ] {
            assert!(parse_df(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
