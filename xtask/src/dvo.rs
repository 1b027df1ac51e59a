//! Makes small imitations of DVO databases ("catdirs"): `Images.dat`, `Photcodes.dat`, `SkyTable.fits`, and
//! region folders such as `n0730` that hold `0148.cpm`, `.cpt`, `.cps` and `.cpn`.
//!
//! Invariant: every file is valid FITS with the layout of its kind, and the same call with the same seed makes
//! the same tree, names, bytes and modification times alike, all of them in the past. The structure is honest,
//! the numbers in it are noise that does not compress.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use crate::fits::{self, BLOCK_BYTES, Card, Column, Form, Table, Value, card};
use crate::noise::Noise;
use crate::tree;

/// How large a database to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Region folders, 1 to 24.
    pub regions: u32,
    /// Files in each region folder: of every four, one `.cpm`, `.cpt`, `.cps` and `.cpn`.
    pub files_per_region: u32,
    /// Rows of an average `.cpt`; a `.cpm` holds three times as many.
    pub rows_per_file: u32,
}

impl Shape {
    /// 19 files, about 190 KB: the usual one in tests.
    pub const fn tiny() -> Shape {
        Shape { regions: 2, files_per_region: 8, rows_per_file: 4 }
    }

    /// 483 files, about 6 MB: many files, so that there is a middle to interrupt.
    pub const fn wide() -> Shape {
        Shape { regions: 24, files_per_region: 20, rows_per_file: 40 }
    }

