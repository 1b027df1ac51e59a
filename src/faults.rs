//! The faults of copies: code, name, class, scope and advice, in one table.
//!
//! Invariant: codes and names stand as documented; a code without a row here is one of rsync's, ssh's or
//! the old programs' own, kept as it came, and waits for a person.

use std::fmt;

/// Whether a fault heals by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Tried again by itself.
    Retry,
    /// Waits for an operator.
    Person,
    /// The same, and a setting is to be changed.
    Configuration,
}

impl Class {
    /// The word in tables and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Person => "person",
            Self::Configuration => "configuration",
        }
    }
}

/// What a fault belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One copy.
    Copy,
    /// A host: every target there.
    Host,
    /// A target: every copy of that group to that host.
    Target,
}

impl Scope {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Host => "host",
            Self::Target => "target",
        }
    }
}

macro_rules! faults {
    ($($code:literal $variant:ident $name:literal $class:ident $scope:ident $when:literal $advice:literal)*) => {
        /// A fault code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $when] $variant,)*
            /// A code of rsync, ssh or the old programs, where nothing better is known.
            Foreign(i16),
        }

        impl Fault {
            /// Every fault of the program's own, in order of code.
            pub const OWN: &[Self] = &[$(Self::$variant),*];

            /// The code in the column `fault`.
            pub const fn code(self) -> i16 {
                match self { $(Self::$variant => $code,)* Self::Foreign(code) => code }
            }

            /// The fault of a code; 0 is none.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { 0 => None, $($code => Some(Self::$variant),)* other => Some(Self::Foreign(other)) }
            }

            /// The name beside the code.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Foreign(code) => foreign(code).0 }
            }

            /// Its class when it is met first.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* Self::Foreign(_) => Class::Person }
            }

            /// What it belongs to.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$variant => Scope::$scope,)* Self::Foreign(_) => Scope::Copy }
            }

            /// When it is met.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$variant => $when,)* Self::Foreign(code) => foreign(code).1 }
            }

            /// What to do about it, as one sentence.
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice,)*
                    Self::Foreign(_) => "read what rsync and ssh said with `minidvodbcopy show ID`, mend the cause, then revert the copy",
                }
            }
        }
    };
}

faults! {
    201 SourceMissing "source-missing" Person Copy
        "minidvodb_path is not there, not a folder, or holds no Images.dat"
        "look for the minidvodb on this machine; if it has moved, import the list again with its new path, then revert the copy"
    202 SourceUnreadable "source-unreadable" Person Copy
        "a file of the source can't be read"
        "let the user that runs minidvodbcopy read every file and folder of the source, then revert the copy"
    203 SourceChanged "source-changed" Retry Copy
        "files of the source vanished or changed while they were copied"
        "nothing to do: it is copied again when it has come to rest; find out who writes to it if this goes on"
    204 SourceOutside "source-outside" Person Copy
        "minidvodb_path, symlinks resolved, lies under no allowed source root"
        "correct the minidvodb's path, or allow its root, then revert the copy"
    211 HostUnreachable "host-unreachable" Retry Host
        "the connection was refused, found no route, timed out, or the name is not known"
        "nothing to do if the host is down for a while; else try `ssh HOST` by hand as the user of the cron job"
    212 HostRefused "host-refused" Person Host
        "the host denied authentication"
        "put this user's public key into ~/.ssh/authorized_keys at the host; the next probe then goes on by itself"
    213 HostKey "host-key" Person Host
        "the host's key is unknown or has changed"
        "make sure that the host is the right one, then put its key into ~/.ssh/known_hosts; the next probe then goes on by itself"
    214 HostTools "host-tools" Configuration Host
        "rsync or another needed program is missing at the host, or its login shell prints rubbish"
        "install what is missing at the host, or make its login scripts (.bashrc, .cshrc) silent for sessions without a terminal, or let its sshd allow 2 sessions a connection (MaxSessions); the next probe then goes on by itself"
    221 PathMissing "path-missing" Person Target
        "the target's path is not there; it is never created"
        "mount the disk or make the folder at the host, or correct the path with `minidvodbcopy target add`; the next probe then goes on by itself"
    222 PathDenied "path-denied" Person Target
        "the target's path can't be written: permissions, read-only, or over quota"
        "let the user at the host write there; the next probe then goes on by itself"
    223 OverLimit "over-limit" Retry Target
        "more than the limit is used on the target's file system"
        "make room at the host, or raise the limit with `minidvodbcopy target add ... --max-used PERCENT`"
    224 NoRoom "no-room" Retry Copy
        "not enough bytes or inodes for this minidvodb"
        "make room at the host"
    225 PathTaken "path-taken" Person Copy
        "PATH/NAME is there, and this ledger did not put it there"
        "look at what is there; `minidvodbcopy revert --id ID --adopt` lets the next attempt complete and verify it; or move it away, then revert the copy"
    226 NameCollision "name-collision" Person Copy
        "another minidvodb goes to the same final path"
        "give the group a target with a path of its own, then revert the copy"
    227 FilesystemChanged "filesystem-changed" Person Target
        "the target's path now lies on another file system than before"
        "mount the right disk at the host; then, or if the change was meant, accept what is there by typing `minidvodbcopy target add` again"
    231 VerifyMismatch "verify-mismatch" Retry Copy
        "what arrived differs from the source"
        "find out what damages files on the way or on the host's disk before anything else is trusted to it, then revert the copy"
    241 Deadline "deadline" Retry Copy
        "the attempt took too long, or was cut off again and again"
        "nothing to do while it makes progress; else give the target a longer `--deadline`, or find out what ends the passes"
    242 Stalled "stalled" Retry Copy
        "nothing moved for the watchdog's time"
        "nothing to do if it was the network; look at the host's disk and load if it comes again"
    251 MissingThere "missing-there" Person Copy
        "an audit found a full copy gone, wholly or in part"
        "find out who removed it; send it again with recopy"
    252 DiffersThere "differs-there" Person Copy
        "an audit found a full copy changed"
        "find out who changed it; send it again with recopy"
}

