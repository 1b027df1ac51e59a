//! Names that come from outside: hosts, machines, groups, paths, and the folder's NAME.
//!
//! Invariant: a value of these types obeys the grammar of its kind, so that it fits the table's columns
//! and can be handed to ssh and rsync as an operand. Blanks, quotes and `$( )` are legal: quoting is the
//! business of whoever hands a name on. What many copies have in common is shared, since there are millions.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Why a name was refused: the name (escaped), and what is expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{}' {why}", shown.escape_debug())]
pub struct Refused {
    what: &'static str,
    shown: String,
    why: String,
}

impl Refused {
    /// A refusal of `value` as a `what`; `why` goes on the sentence.
    pub fn new(what: &'static str, value: &str, why: impl fmt::Display) -> Self {
        let mut shown: String = value.chars().take(80).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self { what, shown, why: why.to_string() }
    }
}

impl From<Refused> for crate::error::Error {
    fn from(refused: Refused) -> Self {
        Self::usage(refused)
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// A destination host, as ssh is to be told: `name` or `user@name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);
text_type!(Host);

const HOST_MAX_BYTES: usize = 253;

impl Host {
    /// Reads a host: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 253 bytes, with an optional `user@` of that form.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refused = |why: &str| Refused::new("the host", text, why);
        let (user, name) = match text.split_once('@') {
            Some((user, name)) => (Some(user), name),
            None => (None, text),
        };
        if name.len() > HOST_MAX_BYTES || user.is_some_and(|user| user.len() > HOST_MAX_BYTES) {
            return Err(refused("is longer than 253 bytes"));
        }
        if text.len() > 255 {
            return Err(refused("is longer than the 255 bytes of the table's column"));
        }
        if !is_host_word(name) || user.is_some_and(|user| !is_host_word(user)) {
            return Err(refused(
                "is not a host: letters, digits, '.', '_' and '-', a letter or digit first, and an optional user@ of that form",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The machine that this host is taken for unless an operator says otherwise.
    pub fn default_machine(&self) -> Machine {
        let name = self.0.rsplit_once('@').map_or(&*self.0, |(_, name)| name);
        Machine(name.to_ascii_lowercase().into())
    }

    /// Whether this is the machine that the program runs on, reached without ssh.
    pub fn is_local(&self) -> bool {
        &*self.0 == "localhost"
    }
}

fn is_host_word(word: &str) -> bool {
    word.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A physical machine, which may have several host names: in lower case, without a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(Arc<str>);
text_type!(Machine);

impl Machine {
    /// Reads a machine's name: a host without `user@`; upper case becomes lower case.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > HOST_MAX_BYTES || !is_host_word(text) {
            return Err(Refused::new(
                "the machine",
                text,
                "is not a machine's name: letters, digits, '.', '_' and '-', a letter or digit first, no user@, at most 253 bytes",
            ));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

/// A group of minidvodbs, such as `ThreePi`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);
text_type!(Group);

impl Group {
    /// Reads a group: 1 to 64 bytes, no `/`, no control character, not `.` or `..`.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refused = |why: &str| Refused::new("the group", text, why);
        if text.is_empty() || text.len() > 64 {
            return Err(refused("must have 1 to 64 bytes"));
        }
        if text.contains('/') || text == "." || text == ".." {
            return Err(refused("must not contain '/' or be '.' or '..'"));
        }
        check_characters(text).map_err(|why| refused(&why))?;
        Ok(Self(text.into()))
    }
}

/// An absolute path as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(Arc<str>);
text_type!(AbsolutePath);

impl AbsolutePath {
    /// Reads a path: absolute, at most 255 bytes, no `.` or `..` component, no control character,
    /// encodable in latin1.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refused = |why: &str| Refused::new("the path", text, why);
        if !text.starts_with('/') {
            return Err(refused("must be absolute"));
        }
        if text.len() > 255 {
            return Err(refused(&format!(
                "has {} bytes, more than the 255 of the table's column",
                text.len()
            )));
        }
        let has_dot = text.as_bytes().windows(2).any(|pair| pair == b"/.");
        if has_dot && text.split('/').any(|component| component == "." || component == "..") {
            return Err(refused("must not have a component '.' or '..'"));
        }
        check_characters(text).map_err(|why| refused(&why))?;
        Ok(Self(text.into()))
    }

    /// The last component: the folder's name at the destination.
    pub fn name(&self) -> Result<Name, Refused> {
        Name::parse(self.last())
    }

    /// Makes sure that it has a last component that can be a folder's name.
    pub fn expect_name(&self) -> Result<(), Refused> {
        Name::check(self.last())
    }

    fn last(&self) -> &str {
        let path = self.0.trim_end_matches('/');
        path.rsplit_once('/').map_or(path, |(_, last)| last)
    }

    /// The path without doubled or trailing slashes, which mean nothing: what two paths are compared by.
    pub fn tidy(&self) -> Cow<'_, str> {
        if !self.0.contains("//") && (!self.0.ends_with('/') || &*self.0 == "/") {
            return Cow::Borrowed(&self.0);
        }
        let mut tidy = String::with_capacity(self.0.len());
        for component in self.0.split('/').filter(|component| !component.is_empty()) {
            tidy.push('/');
            tidy.push_str(component);
        }
        Cow::Owned(if tidy.is_empty() { "/".to_owned() } else { tidy })
    }
}

/// The folder's name at the destination: one path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);
text_type!(Name);

/// The folder at a target in which copies are made before they get their final name.
pub const STAGING: &str = ".minidvodbcopy";

impl Name {
    /// Reads a name: never empty, `.`, `..` or `.minidvodbcopy`; no `/`, no control character, latin1.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        Self::check(text).map(|()| Self(text.into()))
    }

    fn check(text: &str) -> Result<(), Refused> {
        let refused = |why: &str| Refused::new("the folder name", text, why);
        if text.is_empty() {
            return Err(refused("is empty: the path must end in the minidvodb's own folder"));
        }
        if text.contains('/') || matches!(text, "." | ".." | STAGING) {
            return Err(refused("cannot be a minidvodb's folder"));
        }
        check_characters(text).map_err(|why| refused(&why))
    }
}

/// Refuses control characters and what MySQL's `latin1` (in truth Windows-1252) cannot encode; see
/// "The latin1 character set" in the MySQL reference manual.
pub(super) fn check_characters(text: &str) -> Result<(), String> {
    const WINDOWS_1252_EXTRA: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ";
    // Nearly all names are plain, and there are millions of them.
    if text.bytes().fold(true, |are_plain, byte| are_plain & (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    match text.chars().find(|&c| {
        c.is_control()
            || !(c <= '\u{7e}' || ('\u{a0}'..='\u{ff}').contains(&c) || WINDOWS_1252_EXTRA.contains(c))
    }) {
        None => Ok(()),
        Some(c) if c.is_control() => {
            Err(format!("has a control character, '{}', which no name may have", c.escape_debug()))
        }
        Some(c) => {
            Err(format!("has the character '{c}', which the table's character set latin1 cannot hold"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn hosts_are_words_with_an_optional_user() {
        for good in ["ipp0222", "localhost", "ipp@ipp022", "a.b-c_d", "1host"] {
            assert_eq!(Host::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a/b",
            "host:",
            "a::b",
            "a b",
            "@h",
            "u@",
            "u@-h",
            "ü",
            "a\n",
            "u@v@h",
            "[::1]",
        ] {
            assert!(Host::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Host::parse(&"a".repeat(254)).is_err());
    }

    #[test]
    fn the_default_machine_is_the_host_without_user_in_lower_case() {
        assert_eq!(Host::parse("ipp@IPP022").unwrap().default_machine().as_str(), "ipp022");
    }

    #[test]
    fn paths_are_absolute_plain_and_fit_the_column() {
        for good in ["/data/x", "/data/ThreePi 1/$(id)'\";x", "/data/-x", "/é€", "/"] {
            assert!(AbsolutePath::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["data/x", "/a/../b", "/a/./b", "/a\nb", "/日本", "/a\u{1b}[31m", ""] {
            assert!(AbsolutePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(AbsolutePath::parse(&format!("/{}", "a".repeat(255))).is_err());
    }

    #[test]
    fn a_name_is_the_last_component_and_never_the_staging_folder() {
        let name =
            |path: &str| AbsolutePath::parse(path).unwrap().name().map(|name| name.as_str().to_owned());
        assert_eq!(name("/a/ThreePi.1").unwrap(), "ThreePi.1");
        assert_eq!(name("/a/ThreePi.1//").unwrap(), "ThreePi.1");
        assert!(name("/").is_err());
        assert!(name("/a/.minidvodbcopy").is_err());
    }

    #[test]
    fn a_refusal_names_the_value_escaped() {
        expect!["the host 'a\\u{1b}b' is not a host: letters, digits, '.', '_' and '-', a letter or digit first, and an optional user@ of that form"]
            .assert_eq(&Host::parse("a\u{1b}b").unwrap_err().to_string());
    }
}
