//! Names from a table, a file or the command line: what is not legal is refused, and what is, is safe.

use proptest::prelude::*;

use super::{AbsolutePath, Address, CopyId, Group, Host, Machine, MinidvodbId, MinidvodbState, Name};
use crate::fuzzing::{config, text_like};

fn is_safe(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(config("testdata/fuzz/model.txt"))]

    #[test]
    fn hosts_and_machines(text in text_like(&["ipp0222", "ipp@ipp0222", "-oProxyCommand=x", "a::b", "localhost"])) {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(host.as_str(), text.as_str());
            prop_assert!(!text.starts_with('-') && !text.contains(['/', ':', ' ']) && text.is_ascii());
            let _ = host.default_machine();
        }
        if let Ok(machine) = Machine::parse(&text) {
            prop_assert!(is_safe(machine.as_str()));
        }
    }

    #[test]
    fn groups_and_names(text in text_like(&["ThreePi", "..", "ThreePi.V1 'x' $(id)", ".minidvodbcopy"])) {
        if let Ok(group) = Group::parse(&text) {
            prop_assert!(is_safe(group.as_str()) && !text.contains('/') && text != "." && text != "..");
        }
        if let Ok(name) = Name::parse(&text) {
            let name = name.as_str();
            prop_assert!(!name.is_empty() && !name.contains('/') && ![".", "..", ".minidvodbcopy"].contains(&name));
        }
    }

    #[test]
    fn paths(text in text_like(&["/data/ipp022.0/gpc1/mini-catdirs/ThreePi", "/", "//a//", "/a/../b", "relative"])) {
        if let Ok(path) = AbsolutePath::parse(&text) {
            prop_assert!(text.starts_with('/') && is_safe(&text) && text.len() <= 255);
            prop_assert!(!text.split('/').any(|part| part == "." || part == ".."));
            let tidy = AbsolutePath::parse(&path.tidy()).unwrap();
            prop_assert_eq!(tidy.as_str(), tidy.tidy());
            prop_assert_eq!(tidy.tidy(), path.tidy());
            let _ = path.name();
        }
    }

    #[test]
    fn addresses_of_databases(text in text_like(&["mysql://ipp@ippdb01:3307/gpc1?socket=/run/x.sock", "mysql://ipp:secret@h/gpc1?tls=verify&ca=/x"])) {
        match Address::parse(&text) {
            Ok(address) => {
                let shown = address.to_string();
                prop_assert_eq!(Address::parse(&shown).unwrap().to_string(), shown);
            }
            Err(refused) => {
                // Where it can be seen to be a password, however broken the rest is.
                let has_password = text.starts_with("mysql://") && text.contains(":secret@") && text.matches("secret").count() == 1;
                prop_assert!(!has_password || !refused.to_string().contains("secret"));
            }
        }
    }

    #[test]
    fn numbers_and_states(text in text_like(&["1", "-1", "9223372036854775807", "merged", "to_be_merged"])) {
        let _ = (CopyId::parse(&text), MinidvodbId::parse(&text), MinidvodbState::parse(&text));
    }
}
