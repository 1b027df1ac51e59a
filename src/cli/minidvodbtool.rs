//! minidvodbtool's command line: four modes and long options with one dash, which argh cannot read.
//!
//! Invariant: pure; whatever is typed becomes one mode with values of their kinds, or a sentence that names
//! what is wrong. An option that is unknown, lacks its value or is given twice is refused, never guessed.

use std::collections::{BTreeMap, BTreeSet};

use argh::{CommandInfo, EarlyExit, FromArgs, SubCommand};

use super::{
    Revert, copy_id, dtime, fault, fault_or_none, group, host, limit, minidvodb_id, nearest, path, state,
    state_word,
};
use crate::faults::Fault;
use crate::model::{AbsolutePath, CopyId, Group, Host, MinidvodbId};
use crate::plan::by_hand::Wish;
use crate::render::mdc::Form;

/// The name of the command, and of a link to the program that stands for it.
pub const NAME: &str = "minidvodbtool";

/// What minidvodbtool is asked for.
#[derive(Debug)]
pub struct Minidvodbtool {
    /// The database that the caller believes to work on.
    pub dbname: Option<String>,
    /// What to do.
    pub mode: Mode,
}

/// What minidvodbtool does.
#[derive(Debug)]
pub enum Mode {
    /// `-definebyquery`
    Define(Define),
    /// `-listminidvodbcopy`
    List(List),
    /// `-revertminidvodbcopy`
    Revert(Revert),
    /// `-updateminidvodbcopy`
    Update(Update),
}

/// Queue what has no copy on a machine.
#[derive(Debug)]
pub struct Define {
    /// This minidvodb alone.
    pub minidvodb_id: Option<MinidvodbId>,
    /// Those of these groups alone; none: of all.
    pub groups: BTreeSet<Group>,
    /// The host that they go to.
    pub host: Host,
    /// The folder there.
    pub path: AbsolutePath,
    /// How to print what would be queued, instead of queueing it.
    pub pretend: Option<Form>,
}

/// List copies.
#[derive(Debug)]
pub struct List {
    /// This copy alone.
    pub copy_id: Option<CopyId>,
    /// Those of this minidvodb alone.
    pub minidvodb_id: Option<MinidvodbId>,
    /// Those of this group alone.
    pub group: Option<Group>,
    /// Those to this host alone.
    pub host: Option<Host>,
    /// Those that are new alone.
    pub is_pending: bool,
    /// Those with a fault, which are hidden otherwise.
    pub is_faulted: bool,
    /// At most so many.
    pub limit: Option<u64>,
    /// How to print them.
    pub form: Form,
}

/// Set columns of copies.
#[derive(Debug)]
pub struct Update {
    /// This copy alone.
    pub copy_id: Option<CopyId>,
    /// Those of this minidvodb alone.
    pub minidvodb_id: Option<MinidvodbId>,
    /// Those in this state alone.
    pub state: Option<&'static str>,
    /// Those to this host alone.
    pub host: Option<Host>,
    /// Those that go to this folder alone.
    pub path: Option<AbsolutePath>,
    /// Those with this fault alone; the inner none is 0.
    pub fault: Option<Option<Fault>>,
    /// What to set.
    pub wish: Wish,
}