/// Names and meanings of codes that are not the program's own; rsync's from "EXIT VALUES" of rsync(1),
/// ssh's from ssh(1), the shell's from sh(1), the old programs' from their sources.
const fn foreign(code: i16) -> (&'static str, &'static str) {
    match code {
        1 => ("rsync-1", "rsync: syntax or usage error; or an old program's 'unknown'"),
        2 => ("rsync-2", "rsync: protocol incompatibility; or an old program's 'system'"),
        3 => ("rsync-3", "rsync: errors selecting files and folders; or an old program's 'configuration'"),
        4 => ("rsync-4", "rsync: action not supported; or an old program's 'program' (any rsync failure)"),
        5 => ("rsync-5", "rsync: error starting client-server protocol; or an old program's 'data'"),
        6 => ("rsync-6", "rsync: daemon unable to append to log-file; or an old program's 'timeout'"),
        10 => ("rsync-10", "rsync: error in socket I/O"),
        11 => ("rsync-11", "rsync: error in file I/O"),
        12 => ("rsync-12", "rsync: error in the protocol data stream"),
        13 => ("rsync-13", "rsync: errors with program diagnostics"),
        14 => ("rsync-14", "rsync: error in IPC code"),
        15 => ("rsync-15", "rsync: sibling process crashed"),
        16 => ("rsync-16", "rsync: sibling process terminated abnormally"),
        19 => ("rsync-19", "rsync: received SIGUSR1"),
        20 => (
            "rsync-20",
            "rsync: received SIGINT, SIGTERM or SIGHUP; or an old program copied but could not record it",
        ),
        21 => ("rsync-21", "rsync: waitpid() failed"),
        22 => ("rsync-22", "rsync: error allocating memory"),
        23 => ("rsync-23", "rsync: partial transfer due to error"),
        24 => ("rsync-24", "rsync: source files vanished"),
        25 => ("rsync-25", "rsync: the limit of deletions stopped it"),
        30 => ("rsync-30", "rsync: timeout in data send or receive"),
        35 => ("rsync-35", "rsync: timeout waiting for the daemon"),
        124 => ("ssh-124", "the remote command failed"),
        125 => ("ssh-125", "the remote command was killed"),
        126 => ("ssh-126", "the remote command cannot be run"),
        127 => ("ssh-127", "the remote command was not found"),
        255 => ("ssh-255", "ssh failed"),
        _ => ("unknown", "a code that this program does not know"),
    }
}

impl Fault {
    /// Reads a fault by its code or its name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse::<i16>() {
            Ok(code) => Self::from_code(code),
            Err(_) => Self::OWN.iter().copied().find(|fault| fault.name() == text),
        }
    }

    /// Whether only an audit meets it.
    pub fn is_of_audit(self) -> bool {
        matches!(self, Self::MissingThere | Self::DiffersThere)
    }

    /// The codes that are rsync's, ssh's or the old programs' own and have a meaning here.
    pub fn foreign_codes() -> impl Iterator<Item = Self> {
        (1..=255)
            .map(Self::Foreign)
            .filter(|fault| Self::from_code(fault.code()) == Some(*fault) && fault.name() != "unknown")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

/// A fault as it was met, with what rsync, ssh or the program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What is wrong.
    pub fault: Fault,
    /// What was said; one sentence, or a program's last lines.
    pub message: String,
    /// Whether it could never heal by itself, whatever its class says.
    pub is_for_ever: bool,
}

impl Met {
    /// A fault with its message.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), is_for_ever: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back_to_their_fault() {
        for &fault in Fault::OWN {
            assert_eq!(Fault::from_code(fault.code()), Some(fault));
            assert_eq!(Fault::parse(fault.name()), Some(fault));
        }
        assert_eq!(Fault::from_code(0), None);
        assert_eq!(Fault::from_code(23), Some(Fault::Foreign(23)));
        assert_eq!(Fault::from_code(-7), Some(Fault::Foreign(-7)));
    }

    #[test]
    fn faults_of_rsync_wait_for_a_person() {
        assert!(Fault::foreign_codes().all(|fault| fault.class() == Class::Person));
        assert!(Fault::foreign_codes().count() > 20);
    }
}
