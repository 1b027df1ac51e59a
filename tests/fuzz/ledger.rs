//! Records of the ledger, damaged under a checksum that is right: what a bug, or somebody with an editor, makes.

use proptest::prelude::*;

use super::look::{decode_attempt, decode_copy, decode_host, decode_minidvodb, decode_target, target_place};
use super::records::{self, Place};
use crate::fuzzing::{config, text_like};

const COPY: &str = r#"{"id":7,"minidvodb_id":123,"group":"ThreePi","host":"ipp0222","machine":"ipp022","path":"/data/ipp022.0/x","name":"ThreePi.123","state":"full","fault":{"code":252,"class":"person"},"publishing":{"device":1,"inode":2,"verified":"checksum","dtime_s":1.5},"verified":"checksum","recopy":{"reason":"updated","fault":{"code":203,"class":"retry","next_try_us":1700000000000000},"exchanging":{"device":1,"inode":3,"verified":"quick","dtime_s":2.5}},"audit":{"at_us":1700000000000000,"extent":"quick","found_by":"checksum","is_source_changed":true,"said":"x is missing there"},"epoch_s":1304305445,"dtime_s":1.25,"attempts":3,"last_attempt":4,"bytes":12,"files":3}"#;
const MINIDVODB: &str = r#"{"id":123,"name":"ThreePi.123","group":"ThreePi","path":"/data/ipp004.0/ThreePi.123","state":"merged","fault":0,"eligible_number":9}"#;
const TARGET: &str = r#"{"group":"ThreePi","host":"ipp0222","path":"/data","max_used_percent":97,"verify":"quick","deadline_s":17280,"bwlimit":"20m","streams":2,"file_system":{"mount_point":"/","source":"/dev/sda1","kind":"ext4","id":"fd"},"standing":{"fault":223,"since_us":1,"last_seen_us":2,"probes":3,"next_probe_us":4,"message":"full"},"queued_through":4,"logged_faults":[203,225]}"#;
const HOST: &str = r#"{"host":"ipp0222","machine":"ipp022","is_on":true,"standing":{"fault":211,"since_us":1,"last_seen_us":2,"probes":3,"message":"away"}}"#;
const ATTEMPT: &str = r#"{"copy_id":7,"number":1,"began_us":1700000000000000,"ended_us":1700000000000001,"phase":"sending","outcome":"faulted","fault":203,"sent_bytes":12,"files":3,"seconds":1.5,"said":"x"}"#;

/// The bytes of a record with this payload, its checksum right.
fn framed(place: &Place<'_>, payload: &str) -> Vec<u8> {
    records::frame(place, payload.as_bytes())
}

proptest! {
    #![proptest_config(config("testdata/fuzz/ledger.txt"))]

    #[test]
    fn records(payload in text_like(&[COPY, MINIDVODB, TARGET, HOST, ATTEMPT])) {
        let _ = decode_copy(7, &framed(&Place::new("copies.1", 7), &payload));
        let _ = decode_minidvodb(123, &framed(&Place::new("minidvodbs.1", 123), &payload));
        let key = ("ipp0222", "ThreePi");
        let _ = decode_target(key, &framed(&target_place(key), &payload));
        let _ = decode_host("ipp0222", &framed(&Place::new("hosts.1", "ipp0222"), &payload));
        let _ = decode_attempt((7, 1), &framed(&super::look::attempt_place((7, 1)), &payload));
    }

    #[test]
    fn records_under_a_wrong_checksum_are_refused(payload in text_like(&[COPY]), at in any::<usize>(), by in 1..=255u8) {
        let mut bytes = framed(&Place::new("copies.1", 7), &payload);
        let at = at % bytes.len();
        bytes[at] ^= by;
        prop_assert!(decode_copy(7, &bytes).is_err());
    }
}

#[test]
fn the_samples_are_records() {
    assert!(decode_copy(7, &framed(&Place::new("copies.1", 7), COPY)).is_ok());
    assert!(decode_minidvodb(123, &framed(&Place::new("minidvodbs.1", 123), MINIDVODB)).is_ok());
    let key = ("ipp0222", "ThreePi");
    assert!(decode_target(key, &framed(&target_place(key), TARGET)).is_ok());
    assert!(decode_host("ipp0222", &framed(&Place::new("hosts.1", "ipp0222"), HOST)).is_ok());
    assert!(decode_attempt((7, 1), &framed(&super::look::attempt_place((7, 1)), ATTEMPT)).is_ok());
}
