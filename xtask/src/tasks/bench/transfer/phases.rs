//! Where a pass's time has gone, by its own file log.

use std::fs;

use anyhow::Context as _;
use camino::Utf8Path;

const DAY_S: f64 = 86_400.0;

/// The seconds of each phase of the attempt of the last command in a state folder's log, in their order, in words.
pub(super) fn of(state_dir: &Utf8Path) -> anyhow::Result<String> {
    let path = state_dir.join("log/minidvodbcopy.log");
    let log = fs::read_to_string(&path).with_context(|| path.to_string())?;
    Ok(in_words(&log))
}

fn in_words(log: &str) -> String {
    let last = log.rfind(" began: ").map_or(log, |at| &log[at..]);
    let lines: Vec<(f64, &str)> =
        last.lines().filter_map(|line| Some((time_of_day_s(line)?, line))).collect();
    let mut phases: Vec<(String, f64)> = Vec::new();
    let begins =
        lines.iter().enumerate().filter_map(|(at, (_, line))| Some((at, line.split_once(": phase: ")?.1)));
    let begins: Vec<(usize, &str)> = begins.collect();
    for (number, &(at, phase)) in begins.iter().enumerate() {
        let end = begins.get(number + 1).map_or(lines.len().saturating_sub(1), |&(next, _)| next);
        let seconds = (lines[end].0 - lines[at].0).rem_euclid(DAY_S);
        match phases.iter_mut().find(|(known, _)| known == phase) {
            Some((_, sum)) => *sum += seconds,
            None => phases.push((phase.to_owned(), seconds)),
        }
    }
    let words: Vec<String> = phases.iter().map(|(phase, seconds)| format!("{phase} {seconds:.2}")).collect();
    words.join(", ")
}

/// The time in `2026-11-26T03:57:11.123Z INFO ...`, in seconds of its day.
fn time_of_day_s(line: &str) -> Option<f64> {
    let (_, time) = line.split_once('T')?;
    let mut parts = time.split_once('Z')?.0.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    Some(
        (hours.parse::<f64>().ok()? * 60.0 + minutes.parse::<f64>().ok()?) * 60.0
            + seconds.parse::<f64>().ok()?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_lasts_until_the_next_begins_also_over_midnight() {
        let log = "\
2026-11-26T20:00:00.000Z INFO 1: began: minidvodbcopy
2026-11-26T20:00:00.000Z INFO 1 copy=1: phase: flushing
2026-11-26T20:00:09.000Z INFO 1: ended: exit 0
2026-11-26T23:59:58.500Z INFO 1: began: minidvodbcopy
2026-11-26T23:59:59.000Z INFO 1 copy=1: phase: connecting
2026-11-27T00:00:00.250Z INFO 1 copy=1: phase: sending
no time
2026-11-27T00:00:02.000Z INFO 1 copy=1: phase: verifying
2026-11-27T00:00:02.500Z INFO 1 copy=1: phase: sending
2026-11-27T00:00:03.000Z INFO 1: ended: exit 0
";
        assert_eq!(in_words(log), "connecting 1.25, sending 2.25, verifying 0.50");
        assert_eq!(in_words(""), "");
    }
}
