//! Examples for the help of every command.
//!
//! Invariant: each can be typed as it stands, which a test does; none asks for more than the README's worked
//! example has.

/// The commands with their verbs, what is typed, and what for.
const EXAMPLES: [(&str, &str, &str); 66] = [
    ("run", "minidvodbcopy run", "one pass, as cron makes it"),
    ("run", "minidvodbcopy run --dry-run", "what would be copied, and whether there is room"),
    ("run", "minidvodbcopy run --host ipp0222 --limit 10", "at most ten copies, to one host"),
    (
        "copy",
        "minidvodbcopy copy ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi",
        "one group, now, whether the host is on or off",
    ),
    (
        "target add",
        "minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi",
        "copy the group there from now on",
    ),
    (
        "target add",
        "minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi --max-used 95 --bwlimit 20m",
        "leave 5 % free, and send 20 MiB a second at most",
    ),
    ("target show", "minidvodbcopy target show", "what goes where"),
    ("target del", "minidvodbcopy target del ipp0222 ThreePi", "no more of it; its new copies are parked"),
    ("host add", "minidvodbcopy host add ipp0222 --machine ipp022", "switch it on, as a name of ipp022"),
    ("host show", "minidvodbcopy host show", "which hosts are on"),
    ("host del", "minidvodbcopy host del ipp0222", "switch it off"),
    ("stage off", "minidvodbcopy stage off", "passes do nothing until it is on again"),
    ("stage off", "minidvodbcopy stage off run", "passes queue, and copy nothing"),
    ("stage on", "minidvodbcopy stage on", "all three again"),
    ("stage show", "minidvodbcopy stage show", "which stages are on"),
    ("minidvodb import", "minidvodbcopy minidvodb import minidvodbs.csv", "take a list"),
    (
        "minidvodb import",
        "minidvodbcopy minidvodb import --scan /data/ipp004.0/minidvodbs --group ThreePi --dry-run",
        "what would be taken in of the DVO databases under a folder",
    ),
    (
        "minidvodb import",
        "minidvodbcopy minidvodb import --scan /data/ipp004.0/minidvodbs --group ThreePi",
        "take them in",
    ),
    ("minidvodb list", "minidvodbcopy minidvodb list --group ThreePi", "what is known of a group"),
    ("list", "minidvodbcopy list", "all copies"),
    ("list", "minidvodbcopy list --faulted", "those with a fault"),
    ("list", "minidvodbcopy list --host ipp0222 --pending --format csv", "what is still to be sent there"),
    ("show", "minidvodbcopy show 1", "one copy, its attempts, and what rsync and ssh said"),
    ("revert", "minidvodbcopy revert --fault 202 --dry-run", "which copies would be tried again"),
    ("revert", "minidvodbcopy revert --id 1", "try one again"),
    ("revert", "minidvodbcopy revert --fault 225 --adopt", "complete what is there already, and verify it"),
    ("update", "minidvodbcopy update --id 1 --set-fault 0", "take a fault away by hand"),
    ("update", "minidvodbcopy update --id 1 --set-state full", "say that it is there; marked as by hand"),
    ("recopy", "minidvodbcopy recopy 2 --reason 'source was updated'", "send a full copy again"),
    ("recopy", "minidvodbcopy recopy 2 --cancel", "leave it as it is after all"),
    ("faults", "minidvodbcopy faults", "the table of fault codes"),
    ("faults", "minidvodbcopy faults 212", "what one means, and what to do"),
    ("status", "minidvodbcopy status", "at a glance"),
    ("status", "minidvodbcopy status --json", "the same for programs"),
    ("export", "minidvodbcopy export --format csv --output copies.csv", "all copies in a file"),
    (
        "export",
        "minidvodbcopy export --format sql --output copies.sql",
        "statements for the stock mysql client",
    ),
    ("ledger check", "minidvodbcopy ledger check", "is every record whole?"),
    ("ledger backup", "minidvodbcopy ledger backup", "a copy in the backup folder"),
    ("ledger backup", "minidvodbcopy ledger backup ledger.copy", "a copy in a file of that name"),
    ("ledger restore", "minidvodbcopy ledger restore ledger.copy", "put it in the ledger's place"),
    ("ledger compact", "minidvodbcopy ledger compact", "make the file small"),
    (
        "database set",
        "minidvodbcopy database set mysql://ipp@ippdb01/gpc1",
        "with the password in MYSQL_PWD, or --password-file",
    ),
    ("database show", "minidvodbcopy database show", "which one, and how far it is behind"),
    ("database del", "minidvodbcopy database del", "work by the ledger alone"),
    ("sync", "minidvodbcopy sync --dry-run", "each difference between ledger and database"),
    ("sync", "minidvodbcopy sync", "bring them in step"),
    ("log add", "minidvodbcopy log add 'ipp022 was away: its disk was changed'", "write an entry"),
    ("log show", "minidvodbcopy log show -n 20", "the last twenty"),
    ("source add", "minidvodbcopy source add /data/ipp004.0/minidvodbs", "copy from there alone"),
    ("source show", "minidvodbcopy source show", "the folders to copy from"),
    ("source del", "minidvodbcopy source del /data/ipp004.0/minidvodbs", "not from there any more"),
    ("script", "minidvodbcopy script ThreePi.pro", "the words of a pantasks input file"),
    (
        "audit",
        "minidvodbcopy audit --limit 200",
        "are the copies still there that were looked at longest ago?",
    ),
    ("audit", "minidvodbcopy audit --host ipp0222 --checksum", "all of a host's, byte for byte"),
    ("check", "minidvodbcopy check", "everything that a pass needs, tried now"),
    ("check", "minidvodbcopy check ipp0222 --as-cron", "one host, as a pass that cron starts would find it"),
    ("crontab", "minidvodbcopy crontab", "the lines for cron"),
    (
        "completions",
        "minidvodbcopy completions bash > minidvodbcopy.bash",
        "a file for bash to source, or for its folder of completions",
    ),
    ("completions", "minidvodbcopy completions fish", "the same for fish"),
    ("report", "minidvodbcopy report --output report.html", "a page to look at, to send or to print"),
    ("metrics", "minidvodbcopy metrics", "what the collector would get now"),
    (
        "run",
        "minidvodbcopy run --metrics minidvodbcopy.prom",
        "a pass, and its numbers for Prometheus afterwards",
    ),
    (
        "copy",
        "minidvodbcopy copy ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi --metrics minidvodbcopy.prom",
        "the same, with its numbers for Prometheus afterwards",
    ),
    (
        "crontab",
        "minidvodbcopy crontab --systemd timer > minidvodbcopy.timer",
        "a unit for ~/.config/systemd/user, beside minidvodbcopy.service",
    ),
    (
        "minidvodbtool",
        "minidvodbcopy minidvodbtool -listminidvodbcopy -destination_host ipp0222 -limit 5",
        "as the old tool printed it",
    ),
    ("minidvodbtool", "minidvodbcopy minidvodbtool -h", "its own help"),
];

/// The examples of a command, or of a command's verb; of a command with verbs, all of theirs.
pub fn of(path: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    EXAMPLES
        .iter()
        .filter(move |(of, ..)| {
            of.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
        .map(|(_, typed, meaning)| (*typed, *meaning))
}

/// The examples as the end of a help text; nothing where there are none.
pub fn section(path: &str) -> String {
    let mut section = String::new();
    for (typed, meaning) in of(path) {
        if section.is_empty() {
            section.push_str("\nExamples:\n");
        }
        section.push_str(&format!("  {typed}\n      {meaning}\n"));
    }
    section
}
