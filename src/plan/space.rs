//! Step 3 of the pass: whether there is room.
//!
//! Invariant: the limit is judged by the number that `df` prints, and before the room; what is counted is
//! what will be allocated, in blocks of the destination's file system.

use crate::faults::{Fault, Met};
use crate::model::{Need, Room};

/// Refuses a file system with more used than the limit: fault 223.
pub fn judge_limit(room: &Room, max_used_percent: u8) -> Result<(), Met> {
    if room.used_percent <= max_used_percent {
        return Ok(());
    }
    Err(Met::new(
        Fault::OverLimit,
        format!("{} % used, the limit is {max_used_percent} %", room.used_percent),
    ))
}

/// Refuses what has no room beside what other running copies still have to send: fault 224.
pub fn judge_room(room: &Room, need: Need, reserved: Need) -> Result<(), Met> {
    let no_room =
        |message: String, is_for_ever: bool| Err(Met { is_for_ever, ..Met::new(Fault::NoRoom, message) });
    if need.bytes > room.total_bytes {
        let message = format!(
            "needs {}, but the whole file system has {}: it can never fit",
            size(need.bytes),
            size(room.total_bytes)
        );
        return no_room(message, true);
    }
    let free = room.free_bytes.saturating_sub(reserved.bytes);
    if need.bytes > free {
        return no_room(
            format!(
                "needs {}, and {} are free{}",
                size(need.bytes),
                size(room.free_bytes),
                taken(reserved.bytes)
            ),
            false,
        );
    }
    let Some(inodes) = room.inodes else { return Ok(()) };
    if need.inodes > inodes.total {
        let message = format!(
            "needs {} inodes, but the whole file system has {}: it can never fit",
            need.inodes, inodes.total
        );
        return no_room(message, true);
    }
    if need.inodes > inodes.free.saturating_sub(reserved.inodes) {
        return no_room(format!("needs {} inodes, and {} are free", need.inodes, inodes.free), false);
    }
    Ok(())
}

fn taken(reserved_bytes: u64) -> String {
    if reserved_bytes == 0 {
        String::new()
    } else {
        format!(", of which other running copies need {}", size(reserved_bytes))
    }
}

fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Inodes;

    const ROOM: Room = Room {
        total_bytes: 1000 * 4096,
        free_bytes: 100 * 4096,
        used_percent: 90,
        inodes: Some(Inodes { total: 1000, free: 50 }),
        block_bytes: 4096,
    };

    #[test]
    fn ninety_seven_passes_and_ninety_eight_does_not() {
        assert!(judge_limit(&Room { used_percent: 97, ..ROOM }, 97).is_ok());
        let met = judge_limit(&Room { used_percent: 98, ..ROOM }, 97).unwrap_err();
        assert_eq!((met.fault, met.message.as_str()), (Fault::OverLimit, "98 % used, the limit is 97 %"));
    }

    #[test]
    fn room_is_bytes_and_inodes_less_what_others_still_send() {
        let need = Need { bytes: 100 * 4096, inodes: 50 };
        assert!(judge_room(&ROOM, need, Need::default()).is_ok());
        let met = judge_room(&ROOM, need, Need { bytes: 1, inodes: 0 }).unwrap_err();
        assert_eq!((met.fault, met.is_for_ever), (Fault::NoRoom, false));
        assert!(judge_room(&ROOM, need, Need { bytes: 0, inodes: 1 }).is_err());
        assert!(judge_room(&Room { inodes: None, ..ROOM }, need, Need { bytes: 0, inodes: 1 }).is_ok());
    }

    #[test]
    fn what_is_larger_than_the_file_system_waits_for_a_person() {
        let met = judge_room(&ROOM, Need { bytes: 1001 * 4096, inodes: 1 }, Need::default()).unwrap_err();
        assert!(met.is_for_ever);
        let met = judge_room(&ROOM, Need { bytes: 1, inodes: 1001 }, Need::default()).unwrap_err();
        assert!(met.is_for_ever);
    }
}