/// A mode as it is typed and explained.
struct ModeWord {
    name: &'static str,
    about: &'static str,
    needs: &'static str,
    options: &'static [OptionWord],
    read: fn(&Given<'_>) -> Result<Mode, String>,
}

/// An option as it is typed and explained; one without a value is a switch.
#[derive(Clone, Copy)]
struct OptionWord {
    name: &'static str,
    value: Option<&'static str>,
    is_repeatable: bool,
    about: &'static str,
}

const fn option(name: &'static str, value: &'static str, about: &'static str) -> OptionWord {
    OptionWord { name, value: Some(value), is_repeatable: false, about }
}

const fn switch(name: &'static str, about: &'static str) -> OptionWord {
    OptionWord { name, value: None, is_repeatable: false, about }
}

const fn repeatable(option: OptionWord) -> OptionWord {
    OptionWord { is_repeatable: true, ..option }
}

const SIMPLE: OptionWord = switch("-simple", "print one line for each row");

const DEFINE: ModeWord = ModeWord {
    name: "-definebyquery",
    about: "queue every merged minidvodb that has no copy on the machine",
    needs: "-minidvodb_id or -minidvodb_group, and both of the -set options",
    options: &[
        option("-minidvodb_id", "N", "only this minidvodb"),
        repeatable(option("-minidvodb_group", "G", "only this group; may be repeated")),
        option("-set_destination_host", "H", "the host to copy to"),
        option("-set_minidvodb_rsync_path", "P", "the folder there"),
        switch("-pretend", "print what would be queued, and change nothing"),
        SIMPLE,
    ],
    read: |given| given.define().map(Mode::Define),
};

const LIST: ModeWord = ModeWord {
    name: "-listminidvodbcopy",
    about: "list copies without a fault, or with -faulted those with one",
    needs: "one of the first four options",
    options: &[
        option("-minidvodb_id", "N", "only copies of this minidvodb"),
        option("-minidvodbcopy_id", "N", "only this copy"),
        option("-minidvodb_group", "G", "only copies of this group"),
        option("-destination_host", "H", "only copies to this host"),
        switch("-pending", "only copies that are new"),
        switch("-faulted", "only copies with a fault"),
        option("-limit", "N", "at most so many; 0 is no limit"),
        SIMPLE,
    ],
    read: |given| given.list().map(Mode::List),
};

const REVERT: ModeWord = ModeWord {
    name: "-revertminidvodbcopy",
    about: "set the fault of copies that are new back to 0",
    needs: "one of the options",
    options: &[
        option("-minidvodbcopy_id", "N", "only this copy"),
        option("-minidvodb_id", "N", "only copies of this minidvodb"),
        option("-destination_host", "H", "only copies to this host"),
        option("-fault", "F", "only copies with this fault"),
        switch("-all", "all of them"),
    ],
    read: |given| given.revert().map(Mode::Revert),
};

const UPDATE: ModeWord = ModeWord {
    name: "-updateminidvodbcopy",
    about: "set columns of copies: of all that are meant, or of none",
    needs: "one of the first six options, and one of the others",
    options: &[
        option("-minidvodbcopy_id", "N", "only this copy"),
        option("-minidvodb_id", "N", "only copies of this minidvodb"),
        option("-state", "S", "only copies in this state"),
        option("-host", "H", "only copies to this host"),
        option("-minidvodb_rsync_path", "P", "only copies that go to this folder"),
        option("-fault", "F", "only copies with this fault; 0 is a value"),
        option("-set_fault", "F", "0 is a value"),
        option("-set_dtime", "S", "seconds; 0 is a value"),
        option("-set_minidvodb_rsync_path", "P", "the folder there"),
        option("-set_destination_host", "H", "the host"),
        option("-set_state", "S", "new or full"),
    ],
    read: |given| given.update().map(Mode::Update),
};

static MODES: [ModeWord; 4] = [DEFINE, LIST, REVERT, UPDATE];

/// What every mode takes.
static COMMON: [OptionWord; 3] = [
    option("-dbname", "NAME", "must be the name of the database that is set"),
    switch("-h", "print the options of each mode, or of one"),
    switch(VERSION, "print the version"),
];

const VERSION: &str = "-version";

/// Whether a command line of this tool asks for the version.
pub fn is_about_version<S: AsRef<str>>(typed: &[S]) -> bool {
    let mut typed = typed.iter().map(AsRef::as_ref);
    typed.next() == Some(NAME) && typed.any(|word| one_dash(word) == VERSION)
}

impl FromArgs for Minidvodbtool {
    fn from_args(_: &[&str], words: &[&str]) -> Result<Self, EarlyExit> {
        let words: Vec<&str> = words.iter().map(|word| one_dash(word)).collect();
        let mode = the_mode(&words);
        // argh's own `--help COMMAND` comes as a first word.
        if words.first() == Some(&"help") || words.iter().any(|word| matches!(*word, "-h" | "-help")) {
            return Err(EarlyExit { output: help(mode.ok()), status: Ok(()) });
        }
        mode.and_then(|mode| Given::gather(mode, &words)?.read()).map_err(EarlyExit::from)
    }
}

impl SubCommand for Minidvodbtool {
    const COMMAND: &'static CommandInfo = &CommandInfo {
        name: NAME,
        short: &'\0',
        description: "what the tool of this name did, with its options and its formats",
    };
}

/// `--limit` is `-limit` to whoever is used to two dashes.
fn one_dash(word: &str) -> &str {
    let shorter = word.get(1..).unwrap_or(word);
    if word.starts_with("--") && is_known(shorter) { shorter } else { word }
}

