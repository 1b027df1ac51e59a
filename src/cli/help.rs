//! Help as a terminal of 80 columns shows it.
//!
//! Invariant: pure; no line is wider but a command that is to be pasted, which stays whole, and a single word.

use crate::ui;

const WIDTH: usize = 80;

/// A help text whose lines fit.
pub fn fitted(text: &str) -> String {
    text.lines().flat_map(pieces).map(|line| line + "\n").collect()
}

/// A line in pieces that fit; what goes on stands under the text, not under what the text is about.
fn pieces(line: &str) -> Vec<String> {
    let is_example = line.starts_with("  minidvodbcopy ");
    if is_example || length(line) <= WIDTH {
        return vec![line.to_owned()];
    }
    let (front, text) = line.split_at(indent(line));
    // An option stays with its value.
    let text = text.replace(" <", &format!("{}<", ui::TIE));
    let pieces = ui::wrapped(&text, WIDTH.saturating_sub(length(front)));
    let fronts = std::iter::once(front.to_owned()).chain(std::iter::repeat(" ".repeat(front.len())));
    fronts.zip(pieces).map(|(front, piece)| front + &piece).collect()
}

/// Where the text of a line begins: behind `Usage: `, or behind a name and the blanks that set it apart.
fn indent(line: &str) -> usize {
    const USAGE: &str = "Usage: ";
    if line.starts_with(USAGE) {
        return USAGE.len();
    }
    let blanks = |text: &str| text.len() - text.trim_start().len();
    let front = blanks(line);
    let behind_name = line[front..].find("  ").map(|at| front + at);
    behind_name.map_or(front, |at| at + blanks(&line[at..]))
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_does_not_fit_goes_on_under_its_own_text() {
        let text = "Usage: minidvodbcopy target add [--max-used <percent>] [--verify <verify>] [--] <group>
  some words that go on and on, so that a terminal of eighty columns does not hold them
    -pretend                        print what would be queued, with an id of 0; change nothing
  minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi --max-used 95
";
        expect![[r#"
            Usage: minidvodbcopy target add [--max-used <percent>] [--verify <verify>]
                   [--] <group>
              some words that go on and on, so that a terminal of eighty columns does not
              hold them
                -pretend                        print what would be queued, with an id of 0;
                                                change nothing
              minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi --max-used 95
        "#]]
        .assert_eq(&fitted(text));
    }
}
