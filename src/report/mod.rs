//! The report: one HTML page of what is where, for people; pure.
//!
//! Invariants: the page needs nothing but itself, and forbids itself to fetch anything; every text from outside is
//! escaped, by `maud` and by the drawing library; a colour never says anything that a letter beside it does not;
//! its size is bounded, however many copies there are, and what it leaves out it says.

mod charts;
mod facts;
mod sections;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use facts::{Facts, GRID_COPIES, Grid, GridRow, SLOWEST, Slow};

use crate::error::Result;
use crate::ui;

/// No program runs on the page, and nothing is fetched; only its own style counts.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// None but bugs.
pub fn page(facts: &Facts) -> Result<String> {
    let main = if facts.is_empty() { nothing_yet(facts) } else { sections::all(facts)? };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("minidvodbcopy ", env!("CARGO_PKG_VERSION")));
                title { "minidvodbcopy: what is where" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Copies of minidvodbs" }
                    p.soft {
                        "The ledger in " code { (ui::escape_all(&facts.state_dir)) } " as it was at "
                        (ui::time(facts.now)) " UTC."
                    }
                }
                main { (main) }
                footer { p.soft { "Made by " code { "minidvodbcopy report" } ". It does not change by itself: make it again." } }
            }
        }
    };
    Ok(page.into_string())
}

/// What to do where there is nothing to show.
fn nothing_yet(facts: &Facts) -> Markup {
    let own = &facts.own_command;
    html! {
        section {
            h2 { "Nothing to show yet" }
            @if facts.minidvodbs == 0 {
                p { "No minidvodb is known here. Import their list, say where a group goes, and switch the host on:" }
            } @else {
                p {
                    (ui::count(facts.minidvodbs, "minidvodb is", "minidvodbs are"))
                    " known, and no copy. Say where a group goes, and switch the host on:"
                }
            }
            pre { code {
                @if facts.minidvodbs == 0 { (own) " minidvodb import FILE.csv\n" }
                (own) " target add GROUP HOST PATH\n"
                (own) " host add HOST\n"
                (own) " run --dry-run\n"
                (own) " run"
            } }
            p { "Then make this report again." }
        }
    }
}

#[cfg(test)]
mod tests;
