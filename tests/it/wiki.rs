//! The README's tables of the wiki page: every example in them is typed, in order, and every test they name is
//! looked for.
//!
//! A table belongs to this if its header ends in `here | prints | proved by`. A cell of `here` holds one or more
//! commands between backticks; the last one's exit code is 0, unless `prints` begins with `exit N`, and each text
//! between backticks in `prints` stands in what it printed, which is nothing at all where `prints` says *nothing*.

use camino::Utf8Path;
use xtask::dvo::{self, Shape};

use super::world::World;

/// The path of the page's example, and of the minidvodbs: folders of the test's world.
const THERE: &str = "/data/ipp022.0/gpc1/mini-catdirs/ThreePi";
const SOURCE: &str = "/data/ipp004.0/minidvodbs";

/// What the page has, in its order: each must begin a row of a table.
const OF_THE_PAGE: [&str; 31] = [
    "`server module minidvodbcopy.pro`",
    "`add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)`",
    "all the minidvodbs in 'merged' state",
    "ssh/rsync without a password",
    "97% or less used",
    "enough space",
    "only those that have not been queued yet",
    "only 1 copy of a minidvodb on a machine",
    "`add.minidvodb.host (host)`",
    "the example",
    "`del.minidvodb.host (host)`",
    "`show.minidvodb.host`",
    "`del.minidvodb.copy (host) (minidvodb_group)`",
    "`show.minidvodb.copy`",
    "`minidvodb.copy.on`",
    "`minidvodb.copy.off`",
    "`minidvodb.copy.load.on`",
    "`minidvodb.copy.load.off`",
    "`minidvodb.copy.queue.on`",
    "`minidvodb.copy.queue.off`",
    "`minidvodb.copy.run.on`",
    "`minidvodb.copy.run.off`",
    "`minidvodbcopy_id`",
    "`minidvodb_id`",
    "`minidvodb_rsync_path`",
    "`destination_host`",
    "`fault`",
    "`state`",
    "`epoch`",
    "`dtime`",
    "the log",
];

/// A row: what the page says, what is typed for it here, what is printed then, and what proves it.
#[derive(Debug)]
struct Row {
    /// Its line in the README.
    line: usize,
    page: String,
    commands: Vec<String>,
    exit: i32,
    prints: Prints,
    tests: Vec<String>,
}

#[derive(Debug)]
enum Prints {
    Nothing,
    Each(Vec<String>),
}

fn root() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of all tables of this kind.
fn rows() -> Vec<Row> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (mut rows, mut is_inside) = (Vec::new(), false);
    for (text, line) in readme.lines().zip(1..) {
        let Some(cells) = cells(text) else {
            is_inside = false;
            continue;
        };
        if is_inside && !cells.iter().all(|cell| cell.bytes().all(|b| b == b'-')) {
            rows.push(row(line, &cells));
        }
        is_inside |= cells.ends_with(&["here".to_owned(), "prints".to_owned(), "proved by".to_owned()]);
    }
    rows
}

/// The cells of a line of a table, where `\|` is no border.
fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells = line.replace("\\|", "\0");
    Some(cells.split('|').map(|cell| cell.replace('\0', "|").trim().to_owned()).collect())
}