    /// 11 files, about 60 MB: few large files, so that there is the middle of a file to interrupt.
    pub const fn heavy() -> Shape {
        Shape { regions: 2, files_per_region: 4, rows_per_file: 75_000 }
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    /// Regular files.
    pub files: u64,
    /// Their sizes added up.
    pub bytes: u64,
}

/// Makes a database in `dir`, which is created with its parents where it is missing.
///
/// # Errors
/// When a file is already there, cannot be written, or the shape has not 1 to 24 regions.
pub fn make(dir: &Utf8Path, shape: Shape, seed: u64) -> io::Result<Made> {
    let mut noise = Noise::new(seed);
    let sizes = |kind: &Kind| Size::Rows(varied(u64::from(shape.rows_per_file) * kind.weight, &mut noise));
    let planned = plan(u64::from(shape.regions), u64::from(shape.files_per_region), sizes)?;
    write_all(dir, &planned, seed)
}

/// Makes a database of exactly `files` files and about `bytes` bytes in 24 regions, for benchmarks.
///
/// # Errors
/// As [`make`], and when `files` is less than 27.
pub fn make_many_small_files(dir: &Utf8Path, files: u64, bytes: u64, seed: u64) -> io::Result<Made> {
    make_spread(dir, REGIONS, files, bytes, seed)
}

/// Makes a database of exactly `files` files and about `bytes` bytes in two regions, for benchmarks.
///
/// # Errors
/// As [`make`], and when `files` is less than 5.
pub fn make_big_files(dir: &Utf8Path, files: u64, bytes: u64, seed: u64) -> io::Result<Made> {
    make_spread(dir, 2, files, bytes, seed)
}

/// Makes a database of about `bytes` bytes as a survey leaves it, for benchmarks: 24 regions with 28 tables each.
/// The sky is crowded here and empty there, so the number of objects differs from part to part by up to a factor
/// of 1000, and most of the bytes are in few of the files.
///
/// # Errors
/// As [`make`].
pub fn make_mix(dir: &Utf8Path, bytes: u64, seed: u64) -> io::Result<Made> {
    const PARTS_PER_REGION: u64 = 7;
    const STEPS: u64 = 1 << 20;
    let mut noise = Noise::new(seed);
    let crowds: Vec<f64> = (0..REGIONS * PARTS_PER_REGION)
        .map(|_| 1000_f64.powf(noise.below(STEPS) as f64 / STEPS as f64))
        .collect();
    let object_bytes: u64 = TABLES.iter().map(|kind| kind.weight * kind.table.row_bytes()).sum();
    let objects = bytes as f64 / object_bytes as f64;
    let scale = objects / crowds.iter().sum::<f64>();
    let mut crowds = crowds.iter().flat_map(|crowd| [crowd; TABLES.len()]);
    let sizes = |kind: &Kind| {
        let crowd = crowds.next().copied().unwrap_or_default();
        Size::Rows((crowd * scale * kind.weight as f64) as u64)
    };
    let planned = plan(REGIONS, PARTS_PER_REGION * TABLES.len() as u64, sizes)?;
    write_all(dir, &planned, seed)
}

/// Rewrites one table of the database at `dir` with more rows, as an update of the source would, and returns
/// its path. The file keeps its inode; its size and its times change.
///
/// # Errors
/// When `dir` holds no table, or it cannot be written.
pub fn update(dir: &Utf8Path, seed: u64) -> io::Result<Utf8PathBuf> {
    let path = first_measure_table(dir)?;
    rewrite(&path, &MEASURE, &mut Noise::new(seed))?;
    Ok(path)
}

/// Rewrites tables here and there in the database at `dir` in the same way, until about `bytes` bytes are others,
/// and returns what was written. Which tables they are depends on the seed.
///
/// # Errors
/// When `dir` cannot be read, or a table cannot be written.
pub fn update_here_and_there(dir: &Utf8Path, bytes: u64, seed: u64) -> io::Result<Made> {
    let mut noise = Noise::new(seed);
    let mut tables: Vec<_> = tree::list(dir)?
        .into_iter()
        .filter_map(|entry| {
            let path = dir.join(Utf8Path::from_path(&entry.path)?);
            let kind = TABLES.into_iter().find(|kind| path.extension() == Some(kind.name))?;
            Some((path, kind, entry.bytes))
        })
        .collect();
    let mut made = Made::default();
    // A rest of a tenth is left alone: it would be filled up with the smallest tables there are.
    while !tables.is_empty() && made.bytes < bytes - bytes / 10 {
        let (path, kind, old_bytes) = tables.swap_remove(noise.below(tables.len() as u64) as usize);
        if made.bytes + old_bytes <= bytes {
            made.bytes += rewrite(&path, kind, &mut noise).map_err(|error| named(&path, &error))?;
            made.files += 1;
        }
    }
    Ok(made)
}

/// Changes one byte in the middle of the file and leaves its size and modification time as they were: the
/// damage that a comparison by size and time misses.
///
/// # Errors
/// When the file cannot be read or written, or is empty.
pub fn flip_byte(path: &Utf8Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let metadata = file.metadata()?;
    let middle = metadata.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[byte[0] ^ 0x20], middle)?;
    file.set_modified(metadata.modified()?)
}

const REGIONS: u64 = 24;
const FILES_OF_A_DATABASE: u64 = 3;

/// A kind of file: its name or suffix, what its header says, its table, and its rows for each object.
struct Kind {
    name: &'static str,
    count_keyword: &'static str,
    table: Table,
    weight: u64,
}

const IMAGES: Kind = Kind {
    name: "Images.dat",
    count_keyword: "NIMAGES",
    table: Table {
        extname: "DVO_IMAGE_PS1_V4",
        columns: &[
            column("NAME", Form::Text { width: 117, value: image_name }),
            column("CRVAL1", Form::Double),
            column("CRVAL2", Form::Double),
            column("TZERO", Form::Int),
            column("NSTAR", Form::Int),
            column("SECZ", Form::Float),
            column("EXPTIME", Form::Float),
            column("PHOTCODE", Form::Short),
            column("IMAGE_ID", Form::Int),
        ],
    },
    weight: 1,
};

