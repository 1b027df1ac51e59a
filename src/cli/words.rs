//! The words of the wiki page, with its order of arguments: `add.minidvodb.copy` and its thirteen relatives.
//!
//! Pure. Invariant: a word that was read is as good as the command of ours that it stands for: the same types,
//! the same refusals. Whatever was typed, in whatever order and number, gives a word or a refusal.

use super::{HostAdd, HostDel, Stage, TargetAdd, TargetDel, group, help, host, nearest, path};

/// What a word asks for, in terms of the commands of this program.
#[derive(Debug)]
pub enum Word {
    /// `module minidvodbcopy.pro`: what it would load is built in.
    Module,
    /// Set a target, and queue for it.
    AddCopy(TargetAdd),
    DelCopy(TargetDel),
    ShowCopies,
    /// Switch a host on, and copy to it.
    AddHost(HostAdd),
    DelHost(HostDel),
    ShowHosts,
    /// Switch stages, all three where none is named.
    Stages {
        stages: Vec<Stage>,
        is_on: bool,
    },
}

impl Word {
    /// Whether it can change the ledger.
    pub fn is_setting(&self) -> bool {
        !matches!(self, Self::Module | Self::ShowCopies | Self::ShowHosts)
    }
}

/// Why what was typed is no word.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such word.
    Unknown(String),
    /// The page's usage line.
    Usage(String),
    /// A value that is not what it must be.
    Value(String),
}

impl Refused {
    /// What there is to say, in one line.
    pub fn into_sentence(self) -> String {
        match self {
            Self::Unknown(sentence) | Self::Usage(sentence) | Self::Value(sentence) => sentence,
        }
    }
}

/// A word as the page has it.
struct Form {
    name: &'static str,
    arguments: &'static [&'static str],
    /// What it does, for `help`.
    meaning: &'static str,
    read: Reader,
}

/// Reads as many arguments as the form has.
type Reader = fn(&[&str]) -> Result<Word, String>;

/// The words, in the page's order.
const FORMS: [Form; 15] = [
    Form {
        name: "module",
        arguments: &["(module)"],
        meaning: "accepted and passed over for minidvodbcopy.pro, which is built in",
        read: module,
    },
    Form {
        name: "add.minidvodb.copy",
        arguments: &["(minidvodb_group)", "(host)", "(minidvodbcopy_path)"],
        meaning: "copy a group to a path on a host: queues its merged minidvodbs now, and copies them where the host is on",
        read: add_copy,
    },
    Form {
        name: "add.minidvodb.host",
        arguments: &["(host)"],
        meaning: "switch a host on, and copy to it what is queued for it",
        read: add_host,
    },
    Form {
        name: "del.minidvodb.host",
        arguments: &["(host)"],
        meaning: "switch a host off; no copy is forgotten",
        read: |given| Ok(Word::DelHost(HostDel { host: host(at(given, 0))? })),
    },
    Form {
        name: "show.minidvodb.host",
        arguments: &[],
        meaning: "show the hosts that are on",
        read: |_| Ok(Word::ShowHosts),
    },
    Form {
        name: "del.minidvodb.copy",
        arguments: &["(host)", "(minidvodb_group)"],
        meaning: "stop copying a group to a host; its new copies are kept, and not served",
        read: |given| Ok(Word::DelCopy(TargetDel { host: host(at(given, 0))?, group: group(at(given, 1))? })),
    },
    Form {
        name: "show.minidvodb.copy",
        arguments: &[],
        meaning: "show each (host).(minidvodb_group) that is copied",
        read: |_| Ok(Word::ShowCopies),
    },
    Form {
        name: "minidvodb.copy.on",
        arguments: &[],
        meaning: "switch queue, load and run on",
        read: |_| Ok(Word::Stages { stages: Vec::new(), is_on: true }),
    },
    Form {
        name: "minidvodb.copy.off",
        arguments: &[],
        meaning: "switch queue, load and run off",
        read: |_| Ok(Word::Stages { stages: Vec::new(), is_on: false }),
    },
    Form {
        name: "minidvodb.copy.load.on",
        arguments: &[],
        meaning: "switch the loading of pending copies on",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Load], is_on: true }),
    },
    Form {
        name: "minidvodb.copy.load.off",
        arguments: &[],
        meaning: "switch it off",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Load], is_on: false }),
    },
    Form {
        name: "minidvodb.copy.queue.on",
        arguments: &[],
        meaning: "switch queueing on",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Queue], is_on: true }),
    },
    Form {
        name: "minidvodb.copy.queue.off",
        arguments: &[],
        meaning: "switch it off",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Queue], is_on: false }),
    },
    Form {
        name: "minidvodb.copy.run.on",
        arguments: &[],
        meaning: "switch the copying itself on",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Run], is_on: true }),
    },
    Form {
        name: "minidvodb.copy.run.off",
        arguments: &[],
        meaning: "switch it off",
        read: |_| Ok(Word::Stages { stages: vec![Stage::Run], is_on: false }),
    },
];

