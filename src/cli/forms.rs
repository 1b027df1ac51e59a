//! What each command takes, as its own help says it: for hints about typing errors, and for completions.
//!
//! Invariant: nothing is written down twice; an option that the parser takes is here because its help names it.

use argh::FromArgs as _;

use super::{Arguments, COMMANDS};

/// An option of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// `--host`; none where it has a short name only.
    pub long: Option<String>,
    /// `-v`.
    pub short: Option<String>,
    /// Whether a value follows.
    pub takes_value: bool,
    /// What it is for.
    pub about: String,
}

/// A command, or a verb of one, or the program itself.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its words: none for the program itself.
    pub path: Vec<&'static str>,
    /// What it is for.
    pub about: String,
    /// Its own options.
    pub options: Vec<Opt>,
    /// Its commands or verbs.
    pub words: Vec<&'static str>,
}

/// The program, the commands and their verbs.
pub fn all() -> Vec<Form> {
    let mut forms = vec![form(&[], COMMANDS.iter().map(|(command, _)| *command).collect())];
    for (command, verbs) in COMMANDS {
        forms.push(form(&[command], verbs.to_vec()));
        forms.extend(verbs.iter().map(|verb| form(&[command, verb], Vec::new())));
    }
    forms
}

/// The commands or verbs, or the options, that could stand where `typed` stands; `path` is what was typed before.
pub fn candidates(path: &[&'static str], typed: &str) -> Vec<String> {
    let words = match path {
        [] => COMMANDS.iter().map(|(command, _)| *command).collect(),
        [command] => verbs(command).to_vec(),
        _ => Vec::new(),
    };
    if !typed.starts_with('-') {
        return words.into_iter().map(str::to_owned).collect();
    }
    let own = form(path, words).options;
    let top = form(&[], Vec::new()).options;
    own.into_iter().chain(top).filter_map(|option| option.long).collect()
}

/// The verbs of a command.
pub fn verbs(command: &str) -> &'static [&'static str] {
    COMMANDS.iter().find(|(name, _)| *name == command).map_or(&[], |(_, verbs)| verbs)
}

fn form(path: &[&'static str], words: Vec<&'static str>) -> Form {
    if path == [super::minidvodbtool::NAME] {
        // It has a parser of its own.
        let about = "what the tool of this name did".to_owned();
        return Form { path: path.to_vec(), about, options: Vec::new(), words };
    }
    let typed: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
    let help = match Arguments::from_args(&["minidvodbcopy"], &typed) {
        Err(argh::EarlyExit { output, status: Ok(()) }) => output,
        _ => String::new(),
    };
    let about = help.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    Form { path: path.to_vec(), about, options: options(&help), words }
}

/// Reads the options of a help text.
fn options(help: &str) -> Vec<Opt> {
    let usage = help.lines().next().unwrap_or_default();
    let takes_value = |name: &str| usage.contains(&format!("{name} <"));
    let mut options: Vec<Opt> = Vec::new();
    for line in
        help.lines().skip_while(|line| *line != "Options:").skip(1).take_while(|line| !line.is_empty())
    {
        let text = line.trim_start();
        if line.len() - text.len() > 2 {
            // It goes on with the option before.
            if let Some(option) = options.last_mut() {
                let blank = if option.about.is_empty() { "" } else { " " };
                option.about = format!("{}{blank}{text}", option.about);
            }
            continue;
        }
        let (names, about) = text.split_once("  ").unwrap_or((text, ""));
        let names: Vec<&str> = names.split(", ").map(str::trim).collect();
        let one = |is_long: bool| {
            names.iter().find(|name| name.starts_with("--") == is_long).map(|&name| name.to_owned())
        };
        options.push(Opt {
            long: one(true),
            short: one(false),
            takes_value: names.iter().any(|name| takes_value(name)),
            about: about.trim().to_owned(),
        });
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_forms_is_taken_by_the_parser_and_needs_a_value_where_it_says_so() {
        for form in all().into_iter().filter(|form| !form.options.is_empty()) {
            for option in form.options.iter().filter(|option| option.long.as_deref() != Some("--help")) {
                let name = option.long.as_deref().or(option.short.as_deref()).unwrap();
                let typed: Vec<&str> = form.path.iter().copied().chain([name]).collect();
                let output = match Arguments::from_args(&["minidvodbcopy"], &typed) {
                    Ok(_) => String::new(),
                    Err(early) => early.output,
                };
                assert!(!output.contains("Unrecognized"), "{typed:?}: {output}");
                let wants_value = output.contains("No value provided");
                assert_eq!(wants_value, option.takes_value, "{typed:?}: {output}");
                assert!(!option.about.is_empty(), "{typed:?}");
            }
            assert!(form.options.iter().any(|option| option.long.as_deref() == Some("--help")));
        }
    }

    #[test]
    fn options_of_a_help_text_are_read_with_their_second_lines() {
        let help = "Usage: x [--max <n>] [-v]\n\nabout\n\nOptions:\n  --max             the\n                    most\n  -v, --verbose     say\n\nNotes:\n  --no\n";
        let read = options(help);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].about.as_str(), read[0].takes_value), ("the most", true));
        assert_eq!((read[1].short.as_deref(), read[1].takes_value), (Some("-v"), false));
    }
}
