//! Tells whether a program is static, from its ELF file alone.
//!
//! Invariant: a file is called static only when its program headers could be read, none asks for an
//! interpreter, and its dynamic section, where it has one, names no library. Nothing is started.

/// Why a file is not a static program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStatic {
    /// Not a 64-bit little-endian ELF file, or one whose tables lie outside of it.
    Unreadable(&'static str),
    /// It is loaded by this program.
    Interpreter(String),
    /// It needs these libraries.
    Libraries(Vec<String>),
}

impl std::fmt::Display for NotStatic {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotStatic::Unreadable(reason) => write!(out, "cannot be judged: {reason}"),
            NotStatic::Interpreter(name) => write!(out, "not static: it is loaded by {name}"),
            NotStatic::Libraries(names) => write!(out, "not static: it needs {}", names.join(", ")),
        }
    }
}

impl std::error::Error for NotStatic {}

/// Checks that the program in `file` is static.
///
/// # Errors
/// When it is not, or cannot be judged.
pub fn check_static(file: &[u8]) -> Result<(), NotStatic> {
    let segments = read_segments(file).map_err(NotStatic::Unreadable)?;
    if let Some(interpreter) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        return Err(NotStatic::Interpreter(text_at(file, interpreter.offset)));
    }
    let libraries = read_libraries(file, &segments).map_err(NotStatic::Unreadable)?;
    if libraries.is_empty() { Ok(()) } else { Err(NotStatic::Libraries(libraries)) }
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_bytes: u64,
}

fn read_segments(file: &[u8]) -> Result<Vec<Segment>, &'static str> {
    if file.len() < HEADER_BYTES || !file.starts_with(b"\x7fELF") {
        return Err("not an ELF file");
    }
    if file[4..6] != [2, 1] {
        return Err("not a 64-bit little-endian ELF file");
    }
    let cut = "its program headers lie outside of the file";
    let table = read_u64(file, 0x20).ok_or(cut)?;
    let entry_bytes = u64::from(read_u16(file, 0x36).ok_or(cut)?);
    let count = u64::from(read_u16(file, 0x38).ok_or(cut)?);
    if count == 0 || entry_bytes != SEGMENT_BYTES as u64 {
        return Err("no program headers, so not a program");
    }
    (0..count)
        .map(|index| read_segment(file, table.checked_add(index * entry_bytes)?))
        .collect::<Option<_>>()
        .ok_or(cut)
}

fn read_segment(file: &[u8], at: u64) -> Option<Segment> {
    Some(Segment {
        kind: read_u32(file, at)?,
        offset: read_u64(file, at.checked_add(8)?)?,
        address: read_u64(file, at.checked_add(16)?)?,
        file_bytes: read_u64(file, at.checked_add(32)?)?,
    })
}

fn read_libraries(file: &[u8], segments: &[Segment]) -> Result<Vec<String>, &'static str> {
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let entries = read_dynamic(file, dynamic).ok_or("its dynamic section lies outside of the file")?;
    let strings = entries
        .iter()
        .find(|(tag, _)| *tag == DT_STRTAB)
        .and_then(|(_, address)| offset_of(*address, segments));
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    Ok(needed
        .map(|(_, name)| match strings.and_then(|start| start.checked_add(*name)) {
            Some(at) => text_at(file, at),
            None => "a library without a name".to_owned(),
        })
        .collect())
}

/// Tags and values up to the end mark.
fn read_dynamic(file: &[u8], dynamic: &Segment) -> Option<Vec<(u64, u64)>> {
    let mut entries = Vec::new();
    for index in 0..dynamic.file_bytes / 16 {
        let at = dynamic.offset.checked_add(index * 16)?;
        let entry = (read_u64(file, at)?, read_u64(file, at.checked_add(8)?)?);
        if entry.0 == DT_NULL {
            break;
        }
        entries.push(entry);
    }
    Some(entries)
}

/// Where in the file the byte of this address lies.
fn offset_of(address: u64, segments: &[Segment]) -> Option<u64> {
    segments.iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let within = address.checked_sub(segment.address)?;
        if within < segment.file_bytes { segment.offset.checked_add(within) } else { None }
    })
}

fn text_at(file: &[u8], at: u64) -> String {
    let bytes = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn read_bytes<const N: usize>(file: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn read_u16(file: &[u8], at: u64) -> Option<u16> {
    read_bytes(file, at).map(u16::from_le_bytes)
}

fn read_u32(file: &[u8], at: u64) -> Option<u32> {
    read_bytes(file, at).map(u32::from_le_bytes)
}

fn read_u64(file: &[u8], at: u64) -> Option<u64> {
    read_bytes(file, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_dynamic_program_is_refused_with_its_loader() {
        let shell = fs::read("/bin/sh").unwrap();
        let refusal = check_static(&shell).unwrap_err();
        let NotStatic::Interpreter(loader) = &refusal else { panic!("{refusal}") };
        assert!(loader.starts_with("/lib"), "{loader}");
        assert_eq!(refusal.to_string(), format!("not static: it is loaded by {loader}"));
    }

    #[test]
    fn a_library_is_refused_with_what_it_needs() {
        // Without its interpreter's header the shell looks like a library, and still names what it needs.
        let mut shell = fs::read("/bin/sh").unwrap();
        let table = read_u64(&shell, 0x20).unwrap();
        let count = u64::from(read_u16(&shell, 0x38).unwrap());
        for at in (0..count).map(|index| table + index * SEGMENT_BYTES as u64) {
            if read_u32(&shell, at) == Some(PT_INTERP) {
                shell[at as usize..at as usize + 4].fill(0);
            }
        }
        let NotStatic::Libraries(names) = check_static(&shell).unwrap_err() else { panic!() };
        assert!(names.iter().any(|name| name.starts_with("libc.")), "{names:?}");
    }

    #[test]
    fn this_very_test_is_static_as_the_workspace_is_configured() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check_static(&own), Ok(()));
    }

    #[test]
    fn what_is_no_program_cannot_be_judged() {
        let own = fs::read("/bin/sh").unwrap();
        for bytes in [&b""[..], b"#!/bin/sh\n", &[0x7f; 64], &own[..64], &own[..100]] {
            assert!(matches!(check_static(bytes), Err(NotStatic::Unreadable(_))), "{} bytes", bytes.len());
        }
    }
}