fn row(line: usize, cells: &[String]) -> Row {
    let [page, here, prints, proved] = cells else { panic!("README.md:{line}: not four cells: {cells:?}") };
    let exit = prints.strip_prefix("exit ").map_or(0, |rest| {
        let number = rest.split([' ', ',']).next().unwrap_or_default();
        number.parse().unwrap_or_else(|_| panic!("README.md:{line}: no exit code: {prints}"))
    });
    let texts = quoted(prints);
    assert!(!texts.is_empty() || prints.contains("nothing"), "README.md:{line}: what is printed?");
    Row {
        line,
        page: page.clone(),
        commands: quoted(here),
        exit,
        prints: if texts.is_empty() { Prints::Nothing } else { Prints::Each(texts) },
        tests: quoted(proved),
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What the table's examples are typed in: the README's worked example, before anything was said of where its
/// minidvodbs go, and a script with the page's example.
fn world() -> World {
    let world = World::with_sshd();
    let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
    for (id, state) in [(1, "merged"), (2, "merged"), (3, "to_be_merged")] {
        let folder = world.source(&format!("ThreePi.{id}"));
        dvo::make(&folder, Shape::tiny(), id).unwrap();
        list.push_str(&format!("{id},ThreePi.{id},ThreePi,{folder},{state}\n"));
    }
    world.import_text(&list).expect(0);
    let example = format!(
        "# the page's example\nserver module minidvodbcopy.pro\n\
         add.minidvodb.copy ThreePi ipp0222 {}\nadd.minidvodb.host ipp0222\n",
        world.there()
    );
    std::fs::write(world.root.join("ThreePi.pro"), example).unwrap();
    world
}

/// A text of the README for a world.
fn here(world: &World, text: &str) -> String {
    text.replace(THERE, world.there().as_str()).replace(SOURCE, world.root.join("source").as_str())
}

#[test]
fn every_example_of_the_table_does_what_it_says() {
    let world = world();
    for Row { line, commands, exit, prints, .. } in rows() {
        let place = format!("README.md:{line}");
        let (last, first) = commands.split_last().unwrap_or_else(|| panic!("{place}: nothing is typed"));
        for command in first {
            let ran = world.shell(&here(&world, command));
            assert_eq!(ran.code, 0, "{place}: {command}\n{}{}", ran.stdout, ran.stderr);
        }
        let ran = world.shell(&here(&world, last));
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, exit, "{place}: {last}\n{printed}");
        match prints {
            Prints::Nothing => assert_eq!(printed, "", "{place}: {last}"),
            Prints::Each(texts) => {
                for text in texts.iter().map(|text| here(&world, text)) {
                    assert!(printed.contains(&text), "{place}: {last}: no {text:?} in\n{printed}");
                }
            }
        }
    }
    for name in ["ThreePi.1", "ThreePi.2"] {
        world.expect_arrived(name);
    }
}

#[test]
fn every_command_of_the_table_is_one_line_and_ours() {
    for Row { line, commands, .. } in rows() {
        for command in commands {
            let words = shlex::split(&command).unwrap_or_else(|| panic!("README.md:{line}: {command}"));
            let program = words.first().map(String::as_str);
            assert!(
                matches!(program, Some("minidvodbcopy" | "minidvodbtool")),
                "README.md:{line}: {command}"
            );
        }
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    for Row { line, page, tests, .. } in rows() {
        assert!(!tests.is_empty(), "README.md:{line}: nothing proves {page}");
        for test in tests {
            let (module, name) = test.split_once("::").unwrap_or_else(|| panic!("README.md:{line}: {test}"));
            let file = root().join("tests/it").join(format!("{module}.rs"));
            let source = std::fs::read_to_string(&file).unwrap_or_else(|error| {
                panic!("README.md:{line}: {test}: {file}: {error}");
            });
            assert!(source.contains(&format!("#[test]\nfn {name}()")), "README.md:{line}: no {test}");
        }
    }
}

#[test]
fn every_row_of_the_page_is_in_the_table() {
    let rows = rows();
    for wanted in OF_THE_PAGE {
        assert!(rows.iter().any(|row| row.page.starts_with(wanted)), "no row for {wanted}");
    }
}

#[test]
fn a_row_updated_by_hand_has_what_was_set_and_the_log_says_so() {
    let world = World::new();
    super::shown::queue(&world, "ThreePi", "ipp0222", 2);
    world.ok(&["update", "--id", "2", "--set-fault", "4", "--set-dtime", "1.5"]);
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 0", "new 4"));
    assert_eq!(world.copy(2)["dtime"], 1.5);
    world.ok(&["update", "--id", "2", "--set-fault", "0", "--set-dtime", "0"]);
    assert_eq!(world.standing(2), "new 0");
    assert_eq!(world.copy(2)["dtime"], 0.0);
    world.ok(&["log", "add", "ipp022 was away"]);
    let log = world.ok(&["log", "show"]).stdout;
    assert!(log.lines().last().unwrap().ends_with("  ipp022 was away"), "{log}");
    assert!(log.lines().count() >= 3, "{log}");
}
