//! What destinations say: df, find, rsync, ssh, and manifests.

use proptest::prelude::*;

use super::destination::{self, Place};
use super::process::Ended;
use super::shell::Answer;
use super::{df, inventory, manifest, outcome, rsync};
use crate::fuzzing::{config, like, samples, text_like};
use crate::model::{AbsolutePath, Host, Name};

const LOOK: &str = "-- rsync rsync  version 3.2.7  protocol version 31\n-- at /data/ipp022.0\n-- published 64769 123\n-- staging \n-- bytes\nFilesystem     1024-blocks      Used Available Capacity Mounted on\n/dev/sda1        264016580 123   263000000     18% /data\n-- inodes\nFilesystem     Inodes IUsed IFree IUse% Mounted on\n/dev/sda1      16777216 11 16777205    1% /data\n-- kind\nfd0100000000 4096 ext2/ext3\n-- end\n";

proptest! {
    #![proptest_config(config("testdata/fuzz/transfer.txt"))]

    #[test]
    fn what_df_prints(bytes in like(samples("df")), inodes in like(samples("df")), kind in like(vec![b"fd01 4096 ext2/ext3".to_vec()])) {
        let _ = df::parse(&bytes, &inodes, &kind);
    }

    #[test]
    fn what_a_look_at_a_destination_prints(output in like(vec![LOOK.into()])) {
        let (path, name) = (AbsolutePath::parse("/data/there").unwrap(), Name::parse("ThreePi.1").unwrap());
        let place = Place { path: &path, ledger_id: "0123456789abcdef", name: Some(&name) };
        if let Ok(view) = destination::parse_look(&Answer { status: 0, output }, place) {
            prop_assert!(view.at.starts_with('/') && !view.at.contains('\n'));
        }
    }

    #[test]
    fn what_find_prints(record in like(vec![b"f 1234 1700000000.1234567890 n0000/0148.cpm".to_vec(), b"d 4096 -1.0 ".to_vec()])) {
        let _ = destination::parse_listed(&record);
    }

    #[test]
    fn what_an_audit_s_list_prints(output in like(vec![b"d 4096 1.0 \0f 1234 1700000000.5 n0000/0148.cpm\0-- find: './x': Permission denied\n-- 1".to_vec()]), cut in 1..64usize) {
        let mut records = inventory::Records::default();
        let mut longest = 0;
        for piece in output.chunks(cut) {
            records.feed(piece, &mut |record| {
                longest = longest.max(record.len());
                let _ = (destination::parse_listed(record), inventory::parse_last_words(record));
            });
        }
        prop_assert!(longest <= output.len());
    }

    #[test]
    fn what_an_audit_s_look_prints(output in like(vec![LOOK.into()])) {
        let path = AbsolutePath::parse("/data/there").unwrap();
        if let Ok(ground) = inventory::parse_ground(&Answer { status: 0, output }, &path) {
            prop_assert!(ground.view.at.starts_with('/') && !ground.view.at.contains('\n'));
        }
    }

    #[test]
    fn what_rsync_prints(output in like(samples("rsync"))) {
        let mut comparison = rsync::Comparison::default();
        let mut longest = 0;
        rsync::Lines::default().feed(&output, &mut |line: &[u8]| {
            longest = longest.max(line.len());
            let _ = (rsync::parse_sent(line), rsync::parse_algorithm(line));
            if let Some(item) = rsync::parse_item(line) {
                assert!(item.path.len() <= line.len());
            }
            comparison.take(line);
        });
        let _ = rsync::parse_version(&String::from_utf8_lossy(&output));
    }

    #[test]
    fn how_rsync_ends(messages in text_like(&["rsync: [sender] write error: Broken pipe (32)\nrsync error: error in socket IO (code 10) at io.c(949) [sender=3.5.0]"]), code in any::<Option<i32>>(), signal in any::<Option<i32>>()) {
        let _ = outcome::of_rsync(&Ended { code, signal, messages: messages.clone() });
        let _ = outcome::of_target_message(&messages);
    }

    #[test]
    fn how_ssh_ends(messages in like(samples("ssh")), code in any::<Option<i32>>(), output in text_like(&["welcome\n"])) {
        let messages = String::from_utf8_lossy(&messages).into_owned();
        let host = Host::parse("ipp0222").unwrap();
        let _ = outcome::of_connection(&host, &Ended { code, signal: None, messages }, &output);
    }

    #[test]
    fn lines_of_a_manifest(line in text_like(&["f\t1234\t1700000000.123456789\txxh128\tn0000/a\\x41\\\\b", "d\t0\t-1.0\t-\t"])) {
        let _ = manifest::parse_line(&line);
    }

    #[test]
    fn any_path_goes_through_a_manifest(path in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = manifest::escape(&path);
        prop_assert!(!text.contains(['\n', '\t']));
        prop_assert_eq!(&*manifest::unescape(&text).unwrap(), &*path);
    }
}
