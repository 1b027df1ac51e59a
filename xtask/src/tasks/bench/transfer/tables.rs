//! The table of one tree over one link, in Markdown, so that it can be shown as it is.

use std::process::Command;

use super::methods::{Method, Role};
use super::rounds::Rounds;
use crate::tasks::bench::figures::{mebibytes, time};

/// Prints a line for each method that was measured, then what there is to say about the others.
pub(super) fn print(rounds: &Rounds, methods: &[Method]) -> anyhow::Result<()> {
    // No process that is started here can be told to have taken less than this one at its fork.
    let least_bytes = time(&mut Command::new("true"), 0)?.peak_bytes;
    println!(
        "\n| method | s | to `rsync -a` | CPU s here | there | elsewhere | idle | peak MiB here |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for &method in methods {
        if let Some(line) = line(rounds, method, least_bytes) {
            println!("{line}");
        }
    }
    for (method, note) in rounds.notes() {
        println!("\n{}: {note}", method.title());
    }
    Ok(())
}

fn line(rounds: &Rounds, method: Method, least_bytes: u64) -> Option<String> {
    let wall = rounds.spread(method, |measured| measured.wall_s)?;
    let here = rounds.spread(method, |measured| measured.here_cpu_s)?.median;
    let there = rounds.spread(method, |measured| measured.there_cpu_s)?.median;
    // The kernel's own threads, which write what was copied, and whatever else runs on this machine.
    let elsewhere = rounds.spread(method, |m| (m.busy_s - m.here_cpu_s - m.there_cpu_s).max(0.0))?.median;
    let idle = rounds.spread(method, |measured| measured.idle_s)?.median;
    let peak = rounds.spread(method, |measured| measured.peak_bytes as f64)?.max as u64;
    let ratio = match rounds.ratio(method, Method::Rsync) {
        _ if method.role() == Role::Yardstick => "1".to_owned(),
        Some(ratio) => format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max),
        None => "-".to_owned(),
    };
    let peak_mib = mebibytes(peak.max(least_bytes));
    let below = if peak <= least_bytes { "below " } else { "" };
    Some(format!(
        "| {} | {:.2} ({:.2} to {:.2}) | {ratio} | {here:.1} | {there:.1} | {elsewhere:.1} | {idle:.1} | \
         {below}{peak_mib:.0} |",
        method.title(),
        wall.median,
        wall.min,
        wall.max,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Measured;
    use super::*;

    #[test]
    fn a_line_has_medians_ranges_and_the_ratio_to_the_yardstick() {
        let mut rounds = Rounds::default();
        for (rsync_s, tar_s) in [(2.0, 1.0), (4.0, 3.0)] {
            rounds.begin();
            rounds.add(Method::Rsync, Measured { wall_s: rsync_s, ..Measured::default() });
            let peak_bytes = 5 << 20;
            let (here_cpu_s, there_cpu_s, busy_s, idle_s) = (1.0, 0.5, 1.8, 0.7);
            rounds.add(
                Method::Tar,
                Measured { wall_s: tar_s, here_cpu_s, there_cpu_s, busy_s, idle_s, peak_bytes },
            );
        }
        assert_eq!(
            line(&rounds, Method::Tar, 1 << 20).unwrap(),
            "| tar over ssh | 2.00 (1.00 to 3.00) | 0.62 (0.50 to 0.75) | 1.0 | 0.5 | 0.3 | 0.7 | 5 |"
        );
        assert_eq!(
            line(&rounds, Method::Rsync, 1 << 20).unwrap(),
            "| `rsync -a` | 3.00 (2.00 to 4.00) | 1 | 0.0 | 0.0 | 0.0 | 0.0 | below 1 |"
        );
        assert_eq!(line(&rounds, Method::Rclone, 0), None);
    }
}