const PHOTCODES: Kind = Kind {
    name: "Photcodes.dat",
    count_keyword: "NCODES",
    table: Table {
        extname: "DVO_PHOTCODE",
        columns: &[
            column("NAME", Form::Text { width: 32, value: photcode_name }),
            column("CODE", Form::Short),
            column("TYPE", Form::Short),
            column("C_LAM", Form::Float),
            column("K", Form::Float),
        ],
    },
    weight: 1,
};

const SKY_TABLE: Kind = Kind {
    name: "SkyTable.fits",
    count_keyword: "NREGIONS",
    table: Table {
        extname: "SKY_REGION",
        columns: &[
            column("R_MIN", Form::Double),
            column("R_MAX", Form::Double),
            column("D_MIN", Form::Double),
            column("D_MAX", Form::Double),
            column("INDEX", Form::Int),
            column("DEPTH", Form::Short),
            column("NAME", Form::Text { width: 32, value: sky_region_name }),
        ],
    },
    weight: 1,
};

const AVERAGE: Kind = Kind {
    name: "cpt",
    count_keyword: "NSTARS",
    table: Table {
        extname: "DVO_AVERAGE_PS1_V4",
        columns: &[
            column("RA", Form::Double),
            column("DEC", Form::Double),
            column("RA_ERR", Form::Float),
            column("DEC_ERR", Form::Float),
            column("U_RA", Form::Float),
            column("U_DEC", Form::Float),
            column("NMEASURE", Form::Short),
            column("OFF_MEASURE", Form::Int),
            column("FLAGS", Form::Int),
            column("OBJ_ID", Form::Int),
            column("EXT_ID", Form::Long),
        ],
    },
    weight: 1,
};

const MEASURE: Kind = Kind {
    name: "cpm",
    count_keyword: "NMEAS",
    table: Table {
        extname: "DVO_MEASURE_PS1_V4",
        columns: &[
            column("D_RA", Form::Float),
            column("D_DEC", Form::Float),
            column("MAG", Form::Float),
            column("MAG_ERR", Form::Float),
            column("M_CAL", Form::Float),
            column("TIME", Form::Int),
            column("AVE_REF", Form::Int),
            column("DET_ID", Form::Int),
            column("IMAGE_ID", Form::Int),
            column("PHOTCODE", Form::Short),
            column("X_CCD", Form::Float),
            column("Y_CCD", Form::Float),
            column("SKY_FLUX", Form::Float),
            column("DB_FLAGS", Form::Int),
        ],
    },
    weight: 3,
};

const SECFILT: Kind = Kind {
    name: "cps",
    count_keyword: "NSECFILT",
    table: Table {
        extname: "DVO_SECFILT_PS1_V4",
        columns: &[
            column("MAG", Form::Float),
            column("MAG_ERR", Form::Float),
            column("MAG_CHI", Form::Float),
            column("FLAGS", Form::Int),
            column("NCODE", Form::Short),
            column("NUSED", Form::Short),
        ],
    },
    weight: 5,
};

const MISSING: Kind = Kind {
    name: "cpn",
    count_keyword: "NMISS",
    table: Table {
        extname: "DVO_MISSING",
        columns: &[column("IMAGE_ID", Form::Int), column("AVE_REF", Form::Int)],
    },
    weight: 1,
};

/// The tables of one part of the sky.
const TABLES: [&Kind; 4] = [&MEASURE, &AVERAGE, &SECFILT, &MISSING];

const fn column(name: &'static str, form: Form) -> Column {
    Column { name, form }
}

fn image_name(row: u64) -> String {
    let chip = row % 60;
    format!("o{:04}g{:04}o.XY{}{}.fits", 5400 + row / 30_000, row / 60 % 500, chip % 8, chip / 8)
}

fn photcode_name(row: u64) -> String {
    let band = ["g", "r", "i", "z", "y"][(row % 5) as usize];
    format!("GPC1.{band}.XY{:02}", row / 5)
}

fn sky_region_name(row: u64) -> String {
    format!("{}/{:04}", region_name(row % REGIONS), 1 + row)
}