/// The one module that the page names.
const MODULE: &str = "minidvodbcopy.pro";
/// What may stand in front of any word: it told pantasks' client to hand a line to its server.
const SERVER: &str = "server";

impl Form {
    /// What is typed, as the page writes it.
    fn typed(&self) -> String {
        let server = (self.name == "module").then_some(SERVER);
        let parts = server.iter().copied().chain([self.name]).chain(self.arguments.iter().copied());
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// Whether the command line's first word is to be read here: none of our own commands has a dot.
pub fn is_word(first: &str) -> bool {
    first == SERVER || first == "module" || first.contains('.')
}

/// Reads a word with its arguments.
///
/// # Errors
/// What to say instead.
pub fn parse<S: AsRef<str>>(typed: &[S]) -> Result<Word, Refused> {
    let typed: Vec<&str> = typed.iter().map(AsRef::as_ref).collect();
    let (name, given) = match typed.as_slice() {
        [SERVER, name, given @ ..] => (*name, given),
        // On its own it can only be the beginning of the page's first command.
        [SERVER] => ("module", &[][..]),
        [name, given @ ..] => (*name, given),
        [] => return Err(Refused::Unknown("no word is given".to_owned())),
    };
    let form = FORMS.iter().find(|form| form.name == name).ok_or_else(|| unknown(name))?;
    let usage = || Refused::Usage(format!("USAGE: {}", form.typed()));
    let given = operands(given).ok_or_else(usage)?;
    if given.len() != form.arguments.len() {
        return Err(usage());
    }
    (form.read)(&given).map_err(Refused::Value)
}

/// The arguments without the first `--`. In front of it nothing is taken for an option, nor an option for a
/// name: the words have none.
fn operands<'t>(given: &[&'t str]) -> Option<Vec<&'t str>> {
    let end = given.iter().position(|word| *word == "--").unwrap_or(given.len());
    let (before, after) = given.split_at(end);
    let has_option = before.iter().any(|word| word.len() > 1 && word.starts_with('-'));
    (!has_option).then(|| before.iter().chain(after.iter().skip(1)).copied().collect())
}

/// The sentence about a word that there is not, with the nearest one there is.
fn unknown(name: &str) -> Refused {
    let shown: String = name.chars().take(80).collect();
    let shown = shown.escape_debug();
    Refused::Unknown(match nearest(name, FORMS.iter().map(|form| form.name)) {
        Some(nearest) => format!("there is no word '{shown}'; the nearest is {nearest}"),
        None => format!("'{shown}' is no word of the wiki page"),
    })
}

/// The help of a word, where `typed` names one and asks for it.
pub fn help<S: AsRef<str>>(typed: &[S]) -> Option<String> {
    let words = || typed.iter().map(AsRef::as_ref);
    if !words().take_while(|word| *word != "--").any(|word| word == "--help") {
        return None;
    }
    let name = words().find(|word| *word != SERVER && *word != "--help").unwrap_or("module");
    let form = FORMS.iter().find(|form| form.name == name)?;
    Some(format!(
        "Usage: minidvodbcopy {}\n\n{}\nA word of the wiki page. `minidvodbcopy help` lists them all.\n",
        form.typed(),
        help::fitted(form.meaning)
    ))
}

/// The words for the help of the whole program.
pub fn section() -> String {
    let mut section = String::from("\nThe wiki page's words:\n");
    for form in &FORMS {
        section.push_str(&format!("  {}\n      {}\n", form.typed(), form.meaning));
    }
    section
}

/// An argument that the form's number of arguments promises.
fn at<'t>(given: &[&'t str], place: usize) -> &'t str {
    given.get(place).copied().unwrap_or_default()
}

fn module(given: &[&str]) -> Result<Word, String> {
    match at(given, 0) {
        MODULE => Ok(Word::Module),
        other => {
            let shown: String = other.chars().take(80).collect();
            Err(format!(
                "the module '{}' is not known here: {MODULE} alone is, and it is built in",
                shown.escape_debug()
            ))
        }
    }
}

fn add_copy(given: &[&str]) -> Result<Word, String> {
    Ok(Word::AddCopy(TargetAdd {
        group: group(at(given, 0))?,
        host: host(at(given, 1))?,
        path: path(at(given, 2))?,
        max_used: None,
        verify: None,
        deadline: None,
        bwlimit: None,
        streams: None,
    }))
}

