//! What people type: command lines, the wiki page's words, scripts, minidvodbtool's options.

use proptest::prelude::*;

use super::script;
use crate::fuzzing::{config, like, words_like};

const TYPED: &[&str] = &[
    "run",
    "copy",
    "target",
    "add",
    "del",
    "show",
    "host",
    "stage",
    "on",
    "off",
    "list",
    "revert",
    "update",
    "recopy",
    "faults",
    "export",
    "database",
    "set",
    "sync",
    "log",
    "source",
    "ledger",
    "help",
    "--help",
    "-v",
    "-q",
    "--",
    "-",
    "--host",
    "--group",
    "--id",
    "--limit",
    "--format",
    "csv",
    "mdc",
    "--set-state",
    "full",
    "--set-fault",
    "0",
    "225",
    "--set-dtime",
    "1.5",
    "--set-path",
    "/data/x",
    "ThreePi",
    "ipp0222",
    "ipp@ipp0222",
    "mysql://ipp@ippdb01/gpc1",
    "--state-dir=/x",
    "--version",
    "script",
    "-n",
    "3",
    "--max-used",
    "97",
];
const WORDS: &[&str] = &[
    "add.minidvodb.copy",
    "del.minidvodb.copy",
    "show.minidvodb.copy",
    "add.minidvodb.host",
    "del.minidvodb.host",
    "show.minidvodb.host",
    "minidvodb.copy.on",
    "minidvodb.copy.load.off",
    "server",
    "module",
    "minidvodbcopy.pro",
    "ThreePi",
    "ipp0222",
    "/data/ipp022.0/gpc1",
    "-v",
    "--help",
    "minidvodb.copy.lod.off",
];
const TOOL: &[&str] = &[
    "minidvodbtool",
    "-listminidvodbcopy",
    "-definebyquery",
    "-revertminidvodbcopy",
    "-updateminidvodbcopy",
    "-minidvodb_id",
    "-minidvodbcopy_id",
    "-minidvodb_group",
    "-destination_host",
    "-pending",
    "-faulted",
    "-limit",
    "-simple",
    "-pretend",
    "-set_destination_host",
    "-set_minidvodb_rsync_path",
    "-set_fault",
    "-set_dtime",
    "-set_state",
    "-state",
    "-host",
    "-fault",
    "-all",
    "-dbname",
    "gpc1",
    "-h",
    "0",
    "7",
    "9223372036854775808",
    "-1",
    "1e400",
    "nan",
    "new",
    "full",
    "ThreePi",
    "ipp0222",
    "/data/x",
];

proptest! {
    #![proptest_config(config("testdata/fuzz/cli.txt"))]

    #[test]
    fn command_lines(words in words_like(TYPED)) {
        let _ = super::parse(words);
    }

    #[test]
    fn words_of_the_wiki_page(words in words_like(WORDS)) {
        let _ = super::parse(words);
    }

    #[test]
    fn options_of_minidvodbtool(words in words_like(TOOL)) {
        let _ = super::parse(words.clone());
        let named = std::iter::once("minidvodbtool".into()).chain(words).collect();
        let _ = super::parse(named);
    }

    #[test]
    fn scripts(script in like(vec![
        b"# ThreePi\nserver module minidvodbcopy.pro\nadd.minidvodb.copy ThreePi ipp0222 '/data/a b'\r\nadd.minidvodb.host ipp0222 # now\n".to_vec(),
        b"\xef\xbb\xbfminidvodb.copy.off\n".to_vec(),
    ])) {
        let _ = script::parse(&script);
    }
}