/// Bands of 7.5 degrees: `n0000`, `s0000`, `n0730`, `s0730`, ... `n8230`, `s8230`.
fn region_name(number: u64) -> String {
    let side = if number.is_multiple_of(2) { 'n' } else { 's' };
    let minutes = number / 2 * 450;
    format!("{side}{:02}{:02}", minutes / 60, minutes % 60)
}

/// How large a file is to be.
enum Size {
    Rows(u64),
    Bytes(u64),
}

/// A file still to be written.
struct Planned {
    path: Utf8PathBuf,
    kind: &'static Kind,
    size: Size,
}

/// All files of a database, `files_per_region` in each of `regions` folders.
fn plan(
    regions: u64,
    files_per_region: u64,
    mut size_of: impl FnMut(&Kind) -> Size,
) -> io::Result<Vec<Planned>> {
    if !(1..=REGIONS).contains(&regions) {
        return Err(invalid(format!("a database has 1 to {REGIONS} regions, not {regions}")));
    }
    let mut planned = plan_top();
    for region in 0..regions {
        for number in 0..files_per_region {
            let kind = TABLES[(number % TABLES.len() as u64) as usize];
            let path = format!("{}/{:04}.{}", region_name(region), 148 + number / 4, kind.name);
            planned.push(Planned { path: path.into(), kind, size: size_of(kind) });
        }
    }
    Ok(planned)
}

fn plan_top() -> Vec<Planned> {
    let top = [(&IMAGES, 60), (&PHOTCODES, 25), (&SKY_TABLE, 48)];
    top.map(|(kind, rows)| Planned { path: kind.name.into(), kind, size: Size::Rows(rows) }).into()
}

/// Exactly `files` files whose sizes add up to about `bytes`: each takes its varied share of what is left.
fn make_spread(dir: &Utf8Path, regions: u64, files: u64, bytes: u64, seed: u64) -> io::Result<Made> {
    let least = FILES_OF_A_DATABASE + regions;
    if files < least {
        return Err(invalid(format!(
            "a database of {regions} regions has at least {least} files, not {files}"
        )));
    }
    let in_regions = files - FILES_OF_A_DATABASE;
    let mut planned = plan(regions, in_regions.div_ceil(regions), |_| Size::Rows(0))?;
    let surplus = planned.len() as u64 - files;
    drop_last_of_regions(&mut planned, surplus);
    let mut noise = Noise::new(seed);
    let mut left = bytes;
    let count = planned.len() as u64;
    for (index, file) in planned.iter_mut().enumerate().skip(FILES_OF_A_DATABASE as usize) {
        let share = left / (count - index as u64);
        let wanted = if index as u64 + 1 == count { share } else { varied(share, &mut noise) };
        file.size = Size::Bytes(wanted);
        left = left.saturating_sub(wanted);
    }
    write_all(dir, &planned, seed)
}

/// Takes the last file out of each of the last `surplus` folders.
fn drop_last_of_regions(planned: &mut Vec<Planned>, surplus: u64) {
    let mut index = planned.len();
    for _ in 0..surplus {
        index -= 1;
        let folder = planned[index].path.parent().map(Utf8Path::to_owned);
        planned.remove(index);
        while index > 0 && planned[index - 1].path.parent() == folder.as_deref() {
            index -= 1;
        }
    }
}

/// `mean`, give or take a quarter.
fn varied(mean: u64, noise: &mut Noise) -> u64 {
    mean - mean / 4 + noise.below(mean / 2 + 1)
}

fn write_all(dir: &Utf8Path, planned: &[Planned], seed: u64) -> io::Result<Made> {
    fs::create_dir_all(dir)?;
    let mut made = Made::default();
    let mut folders = vec![dir.to_owned()];
    for (index, file) in planned.iter().enumerate() {
        let path = dir.join(&file.path);
        if let Some(folder) = path.parent()
            && folders.last().is_none_or(|last| last != folder)
            && folder != dir
        {
            fs::create_dir(folder).map_err(|error| named(folder, &error))?;
            folders.push(folder.to_owned());
        }
        let mut noise = Noise::branch(seed, index as u64);
        made.bytes += write_one(&path, file, &mut noise).map_err(|error| named(&path, &error))?;
        made.files += 1;
    }
    for (index, folder) in folders.iter().enumerate().rev() {
        set_past_time(folder, &mut Noise::branch(!seed, index as u64))?;
    }
    Ok(made)
}