fn add_host(given: &[&str]) -> Result<Word, String> {
    Ok(Word::AddHost(HostAdd { host: host(at(given, 0))?, machine: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    /// What is said of a line that is no word.
    fn refusal(line: &str) -> String {
        let typed: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        parse(&typed).unwrap_err().into_sentence()
    }

    #[test]
    fn every_word_has_its_usage_line_as_the_page_writes_it() {
        let lines: Vec<String> =
            FORMS.iter().map(|form| refusal(&format!("{} 1 2 3 4", form.name))).collect();
        expect![[r#"
            USAGE: server module (module)
            USAGE: add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)
            USAGE: add.minidvodb.host (host)
            USAGE: del.minidvodb.host (host)
            USAGE: show.minidvodb.host
            USAGE: del.minidvodb.copy (host) (minidvodb_group)
            USAGE: show.minidvodb.copy
            USAGE: minidvodb.copy.on
            USAGE: minidvodb.copy.off
            USAGE: minidvodb.copy.load.on
            USAGE: minidvodb.copy.load.off
            USAGE: minidvodb.copy.queue.on
            USAGE: minidvodb.copy.queue.off
            USAGE: minidvodb.copy.run.on
            USAGE: minidvodb.copy.run.off
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn any_other_number_of_arguments_gets_the_usage_line() {
        let right = "add.minidvodb.copy G h /p";
        assert!(parse(&right.split(' ').collect::<Vec<_>>()).is_ok());
        for line in ["", " G", " G h", " G h /p /q", " --dry-run h /p", " -x G h /p", " -- G h", " G h /p --"]
        {
            let line = format!("add.minidvodb.copy{line}");
            let usage = "USAGE: add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)";
            if line.ends_with("--") {
                assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_ok(), "{line}");
            } else {
                assert_eq!(refusal(&line), usage, "{line}");
            }
        }
        assert_eq!(refusal("server"), "USAGE: server module (module)");
    }

    #[test]
    fn a_name_with_a_leading_dash_stands_behind_two_dashes() {
        let Ok(Word::DelCopy(del)) = parse(&["del.minidvodb.copy", "--", "h", "-G"]) else { panic!() };
        assert_eq!((del.host.as_str(), del.group.as_str()), ("h", "-G"));
    }

    #[test]
    fn the_order_of_arguments_is_the_page_s() {
        let Ok(Word::AddCopy(add)) = parse(&["server", "add.minidvodb.copy", "ThreePi", "ipp0222", "/x//y/"])
        else {
            panic!()
        };
        assert_eq!(
            (add.group.as_str(), add.host.as_str(), add.path.as_str()),
            ("ThreePi", "ipp0222", "/x/y")
        );
    }

    #[test]
    fn a_mistyped_word_is_answered_with_the_nearest() {
        expect!["there is no word 'add.minidvob.copy'; the nearest is add.minidvodb.copy"]
            .assert_eq(&refusal("add.minidvob.copy G h /p"));
        expect!["there is no word 'minidvodb.copy.laod.on'; the nearest is minidvodb.copy.load.on"]
            .assert_eq(&refusal("minidvodb.copy.laod.on"));
        expect!["there is no word 'ADD.minidvodb.host'; the nearest is add.minidvodb.host"]
            .assert_eq(&refusal("ADD.minidvodb.host h"));
        expect!["'rm' is no word of the wiki page"].assert_eq(&refusal("rm -rf /"));
        expect!["'\\u{1b}[31m' is no word of the wiki page"].assert_eq(&refusal("\u{1b}[31m"));
    }

    #[test]
    fn another_module_is_refused_by_name() {
        assert!(matches!(parse(&["server", "module", MODULE]), Ok(Word::Module)));
        assert!(matches!(parse(&["module", MODULE]), Ok(Word::Module)));
        expect!["the module 'addstar.pro' is not known here: minidvodbcopy.pro alone is, and it is built in"]
            .assert_eq(&refusal("server module addstar.pro"));
    }

    #[test]
    fn help_is_asked_for_in_front_of_two_dashes_only() {
        assert!(
            help(&["add.minidvodb.copy", "--help"]).is_some_and(|text| text.contains("(minidvodbcopy_path)"))
        );
        assert!(help(&["server", "--help"]).is_some_and(|text| text.contains("server module (module)")));
        assert!(help(&["add.minidvodb.copy", "--", "--help"]).is_none());
        assert!(help(&["add.minidvob.copy", "--help"]).is_none());
    }
}