/// Whether some mode knows this word: it is never taken for another option's value.
fn is_known(word: &str) -> bool {
    word == "-help"
        || MODES.iter().any(|mode| mode.name == word || mode.options.iter().any(|o| o.name == word))
        || COMMON.iter().any(|option| option.name == word)
}

fn the_mode(words: &[&str]) -> Result<&'static ModeWord, String> {
    let mut modes = words.iter().filter_map(|word| MODES.iter().find(|mode| mode.name == *word));
    match (modes.next(), modes.next()) {
        (Some(mode), None) => Ok(mode),
        (Some(mode), Some(other)) => Err(format!("{} and {} are two modes; give one", mode.name, other.name)),
        (None, _) => Err(no_mode(words)),
    }
}

/// The sentence about a command line without a mode, with the nearest one where one was mistyped.
fn no_mode(words: &[&str]) -> String {
    let names = MODES.each_ref().map(|mode| mode.name);
    let mistyped = words.iter().filter(|word| word.starts_with('-') && !is_known(word));
    match mistyped.filter_map(|word| Some((word, nearest_of(word, names)?))).next() {
        Some((word, nearest)) => {
            format!("'{}' is no mode of {NAME}; the nearest is {nearest}", word.escape_debug())
        }
        None => format!("no mode is given; the modes are {}", names.join(", ")),
    }
}

/// The nearest of some names to a word with one dash or two.
fn nearest_of(word: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    nearest(&format!("-{}", word.trim_start_matches('-')), names)
}

/// What was typed, by option; each stands in the table of the mode.
struct Given<'w> {
    mode: &'static ModeWord,
    values: BTreeMap<&'static str, Vec<&'w str>>,
}

impl<'w> Given<'w> {
    fn gather(mode: &'static ModeWord, words: &[&'w str]) -> Result<Self, String> {
        let mut given = Self { mode, values: BTreeMap::new() };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if word == mode.name {
                continue;
            }
            let known = mode.options.iter().chain(&COMMON).find(|option| option.name == word);
            let option = known.ok_or_else(|| unknown(mode, word))?;
            let value = match option.value {
                None => "",
                Some(kind) => match words.next() {
                    Some(value) if !is_known(one_dash(value)) => value,
                    Some(next) => return Err(format!("{word} needs a value, {kind}, before {next}")),
                    None => return Err(format!("{word} needs a value, {kind}")),
                },
            };
            let values = given.values.entry(option.name).or_default();
            if !values.is_empty() && !option.is_repeatable {
                return Err(format!("{word} is given twice"));
            }
            values.push(value);
        }
        Ok(given)
    }

    fn read(&self) -> Result<Minidvodbtool, String> {
        let dbname = self.one("-dbname", |name| Ok(name.to_owned()))?;
        Ok(Minidvodbtool { dbname, mode: (self.mode.read)(self)? })
    }

    fn define(&self) -> Result<Define, String> {
        let minidvodb_id = self.one("-minidvodb_id", minidvodb_id)?;
        let groups: BTreeSet<Group> = self.all("-minidvodb_group", group)?.into_iter().collect();
        if minidvodb_id.is_none() && groups.is_empty() {
            return Err(self.lacks("-minidvodb_id or -minidvodb_group, lest everything be queued"));
        }
        Ok(Define {
            minidvodb_id,
            groups,
            host: self.needed("-set_destination_host", host)?,
            path: self.needed("-set_minidvodb_rsync_path", path)?,
            pretend: self.has("-pretend").then(|| self.form()),
        })
    }

    fn list(&self) -> Result<List, String> {
        let list = List {
            copy_id: self.one("-minidvodbcopy_id", copy_id)?,
            minidvodb_id: self.one("-minidvodb_id", minidvodb_id)?,
            group: self.one("-minidvodb_group", group)?,
            host: self.one("-destination_host", host)?,
            is_pending: self.has("-pending"),
            is_faulted: self.has("-faulted"),
            limit: self.one("-limit", limit)?.filter(|limit| *limit > 0),
            form: self.form(),
        };
        let is_bounded = list.copy_id.is_some()
            || list.minidvodb_id.is_some()
            || list.group.is_some()
            || list.host.is_some();
        if !is_bounded {
            return Err(self.lacks("-minidvodb_id, -minidvodbcopy_id, -minidvodb_group or -destination_host"));
        }
        Ok(list)
    }

    /// The words of `revert`; `-all` beside others changes nothing, as ever.
    fn revert(&self) -> Result<Revert, String> {
        const NEEDED: &str = "-minidvodbcopy_id, -minidvodb_id, -destination_host or -fault, or else -all";
        let mut revert = Revert {
            id: self.one("-minidvodbcopy_id", copy_id)?,
            minidvodb_id: self.one("-minidvodb_id", minidvodb_id)?,
            host: self.one("-destination_host", host)?,
            fault: self.one("-fault", fault)?,
            all: false,
            adopt: false,
            dry_run: false,
        };
        revert.all = !revert.is_bounded();
        if revert.all && !self.has("-all") { Err(self.lacks(NEEDED)) } else { Ok(revert) }
    }

    fn update(&self) -> Result<Update, String> {
        let update = Update {
            copy_id: self.one("-minidvodbcopy_id", copy_id)?,
            minidvodb_id: self.one("-minidvodb_id", minidvodb_id)?,
            state: self.one("-state", state)?,
            host: self.one("-host", host)?,
            path: self.one("-minidvodb_rsync_path", path)?,
            fault: self.one("-fault", fault_or_none)?,
            wish: Wish {
                state: self.one("-set_state", state_word)?,
                fault: self.one("-set_fault", fault_or_none)?,
                dtime_s: self.one("-set_dtime", dtime)?,
                path: self.one("-set_minidvodb_rsync_path", path)?,
                host: self.one("-set_destination_host", host)?,
            },
        };
        let is_bounded = update.copy_id.is_some()
            || update.minidvodb_id.is_some()
            || update.state.is_some()
            || update.host.is_some()
            || update.path.is_some()
            || update.fault.is_some();
        if !is_bounded {
            return Err(self.lacks("one of -minidvodbcopy_id, -minidvodb_id, -state, -host, -minidvodb_rsync_path and -fault, lest everything be changed"));
        }
        if update.wish.is_empty() {
            return Err(self.lacks("something to set: -set_fault, -set_dtime, -set_minidvodb_rsync_path, -set_destination_host or -set_state"));
        }
        Ok(update)
    }

    fn form(&self) -> Form {
        if self.has("-simple") { Form::Simple } else { Form::Metadata }
    }

    fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn one<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        Ok(self.all(name, read)?.pop())
    }

    fn needed<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
        self.one(name, read)?.ok_or_else(|| self.lacks(name))
    }

    fn all<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        values.iter().map(|value| read(value).map_err(|why| format!("{name}: {why}"))).collect()
    }

    fn lacks(&self, what: &str) -> String {
        format!("{} needs {what}", self.mode.name)
    }
}

