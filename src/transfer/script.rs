//! Scripts for the destination's shell.
//!
//! Invariant: a name gets into a script only through [`quote`].

/// A word that a POSIX shell reads as exactly `text`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if c == '\'' {
            quoted.push_str("'\\''");
        } else {
            quoted.push(c);
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_name_as_it_is() {
        for name in
            ["plain", "it's", "$(id)", "a b", "-rf", "\\", "`x`", "''", "\"", "a\nb", "é€", ";|&<>*?[]{}~#!"]
        {
            let script = format!("printf '%s' {}", quote(name));
            let output = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), name);
        }
    }
}