fn write_one(path: &Utf8Path, file: &Planned, noise: &mut Noise) -> io::Result<u64> {
    let kind = file.kind;
    let rows = match file.size {
        Size::Rows(rows) => rows,
        Size::Bytes(bytes) => {
            let header_bytes = fits::empty_bytes(&primary_cards(kind, 0), &kind.table);
            bytes.saturating_sub(header_bytes + BLOCK_BYTES / 2) / kind.table.row_bytes()
        }
    };
    let mut out = BufWriter::new(File::create_new(path)?);
    let bytes = fits::write(&mut out, &primary_cards(kind, rows), &kind.table, rows, noise)?;
    out.flush()?;
    set_past_time(path, noise)?;
    Ok(bytes)
}

/// Writes a table anew with a few more rows, and returns its size. The file keeps its inode.
fn rewrite(path: &Utf8Path, kind: &Kind, noise: &mut Noise) -> io::Result<u64> {
    let row_bytes = kind.table.row_bytes();
    let rows = fs::metadata(path)?.len() / row_bytes + 1 + BLOCK_BYTES / row_bytes;
    let mut out = BufWriter::new(File::create(path)?);
    let bytes = fits::write(&mut out, &primary_cards(kind, rows), &kind.table, rows, noise)?;
    out.flush()?;
    Ok(bytes)
}

fn primary_cards(kind: &Kind, rows: u64) -> Vec<Card> {
    vec![
        card("CATMODE", Value::Text("SPLIT".to_owned())),
        card("FORMAT", Value::Text("PS1_V4".to_owned())),
        card("SORTED", Value::Flag(true)),
        card(kind.count_keyword, Value::Number(rows)),
    ]
}