fn unknown(mode: &ModeWord, word: &str) -> String {
    let shown: String = word.chars().take(80).collect();
    let shown = shown.escape_debug();
    if is_known(word) {
        format!("{shown} is no option of {}", mode.name)
    } else if word.starts_with('-') {
        let known = mode.options.iter().chain(&COMMON).map(|option| option.name);
        let nearest = nearest_of(word, known);
        let nearest = nearest.map_or_else(String::new, |nearest| format!("; the nearest is {nearest}"));
        format!("'{shown}' is no option of {NAME}{nearest}")
    } else {
        format!("'{shown}' stands where an option is expected")
    }
}

/// The options of a mode, or of all.
fn help(mode: Option<&ModeWord>) -> String {
    let mut text = format!("Usage: {NAME} MODE [OPTIONS]\n");
    match mode {
        Some(mode) => text += &help_of(mode),
        None => MODES.iter().for_each(|mode| text += &help_of(mode)),
    }
    text += "\nEvery mode takes:\n";
    COMMON.iter().for_each(|option| text += &line(option));
    text + "
It works on the ledger; where a database is set, both are brought in step after
a change. The ledger is that of MINIDVODBCOPY_STATE_DIR, or of
`minidvodbcopy --state-dir DIR minidvodbtool MODE [OPTIONS]`.
Exit codes: 0 done; 1 refused by the ledger's rules, or queued with a fault;
2 system: the ledger, its file or the output; 3 configuration: options, values,
the state folder or -dbname; 4 a bug.
"
}

fn help_of(mode: &ModeWord) -> String {
    let options: String = mode.options.iter().map(line).collect();
    format!("\n{}: {}\n  needs {}\n{options}", mode.name, mode.about, mode.needs)
}

