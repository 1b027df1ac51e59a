//! The first minutes: an empty state folder, help with examples, completions, the lines for cron and systemd.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use camino::Utf8Path;
use xtask::dvo::Shape;
use xtask::setup::Tool;

use super::slow;
use super::world::{Ran, World, finish};

/// Each command with its verbs, as the help lists them.
fn commands(world: &World) -> Vec<Vec<String>> {
    let commands = |text: &str| -> Vec<String> {
        let lines =
            text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for command in commands(&world.ok(&["help"]).stdout) {
        let verbs = match command.as_str() {
            "minidvodbtool" => Vec::new(),
            command => commands(&world.ok(&["help", command]).stdout),
        };
        if verbs.is_empty() {
            all.push(vec![command]);
        } else {
            all.extend(verbs.into_iter().map(|verb| vec![command.clone(), verb]));
        }
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

/// The examples in the help of a command.
fn examples(world: &World, path: &[String]) -> Vec<String> {
    let words: Vec<&str> = ["help"].into_iter().chain(path.iter().map(String::as_str)).collect();
    let help = world.ok(&words).stdout;
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .map(str::to_owned)
        .collect()
}

/// The examples' paths and files in a world.
fn example_world() -> World {
    let mut world = World::with_sshd();
    let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
    for id in 1..=2 {
        let folder = world.make(&format!("ThreePi.{id}"), Shape::tiny());
        list.push_str(&format!("{id},ThreePi.{id},ThreePi,{folder},merged\n"));
    }
    fs::write(world.root.join("minidvodbs.csv"), list).unwrap();
    fs::write(world.root.join("ThreePi.pro"), "minidvodb.copy.on\n").unwrap();
    world.set("MINIDVODBCOPY_CONNECT_SECONDS", "2");
    world
}

fn here(world: &World, typed: &str) -> String {
    typed
        .replace("/data/ipp022.0/gpc1/mini-catdirs/ThreePi", world.there().as_str())
        .replace("/data/ipp004.0/minidvodbs", world.root.join("source").as_str())
}

#[test]
fn every_command_has_examples_and_each_can_be_typed_as_it_stands() {
    let world = example_world();
    // What the first examples need: something to look at.
    for words in [
        &["minidvodb", "import", "minidvodbs.csv"][..],
        &["target", "add", "ThreePi", "ipp0222", world.there().as_str()],
        &["host", "add", "ipp0222"],
        &["run"],
    ] {
        world.ok(words);
    }
    let mut seen: BTreeMap<String, i32> = BTreeMap::new();
    for path in commands(&world) {
        // The example before may have taken away what this one is about.
        world.ok(&["target", "add", "ThreePi", "ipp0222", world.there().as_str()]);
        world.ok(&["host", "add", "ipp0222"]);
        let examples = examples(&world, &path);
        assert!(!examples.is_empty(), "{path:?} has no example");
        for example in examples {
            let name = format!("minidvodbcopy {}", path.join(" "));
            assert!(example.starts_with(&name), "{example} is no example of {path:?}");
            let ran = world.shell(&here(&world, &example));
            seen.insert(example, ran.code);
            assert!(![2, 70].contains(&ran.code), "{name}: {}{}", ran.stdout, ran.stderr);
        }
    }
    // Those that find something, or that need what is not there.
    let others: Vec<(&str, i32)> = seen
        .iter()
        .filter(|(_, code)| **code != 0)
        .map(|(example, code)| (example.as_str(), *code))
        .collect();
    expect_test::expect![[r#"
        [
            (
                "minidvodbcopy sync",
                78,
            ),
            (
                "minidvodbcopy sync --dry-run",
                78,
            ),
        ]
    "#]]
    .assert_debug_eq(&others);
}

/// What is typed in an empty place for commands that look or change; those that begin something are in `BEGINNINGS`.
const LOOKS: [&str; 38] = [
    "list",
    "list --format json",
    "show 1",
    "revert --all",
    "update --id 1 --set-fault 0",
    "recopy 1",
    "export",
    "run",
    "run --dry-run",
    "copy ThreePi localhost /data --dry-run",
    "audit",
    "status",
    "check localhost",
    "ledger check",
    "ledger backup",
    "ledger compact",
    "ledger restore no.redb",
    "database show",
    "database del",
    "sync",
    "log show",
    "source show",
    "source del /data",
    "stage show",
    "target show",
    "target del ipp0222 ThreePi",
    "host show",
    "host del ipp0222",
    "minidvodb list",
    "faults 212",
    "crontab",
    "crontab --systemd service",
    "completions bash",
    "metrics",
    "minidvodbtool -listminidvodbcopy -minidvodb_id 1",
    "script show.pro",
    "show.minidvodb.host",
    "show.minidvodb.copy",
];

/// What begins a ledger, or a file, and is typed in an empty place of its own.
const BEGINNINGS: [&str; 11] = [
    "minidvodb import minidvodbs.csv",
    "minidvodb import --scan . --group ThreePi",
    "target add ThreePi ipp0222 /data",
    "host add ipp0222",
    "stage on",
    "stage off",
    "source add /tmp",
    "database set mysql://ipp@ippdb01/gpc1",
    "log add begun",
    "report --output report.html",
    "copy ThreePi localhost /data",
];

#[test]
fn in_an_empty_place_every_command_says_what_to_do_and_makes_nothing_it_need_not() {
    let world = World::new();
    fs::write(world.root.join("show.pro"), "show.minidvodb.host\n").unwrap();
    for path in commands(&world) {
        let name = path.join(" ");
        let is_typed = |typed: &&str| *typed == name || typed.starts_with(&format!("{name} "));
        assert!(LOOKS.iter().chain(&BEGINNINGS).any(is_typed), "{name} is not tried in an empty place");
    }
    let check = world.ok(&["check"]).stdout;
    for next in ["minidvodb import", "--scan", "database set", "not there yet"] {
        assert!(check.contains(next), "no {next} in\n{check}");
    }
    let mut told = String::new();
    for typed in LOOKS {
        let words: Vec<&str> = typed.split(' ').collect();
        let ran = world.run(&words);
        assert!([0, 2, 78].contains(&ran.code) || words[0] == "minidvodbtool", "{typed}: {ran:?}");
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let says_next = printed.contains("`minidvodbcopy ")
            || printed.contains("minidvodbcopy check")
            || printed.contains("type: minidvodbcopy ")
            || printed.contains("what to do next:\n");
        let shows_something = ["faults", "crontab", "stage", "completions", "metrics"]
            .iter()
            .any(|word| typed.starts_with(word));
        assert!(says_next || shows_something, "{typed} does not say what to do next:\n{printed}");
        let first = ran.stderr.lines().next().unwrap_or("-");
        told.push_str(&format!("{typed}: {}: {}\n", ran.code, super::shown::shown(&world, first)));
    }
    assert!(!world.state().exists(), "nothing was made");
    expect_test::expect![[r#"
        list: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        list --format json: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        show 1: 2: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        revert --all: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        update --id 1 --set-fault 0: 78: minidvodbcopy: there is no ledger in ROOT/state
        recopy 1: 78: minidvodbcopy: there is no ledger in ROOT/state
        export: 78: minidvodbcopy: there is no ledger in ROOT/state
        run: 78: minidvodbcopy: there is no ledger in ROOT/state
        run --dry-run: 78: minidvodbcopy: there is no ledger in ROOT/state
        copy ThreePi localhost /data --dry-run: 0: minidvodbcopy: no minidvodb is known yet: `minidvodbcopy check` says what to do first
        audit: 78: minidvodbcopy: there is no ledger in ROOT/state
        status: 0: -
        check localhost: 0: -
        ledger check: 78: minidvodbcopy: there is no ledger in ROOT/state
        ledger backup: 78: minidvodbcopy: there is no ledger in ROOT/state
        ledger compact: 78: minidvodbcopy: there is no ledger in ROOT/state
        ledger restore no.redb: 78: minidvodbcopy: cannot read no.redb: No such file or directory (os error 2)
        database show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        database del: 2: minidvodbcopy: no database is set
        sync: 78: minidvodbcopy: no database is set
        log show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        source show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        source del /data: 2: minidvodbcopy: /data is not one of the folders that minidvodbs may be copied from
        stage show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        target show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        target del ipp0222 ThreePi: 2: minidvodbcopy: there is no target ThreePi to ipp0222
        host show: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        host del ipp0222: 2: minidvodbcopy: the host ipp0222 is not known
        minidvodb list: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        faults 212: 0: -
        crontab: 0: -
        crontab --systemd service: 0: -
        completions bash: 0: -
        metrics: 0: -
        minidvodbtool -listminidvodbcopy -minidvodb_id 1: 3: minidvodbcopy: there is no ledger in ROOT/state
        script show.pro: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        show.minidvodb.host: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
        show.minidvodb.copy: 0: minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first
    "#]].assert_eq(&told);
}

#[test]
fn in_an_empty_place_everything_can_be_begun_with() {
    for typed in BEGINNINGS {
        let world = World::new();
        let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n";
        fs::write(world.root.join("minidvodbs.csv"), format!("{header}1,a,ThreePi,/data/a,merged\n"))
            .unwrap();
        world.make("ThreePi.1", Shape::tiny());
        world.shell(&format!("minidvodbcopy {typed}")).expect(0);
        assert!(world.run(&["check", "localhost"]).stdout.contains("type: minidvodbcopy "), "{typed}");
    }
}

#[test]
fn a_ledger_without_anything_in_it_says_so_to_whoever_watches_and_to_nobody_else() {
    let world = World::new();
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    for words in [&["list"][..], &["list", "--format", "csv"], &["log", "show"], &["log", "show", "--json"]] {
        let quiet = world.ok(words);
        let heard =
            world.ok(&[&["-v"], words].concat()).says("yet: `minidvodbcopy check` says what is missing");
        assert_eq!((quiet.stderr.as_str(), &quiet.stdout), ("", &heard.stdout), "{words:?}");
    }
    let there = world.there();
    let copy = ["copy", "ThreePi", "localhost", there.as_str()];
    let hint = "no minidvodb is known yet: `minidvodbcopy check` says what to do first";
    let dry = world.ok(&[&copy[..], &["--dry-run"]].concat()).says(hint);
    assert_eq!(dry.stdout, "ThreePi to localhost: nothing to copy\n");
    world.ok(&[&["-v"], &copy[..]].concat()).says(hint);
    world.ok(&copy).is_silent();
    world.import(&[(1, "SAS", &world.make("SAS.1", Shape::tiny()))]);
    for further in [&[][..], &["-v"], &["--dry-run"]] {
        let words = &[&copy[..], further].concat();
        let ran = world.ok(words);
        assert!(!ran.stderr.contains("is known yet"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_to_be_typed_next_names_the_program_and_the_state_folder_as_they_were_typed() {
    let (world, program) = hostile_place();
    let state = world.root.join("o'ther");
    let typed = |words: &[&str]| {
        let own = world.command(words);
        let mut command = Command::new(&program);
        command.args(["--state-dir", state.as_str()]).args(words).env_clear().current_dir(&world.root);
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap())
    };
    let quoted = |path: &str| format!("'{}'", path.replace('\'', r"'\''"));
    let front = format!("`{} --state-dir {}", quoted(program.as_str()), quoted(state.as_str()));
    for (words, next) in [
        (&["list"][..], "check"),
        (&["export"], "check"),
        (&["show", "1"], "list"),
        (&["sync"], "database set URL"),
        (&["host", "del", "ipp0222"], "host show"),
        (&["target", "del", "ipp0222", "ThreePi"], "target show"),
        (&["source", "del", "/data"], "source show"),
        (&["revert"], "list --faulted"),
        (&["ledger", "restore", "no.redb"], "check"),
        (&["-v", "target", "add", "ThreePi", "ipp0222", "/data"], "host add ipp0222"),
        (&["-v", "host", "add", "ipp031"], "target add GROUP ipp031 PATH"),
        (&["-v", "minidvodb", "list"], "minidvodb import FILE"),
        (&["update", "--id", "1", "--set-fault", "0"], "list"),
        (&["recopy", "1"], "list"),
    ] {
        typed(words).says(&format!("{front} {next}`"));
    }
}

#[test]
fn readme_s_table_has_every_command() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != "| command | what it does |")
        .take_while(|line| line.starts_with('|'))
        .collect();
    for command in commands(&World::new()) {
        let named = [format!("`{} ", command[0]), format!("`{}`", command[0])];
        let is_there = table.iter().any(|row| named.iter().any(|name| row.contains(name)));
        assert!(is_there, "README.md's table has no row of {command:?}");
    }
}

#[test]
fn help_and_version_are_answered_wherever_they_are_typed() {
    let world = World::new();
    let run = world.ok(&["help", "run"]).stdout;
    for words in [
        &["run", "--help"][..],
        &["run", "-h"],
        &["--help", "run"],
        &["-h", "run"],
        &["run", "help"],
        &["run", "--limit", "3", "-h"],
        &["-v", "run", "-h"],
    ] {
        assert_eq!(world.ok(words).stdout, run, "{words:?}");
    }
    assert_eq!(world.ok(&["target", "add", "help"]).stdout, world.ok(&["help", "target", "add"]).stdout);
    assert_eq!(world.ok(&["target", "help"]).stdout, world.ok(&["help", "target"]).stdout);
    let version = world.ok(&["--version"]).stdout;
    for words in [&["-V"][..], &["run", "--version"], &["show", "-V"], &["target", "add", "--version"]] {
        assert_eq!(world.ok(words).stdout, version, "{words:?}");
    }
    // Where it can be a name, it is one.
    world.ok(&["log", "add", "help"]);
    assert!(world.ok(&["log", "show"]).stdout.contains("  help"));
}

#[test]
fn options_of_the_top_level_stand_before_or_after_the_command() {
    let world = World::new();
    let elsewhere = world.root.join("elsewhere");
    for (words, count) in [
        (["--state-dir", elsewhere.as_str(), "-v", "host", "add", "ipp022"], 1),
        (["host", "add", "ipp031", "-v", "--state-dir", elsewhere.as_str()], 2),
        (["host", "--state-dir", elsewhere.as_str(), "add", "-v", "ipp032"], 3),
    ] {
        world.ok(&words).says("is on");
        let shown = world.ok(&["host", "show", "--json", "--state-dir", elsewhere.as_str()]);
        assert_eq!(shown.json().as_array().unwrap().len(), count);
    }
    assert!(!world.state().exists());
}

#[test]
fn what_is_mistyped_is_answered_with_the_nearest() {
    let world = World::new();
    for (words, nearest) in [
        (&["rnu"][..], "run"),
        (&["lsit"], "list"),
        (&["chekc", "ipp0222"], "check"),
        (&["target", "ad", "G", "h", "/p"], "add"),
        (&["run", "--lmit", "3"], "--limit"),
        (&["run", "--dryrun"], "--dry-run"),
        (&["list", "--formt=json"], "--format"),
        (&["run", "--verbos"], "--verbose"),
        (&["--stat-dir", "/x", "run"], "--state-dir"),
        (&["help", "expotr"], "export"),
        (&["compl", "bash"], "completions"),
        (&["run", "--metr", "x"], "--metrics"),
    ] {
        world.run(words).expect(2).says(&format!("; the nearest is {nearest}\n"));
    }
    for words in [&["frobnicate"][..], &["run", "--frobnicate"]] {
        let ran = world.run(words).expect(2).says("frobnicate");
        assert!(!ran.stderr.contains("nearest"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_missing_or_no_choice_is_answered_with_the_choices() {
    let world = World::new();
    for (words, says) in [
        (&["target"][..], "minidvodbcopy: `target` needs one of: add, del, show\n"),
        (&["--state-dir", "/x", "ledger"], "`ledger` needs one of: check, backup, restore, compact\n"),
        (
            &["source", "add", "/no/such"],
            "/no/such is no folder on this machine\n  hint: make or mount it first",
        ),
        (&["completions", "tcsh"], "'tcsh' is no shell that completions are made for: bash, zsh or fish\n"),
        (&["completions"], "arguments not provided: shell\n  hint: `minidvodbcopy help completions` shows"),
    ] {
        world.run(words).expect(2).says(says);
    }
}

#[test]
fn help_fits_a_terminal_but_for_examples() {
    let world = World::new();
    let mut paths = vec![Vec::new(), vec!["add.minidvodb.host".to_owned()]];
    for path in commands(&world) {
        paths.push(path[..1].to_vec());
        paths.push(path);
    }
    for path in paths {
        let words: Vec<&str> = ["help"].into_iter().chain(path.iter().map(String::as_str)).collect();
        for line in world.ok(&words).stdout.lines().filter(|line| !line.starts_with("  minidvodbcopy ")) {
            assert!(line.chars().count() <= 80, "{path:?}: {line}");
        }
    }
}

/// A folder whose name cron, systemd and the shell would each read as something else.
const HOSTILE: &str = "100% it's \"$HOME\" $(id) %h";

/// The binary in a folder of such a name, and a state folder in another.
fn hostile_place() -> (World, camino::Utf8PathBuf) {
    let mut world = World::with_sshd();
    let folder = world.root.join(format!("bin {HOSTILE}"));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("minidvodbcopy");
    slow::copy_program(env!("CARGO_BIN_EXE_minidvodbcopy").as_ref(), &program);
    let state = world.root.join(format!("state {HOSTILE}"));
    world.set("MINIDVODBCOPY_STATE_DIR", state.as_str());
    (world, program)
}

fn printed_by(world: &World, program: &Utf8Path, words: &[&str]) -> Ran {
    let own = world.command(words);
    let mut command = Command::new(program);
    command.args(words).env_clear().current_dir(&world.root);
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap()).expect(0)
}

/// What cron does with a line: five fields, then the command, where a `%` that is not escaped ends it.
fn as_cron(world: &World, line: &str) -> Ran {
    let mut rest = line;
    for _ in 0..5 {
        rest = rest.trim_start().split_once(' ').unwrap().1;
    }
    let (mut typed, mut characters) = (String::new(), rest.trim_start().chars().peekable());
    while let Some(c) = characters.next() {
        match c {
            '\\' if characters.peek() == Some(&'%') => {
                characters.next();
                typed.push('%');
            }
            '%' => panic!("cron ends the command here: {typed}"),
            c => typed.push(c),
        }
    }
    let home = world.root.join("home");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(typed).env_clear().current_dir(&home);
    command.envs([
        ("PATH", "/usr/bin:/bin"),
        ("SHELL", "/bin/sh"),
        ("HOME", home.as_str()),
        ("LOGNAME", "ipp"),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

#[test]
fn the_line_for_cron_copies_as_printed_whatever_the_names_are() {
    let (world, program) = hostile_place();
    world.prepare("ipp0222", 1);
    let printed = printed_by(&world, &program, &["crontab"]).stdout;
    let lines: Vec<&str> = printed.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines[0].starts_with("*/10 * * * *  ") && lines[0].ends_with(" run"), "{printed}");
    assert!(lines[0].contains("MINIDVODBCOPY_SSH_CONFIG="), "{printed}");
    as_cron(&world, lines[0]).expect(0).is_silent();
    assert_eq!(world.standing(1), "full 0");
    world.expect_arrived("ThreePi.1");
    for line in &lines[1..] {
        as_cron(&world, line).expect(0);
    }
}

#[test]
fn what_no_line_can_hold_is_refused() {
    let world = World::new();
    for words in [&["crontab"][..], &["crontab", "--systemd", "service"]] {
        let words = [&["--state-dir", "/a\nb"], words].concat();
        world.run(&words).expect(2).says("control character").says("a link without one");
    }
}

#[test]
fn the_units_are_sound_and_the_service_copies_as_systemd_would_start_it() {
    let (world, program) = hostile_place();
    world.prepare("ipp0222", 1);
    let units = world.root.join("units");
    fs::create_dir(&units).unwrap();
    for (unit, name) in [
        ("service", "minidvodbcopy.service"),
        ("timer", "minidvodbcopy.timer"),
        ("audit-service", "minidvodbcopy-audit.service"),
        ("audit-timer", "minidvodbcopy-audit.timer"),
    ] {
        let text = printed_by(&world, &program, &["crontab", "--systemd", unit]).stdout;
        fs::write(units.join(name), text).unwrap();
    }
    let service = fs::read_to_string(units.join("minidvodbcopy.service")).unwrap();
    let words = unit_words(service.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap());
    let variables: Vec<String> =
        service.lines().filter_map(|line| line.strip_prefix("Environment=")).flat_map(unit_words).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.root.join("home"));
    command.envs(variables.iter().map(|variable| variable.split_once('=').unwrap()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap()).expect(0).is_silent();
    assert_eq!(world.standing(1), "full 0");
    expect_sound_units(&units);
}

/// Fails where systemd has something to say against one of the units in a folder.
#[track_caller]
pub fn expect_sound_units(units: &Utf8Path) {
    let analyze = Tool::SystemdAnalyze.require().unwrap();
    for name in super::world::names_in(units) {
        let output = Command::new(&analyze).arg("verify").arg(units.join(&name)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("minidvodbcopy")).collect();
        assert!(output.status.success() && about_ours.is_empty(), "{name}: {said}");
    }
}

/// The words of a setting as systemd.syntax(7) and systemd.service(5) read them.
fn unit_words(line: &str) -> Vec<String> {
    let line = line.replace("%%", "%").replace("$$", "$");
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => word.extend(characters.next()),
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

/// What bash offers where `typed` ends.
fn offered(world: &World, typed: &[&str]) -> Vec<String> {
    let file = world.root.join("completion.bash");
    fs::write(&file, world.ok(&["completions", "bash"]).stdout).unwrap();
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _minidvodbcopy; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["--norc", "-uec", script, "bash", file.as_str(), "minidvodbcopy"])
        .args(typed)
        .current_dir(&world.root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{typed:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_verbs_options_and_values() {
    let world = World::new();
    for (typed, expected) in [
        (&["exp"][..], &["export"][..]),
        (&["target", ""], &["add", "del", "show"]),
        (&["target", "add", "--max"], &["--max-used"]),
        (&["list", "--format", "j"], &["json"]),
        (&["export", "--format", ""], &["csv", "json", "sql", "mdc"]),
        (&["--state-dir", "/x", "stage", "off", "l"], &["load"]),
        (&["run", "--host", "export", "--li"], &["--limit"]),
        (&["help", "datab"], &["database"]),
        (&["help", "database", "s"], &["set", "show"]),
        (&["crontab", "--systemd", "audit-t"], &["audit-timer"]),
        (&["compl"], &["completions"]),
        (&["completions", "z"], &["zsh"]),
        (&["minidvodb", "import", ""], &[]),
        (&["run", "--host", ""], &[]),
    ] {
        assert_eq!(offered(&world, typed), expected, "{typed:?}");
    }
    let all = offered(&world, &[""]);
    for command in commands(&world) {
        assert!(all.contains(&command[0]), "{command:?}");
    }
    assert!(offered(&world, &["run", "-"]).contains(&"--state-dir".to_owned()));
}

#[test]
fn fish_completes_the_same() {
    let fish = Tool::Fish.require().unwrap();
    let world = World::new();
    let file = world.root.join("completion.fish");
    fs::write(&file, world.ok(&["completions", "fish"]).stdout).unwrap();
    for (typed, expected) in [
        ("target ", &["add", "del", "show"][..]),
        ("target add --max", &["--max-used"]),
        ("list --format ", &["csv", "json", "mdc", "table"]),
        ("--state-dir /x stage off l", &["load"]),
        ("help datab", &["database"]),
        ("run --host export --li", &["--limit"]),
        ("expo", &["export"]),
        ("completions z", &["zsh"]),
    ] {
        let script = format!("source {file}; complete -C 'minidvodbcopy {typed}'");
        let mut command = Command::new(&fish);
        command.args(["--no-config", "-c", &script]).current_dir(&world.root);
        let output = command.env("HOME", world.root.join("home")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{typed}");
        let text = String::from_utf8(output.stdout).unwrap();
        let offered: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(offered, expected, "{typed}");
    }
}

#[test]
fn the_completions_are_read_by_every_shell() {
    let world = World::new();
    let [zsh, fish] = [Tool::Zsh, Tool::Fish].map(|tool| tool.require().unwrap());
    for (shell, program, option) in
        [("bash", "bash".into(), "-n"), ("zsh", zsh, "-n"), ("fish", fish, "--no-execute")]
    {
        let text = world.ok(&["completions", shell]).stdout;
        for command in commands(&world) {
            assert!(text.contains(&command[0]), "{shell}: {command:?}");
        }
        let mut command = Command::new(program);
        let mut child = command.arg(option).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let ran = finish(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
    }
    world.run(&["completions", "tcsh"]).expect(2).says("bash, zsh or fish");
    assert!(world.ok(&["help"]).stdout.contains("\n  completions  "), "it is shown");
    let help = world.ok(&["help", "completions"]).stdout;
    assert!(help.contains("bash, zsh or fish") && help.contains("\nExamples:\n"), "{help}");
    for words in [["completions", "-h"], ["completions", "--help"], ["completions", "help"]] {
        assert_eq!(world.ok(&words).stdout, help, "{words:?}");
    }
}