/// Some moment of the years 2011 to 2014, with nanoseconds, so that a lost time shows.
fn set_past_time(path: &Utf8Path, noise: &mut Noise) -> io::Result<()> {
    let seconds = 1_300_000_000 + noise.below(100_000_000);
    let nanoseconds = noise.below(1_000_000_000) as u32;
    File::open(path)?.set_modified(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
}

fn first_measure_table(dir: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let path = dir.join(region_name(0)).join(format!("0148.{}", MEASURE.name));
    if path.is_file() {
        Ok(path)
    } else {
        Err(invalid(format!("{path}: not there, so {dir} was not made here")))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn named(path: &Utf8Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Keywords and values of one header, and how many bytes it takes.
    fn read_header(bytes: &[u8]) -> (BTreeMap<String, String>, Vec<String>, usize) {
        let mut cards = BTreeMap::new();
        let mut order = Vec::new();
        for (index, card) in bytes.chunks_exact(80).enumerate() {
            let card = std::str::from_utf8(card).unwrap();
            assert!(card.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{card:?}");
            let keyword = card[..8].trim_end().to_owned();
            if keyword == "END" {
                assert!(card[3..].trim().is_empty());
                let end = ((index + 1) * 80).next_multiple_of(2880);
                assert!(bytes[(index + 1) * 80..end].iter().all(|byte| *byte == b' '));
                return (cards, order, end);
            }
            assert_eq!(&card[8..10], "= ", "{card:?}");
            let value = card[10..].trim().trim_matches('\'').trim_end().to_owned();
            order.push(keyword.clone());
            assert!(cards.insert(keyword.clone(), value).is_none(), "{keyword} twice");
        }
        panic!("a header without END");
    }

    fn number(cards: &BTreeMap<String, String>, keyword: &str) -> usize {
        cards[keyword].parse().unwrap_or_else(|error| panic!("{keyword}: {error}"))
    }

    fn form_bytes(form: &str) -> usize {
        let (count, letter) = form.split_at(form.len() - 1);
        let each = match letter {
            "A" => 1,
            "I" => 2,
            "J" | "E" => 4,
            "K" | "D" => 8,
            other => panic!("unknown form {other}"),
        };
        count.parse::<usize>().unwrap() * each
    }

    fn check_fits(path: &Utf8Path) {
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes.len() % 2880, 0, "{path}");
        let (primary, order, primary_bytes) = read_header(&bytes);
        assert_eq!(order[..4], ["SIMPLE", "BITPIX", "NAXIS", "EXTEND"], "{path}");
        assert_eq!((primary["SIMPLE"].as_str(), primary["NAXIS"].as_str()), ("T", "0"));
        let (table, order, table_bytes) = read_header(&bytes[primary_bytes..]);
        let mandatory = ["XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS"];
        assert_eq!(order[..8], mandatory, "{path}");
        assert_eq!(table["XTENSION"], "BINTABLE");
        let fields = number(&table, "TFIELDS");
        let widths: usize = (1..=fields).map(|field| form_bytes(&table[&format!("TFORM{field}")])).sum();
        assert!((1..=fields).all(|field| table.contains_key(&format!("TTYPE{field}"))));
        assert_eq!(widths, number(&table, "NAXIS1"), "{path}");
        let data_bytes = number(&table, "NAXIS1") * number(&table, "NAXIS2") + number(&table, "PCOUNT");
        let start = primary_bytes + table_bytes;
        assert_eq!(bytes.len(), start + data_bytes.next_multiple_of(2880), "{path}");
        assert!(bytes[start + data_bytes..].iter().all(|byte| *byte == 0), "{path}: padding");
    }

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        (temp, path)
    }

    fn check_all(dir: &Utf8Path, made: Made) {
        let files: Vec<_> =
            tree::list(dir).unwrap().into_iter().filter(|entry| entry.kind == tree::Kind::File).collect();
        assert_eq!(files.len() as u64, made.files);
        assert_eq!(files.iter().map(|file| file.bytes).sum::<u64>(), made.bytes);
        for file in files {
            check_fits(&dir.join(Utf8Path::from_path(&file.path).unwrap()));
        }
        for name in ["Images.dat", "Photcodes.dat", "SkyTable.fits"] {
            assert!(dir.join(name).is_file(), "{name}");
        }
    }

    #[test]
    fn every_file_of_every_shape_is_valid_fits() {
        for (shape, files, bytes) in [(Shape::tiny(), 19, 190_000), (Shape::wide(), 483, 6_000_000)] {
            let (_temp, dir) = temp();
            let made = make(&dir.join("ThreePi.1"), shape, 7).unwrap();
            check_all(&dir.join("ThreePi.1"), made);
            assert_eq!(made.files, files);
            assert!(made.bytes.abs_diff(bytes) < bytes / 4, "{} bytes", made.bytes);
        }
    }

    #[test]
    fn the_heavy_shape_is_as_large_as_it_says() {
        let (_temp, dir) = temp();
        let made = make(&dir, Shape::heavy(), 7).unwrap();
        assert_eq!(made.files, 11);
        assert!(made.bytes.abs_diff(60_000_000) < 15_000_000, "{} bytes", made.bytes);
    }

    #[test]
    fn a_spread_database_has_the_files_and_bytes_asked_for() {
        for (files, bytes) in [(400, 8_000_000), (403, 12_000_000), (27, 1_000_000)] {
            let (_temp, dir) = temp();
            let made = make_many_small_files(&dir, files, bytes, 3).unwrap();
            check_all(&dir, made);
            assert_eq!(made.files, files);
            assert!(made.bytes.abs_diff(bytes) < bytes / 10, "{} bytes of {bytes}", made.bytes);
        }
        let (_temp, dir) = temp();
        let made = make_big_files(&dir, 23, 20_000_000, 3).unwrap();
        check_all(&dir, made);
        assert_eq!(made.files, 23);
        assert!(made.bytes.abs_diff(20_000_000) < 500_000, "{} bytes", made.bytes);
    }

    #[test]
    fn a_mix_has_the_bytes_asked_for_and_most_of_them_in_few_files() {
        let (_temp, dir) = temp();
        let made = make_mix(&dir, 40_000_000, 5).unwrap();
        check_all(&dir, made);
        assert_eq!(made.files, 675);
        assert!(made.bytes.abs_diff(40_000_000) < 8_000_000, "{} bytes", made.bytes);
        let mut sizes: Vec<u64> = tree::list(&dir).unwrap().iter().map(|entry| entry.bytes).collect();
        sizes.sort_unstable();
        let largest: u64 = sizes.iter().rev().take(67).sum();
        assert!(largest > made.bytes / 2, "a tenth of the files holds {largest} of {} bytes", made.bytes);
    }

    #[test]
    fn an_update_here_and_there_changes_the_share_asked_for() {
        let (_temp, dir) = temp();
        let made = make_mix(&dir.join("a"), 40_000_000, 5).unwrap();
        make_mix(&dir.join("b"), 40_000_000, 5).unwrap();
        let changed = update_here_and_there(&dir.join("a"), made.bytes / 100, 9).unwrap();
        let differences = tree::differences(dir.join("a"), dir.join("b")).unwrap();
        let tables: BTreeMap<_, _> = differences
            .iter()
            .filter_map(|line| line.split_once(':'))
            .filter(|(path, _)| dir.join("a").join(path).is_file())
            .collect();
        assert_eq!(tables.len() as u64, changed.files, "{differences:?}");
        assert!(changed.bytes.abs_diff(made.bytes / 100) < made.bytes / 500, "{} bytes", changed.bytes);
        for path in tables.keys() {
            check_fits(&dir.join("a").join(path));
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_tree_and_another_seed_another_one() {
        let (_temp, dir) = temp();
        for (name, seed) in [("a", 1), ("b", 1), ("c", 2)] {
            make(&dir.join(name), Shape::tiny(), seed).unwrap();
        }
        assert_eq!(tree::differences(dir.join("a"), dir.join("b")).unwrap(), Vec::<String>::new());
        assert!(!tree::differences(dir.join("a"), dir.join("c")).unwrap().is_empty());
    }

    #[test]
    fn an_updated_database_is_still_valid_and_differs() {
        let (_temp, dir) = temp();
        let made = make(&dir.join("a"), Shape::tiny(), 1).unwrap();
        make(&dir.join("b"), Shape::tiny(), 1).unwrap();
        let changed = update(&dir.join("a"), 9).unwrap();
        check_fits(&changed);
        let differences = tree::differences(dir.join("a"), dir.join("b")).unwrap();
        assert!(differences.iter().all(|line| line.contains("n0000/0148.cpm")), "{differences:?}");
        assert!(fs::metadata(changed).unwrap().len() < made.bytes);
    }

    #[test]
    fn a_flipped_byte_changes_the_contents_alone() {
        let (_temp, dir) = temp();
        make(&dir.join("a"), Shape::tiny(), 1).unwrap();
        make(&dir.join("b"), Shape::tiny(), 1).unwrap();
        flip_byte(&dir.join("a/Images.dat")).unwrap();
        let differences = tree::differences(dir.join("a"), dir.join("b")).unwrap();
        assert_eq!(differences, ["Images.dat: contents differ"]);
    }

    #[test]
    fn a_database_is_never_made_over_another() {
        let (_temp, dir) = temp();
        make(&dir, Shape::tiny(), 1).unwrap();
        assert_eq!(make(&dir, Shape::tiny(), 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let shape = Shape { regions: 25, ..Shape::tiny() };
        assert_eq!(make(&dir, shape, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