fn line(option: &OptionWord) -> String {
    let typed =
        option.value.map_or_else(|| option.name.to_owned(), |value| format!("{} {value}", option.name));
    format!("    {typed:<31} {}\n", option.about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Minidvodbtool, String> {
        Minidvodbtool::from_args(&[], words).map_err(|exit| {
            assert_eq!(exit.status, Err(()), "{words:?}");
            exit.output
        })
    }

    const QUEUE: [&str; 5] =
        ["-definebyquery", "-set_destination_host", "ipp0222", "-set_minidvodb_rsync_path", "/data"];

    #[test]
    fn a_mode_stands_anywhere_and_options_take_one_dash_or_two() {
        let words = ["-minidvodb_group", "ThreePi", "--pending", "-listminidvodbcopy", "-limit", "3"];
        let Mode::List(list) = read(&words).unwrap().mode else { panic!() };
        assert_eq!(list.group.unwrap().as_str(), "ThreePi");
        assert_eq!((list.is_pending, list.is_faulted, list.limit), (true, false, Some(3)));
        assert_eq!(list.form, Form::Metadata);
    }

    #[test]
    fn groups_may_be_repeated_when_queueing() {
        let words = [&QUEUE[..], &["-minidvodb_group", "b", "-minidvodb_group", "a"]].concat();
        let Mode::Define(define) = read(&words).unwrap().mode else { panic!() };
        assert_eq!(define.groups.iter().map(Group::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(define.pretend, None);
        let words = [&words[..], &["-pretend", "-simple", "-dbname", "gpc1"]].concat();
        let tool = read(&words).unwrap();
        assert_eq!(tool.dbname.as_deref(), Some("gpc1"));
        assert!(matches!(tool.mode, Mode::Define(Define { pretend: Some(Form::Simple), .. })));
    }

    #[test]
    fn a_limit_of_nothing_is_no_limit_as_it_ever_was() {
        let words = ["-listminidvodbcopy", "-minidvodb_id", "1", "-limit", "0"];
        assert!(matches!(read(&words).unwrap().mode, Mode::List(List { limit: None, .. })));
    }

    #[test]
    fn every_option_that_takes_a_value_says_so_when_it_has_none_and_is_refused_twice() {
        for mode in &MODES {
            for option in mode.options.iter().chain(&COMMON).filter(|option| option.value.is_some()) {
                let missing = format!("{} needs a value", option.name);
                for words in [&[mode.name, option.name][..], &[mode.name, option.name, "-simple"]] {
                    assert!(read(words).unwrap_err().starts_with(&missing), "{words:?}");
                }
                if !option.is_repeatable {
                    let words = [mode.name, option.name, "1", option.name, "1"];
                    assert_eq!(read(&words).unwrap_err(), format!("{} is given twice", option.name));
                }
            }
        }
    }

    #[test]
    fn whatever_is_typed_wrong_is_refused_with_a_sentence_that_names_it() {
        let list = |words: &[&'static str]| read(&[&["-listminidvodbcopy"][..], words].concat()).unwrap_err();
        for (words, said) in [
            (&["-minidvodb_id", "x"][..], "-minidvodb_id: the minidvodb_id 'x' is not a whole number"),
            (&["-minidvodb_id", "9223372036854775808"], "is not a whole number from 1 to 2^63-1"),
            (&["-minidvodb_id", "-1"], "is not a whole number from 1"),
            (&["-minidvodb_id", ""], "-minidvodb_id: the minidvodb_id '' is not"),
            (&["-minidvodbcopy_id", "1e3"], "-minidvodbcopy_id: the copy's id '1e3' is not"),
            (&["-minidvodb_group", "a\u{1b}[31m"], "'a\\u{1b}[31m' has a control character"),
            (&["-destination_host", "a b"], "-destination_host: the host 'a b' is not a host"),
            (&["-minidvodb_id", "1", "-limit", "-3"], "-limit: the limit '-3' is not a whole number"),
            (&["-minidvodb_id", "1", "-limit", "18446744073709551616"], "is not a whole number"),
            (&["-minidvodb_id", "1", "-set_states", "full"], "'-set_states' is no option of minidvodbtool"),
            (&["-minidvodb_id", "1", "-set_state", "full"], "-set_state is no option of -listminidvodbcopy"),
            (&["-minidvodb_id", "1", "-pretend"], "-pretend is no option of -listminidvodbcopy"),
            (&["-minidvodb_id", "1", "-\u{7}"], "'-\\u{7}' is no option of minidvodbtool"),
            (&["-minidvodb_id", "1", "2"], "'2' stands where an option is expected"),
            (&["-minidvodb_id", "1", "-pending=1"], "'-pending=1' is no option of minidvodbtool"),
            (&["-minidvodb_id", "1", "--"], "'--' is no option of minidvodbtool"),
            (&["-minidvodb_id", "1", "-"], "'-' is no option of minidvodbtool"),
            (&["-minidvodb_id", "1", ""], "'' stands where an option is expected"),
            (&["-pending"], "-listminidvodbcopy needs -minidvodb_id, -minidvodbcopy_id"),
            (&["-definebyquery"], "-listminidvodbcopy and -definebyquery are two modes; give one"),
        ] {
            assert!(list(words).contains(said), "{words:?}: {}", list(words));
        }
        assert!(read(&[]).unwrap_err().starts_with("no mode is given; the modes are -definebyquery, "));
        assert!(read(&QUEUE).unwrap_err().starts_with("-definebyquery needs -minidvodb_id or"));
        let words = ["-definebyquery", "-minidvodb_id", "1", "-set_destination_host", "ipp022"];
        assert_eq!(read(&words).unwrap_err(), "-definebyquery needs -set_minidvodb_rsync_path");
    }

    #[test]
    fn nothing_is_a_value_of_an_update_and_no_update_is_without_bounds() {
        let update = |words: &[&'static str]| read(&[&["-updateminidvodbcopy"][..], words].concat());
        let words = ["-fault", "0", "-set_fault", "0", "-set_dtime", "0"];
        let Mode::Update(words) = update(&words).unwrap().mode else { panic!() };
        assert_eq!((words.fault, words.wish.fault, words.wish.dtime_s), (Some(None), Some(None), Some(0.0)));
        for (words, said) in [
            (&["-minidvodb_id", "1"][..], "-updateminidvodbcopy needs something to set"),
            (&["-set_fault", "0"], "-updateminidvodbcopy needs one of -minidvodbcopy_id, -minidvodb_id, "),
            (&["-fault", "40000", "-set_fault", "0"], "-fault: '40000' is no fault's code or name"),
            (&["-fault", "4", "-set_dtime", "nan"], "-set_dtime: 'nan' is not a number of seconds"),
            (&["-fault", "4", "-set_dtime", "1e39"], "-set_dtime: '1e39' is not a number of seconds"),
            (&["-fault", "4", "-set_state", "NEW"], "-set_state: 'NEW' is no state of a copy"),
            (&["-state", "old", "-set_state", "new"], "-state: 'old' is no state of a copy"),
            (&["-fault", "4", "-set_minidvodb_rsync_path", "x"], "the path 'x' must be absolute"),
            (&["-host", "", "-set_state", "new"], "-host: the host '' is not a host"),
        ] {
            let refused = update(words).unwrap_err();
            assert!(refused.contains(said), "{words:?}: {refused}");
        }
    }

    #[test]
    fn a_revert_is_of_what_is_named_or_of_all() {
        let revert = |words: &[&'static str]| read(&[&["-revertminidvodbcopy"][..], words].concat());
        assert!(revert(&["-all"]).is_ok());
        assert!(revert(&["-fault", "-7"]).is_ok());
        let Mode::Revert(both) = revert(&["-all", "-fault", "4"]).unwrap().mode else { panic!() };
        assert!(!both.all && both.fault.is_some());
        let refused = revert(&[]).unwrap_err();
        assert!(refused.starts_with("-revertminidvodbcopy needs -minidvodbcopy_id, "), "{refused}");
        assert_eq!(revert(&["-fault", "0"]).unwrap_err(), "-fault: '0' is no fault's code or name");
    }

    #[test]
    fn help_prints_every_option_of_each_mode_or_of_one() {
        for words in [&["-h"][..], &["--help"], &["help"], &["-h", "nonsense"]] {
            let exit = Minidvodbtool::from_args(&[], words).unwrap_err();
            assert_eq!(exit.status, Ok(()));
            for mode in &MODES {
                assert!(exit.output.contains(mode.name));
                assert!(mode.options.iter().all(|option| exit.output.contains(option.name)));
            }
            assert!(exit.output.lines().all(|line| line.len() <= 120), "{}", exit.output);
        }
        let exit = Minidvodbtool::from_args(&[], &["-listminidvodbcopy", "-limit", "-h"]).unwrap_err();
        assert_eq!(exit.status, Ok(()));
        assert!(exit.output.contains("-faulted") && !exit.output.contains("-pretend"));
    }
}
