//! Records of the ledger, damaged under a checksum that is right: what a bug, or somebody with an editor, makes.

use expect_test::expect;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::look::{decode_attempt, decode_copy, decode_host, decode_minidvodb, decode_target, target_place};
use super::records::{
    self, AttemptRecord, CopyRecord, Form, HostRecordRecord, LogRecord, MinidvodbRecord, Place, RoomRecord,
    StrayRecord, TableRowRecord, TargetRecord, TombstoneRecord,
};
use crate::fuzzing::{config, text_like};

const COPY: &str = r#"{"id":7,"minidvodb_id":123,"group":"ThreePi","host":"ipp0222","machine":"ipp022","path":"/data/ipp022.0/x","name":"ThreePi.123","state":"full","fault":{"code":252,"class":"person"},"publishing":{"device":1,"inode":2,"verified":"checksum","dtime_s":1.5},"verified":"checksum","recopy":{"reason":"updated","fault":{"code":203,"class":"retry","next_try_us":1700000000000000},"exchanging":{"device":1,"inode":3,"verified":"quick","dtime_s":2.5}},"audit":{"at_us":1700000000000000,"extent":"quick","found_by":"checksum","is_source_changed":true,"said":"x is missing there"},"epoch_s":1304305445,"dtime_s":1.25,"attempts":3,"last_attempt":4,"bytes":12,"files":3}"#;
const MINIDVODB: &str = r#"{"id":123,"name":"ThreePi.123","group":"ThreePi","path":"/data/ipp004.0/ThreePi.123","state":"merged","fault":0,"eligible_number":9}"#;
const TARGET: &str = r#"{"group":"ThreePi","host":"ipp0222","path":"/data","max_used_percent":97,"verify":"quick","deadline_s":17280,"bwlimit":"20m","streams":2,"file_system":{"mount_point":"/","source":"/dev/sda1","kind":"ext4","id":"fd"},"standing":{"fault":223,"since_us":1,"last_seen_us":2,"probes":3,"next_probe_us":4,"message":"full"},"queued_through":4,"logged_faults":[203,225]}"#;
const HOST: &str = r#"{"host":"ipp0222","machine":"ipp022","is_on":true,"standing":{"fault":211,"since_us":1,"last_seen_us":2,"probes":3,"message":"away"}}"#;
const ATTEMPT: &str = r#"{"copy_id":7,"number":1,"began_us":1700000000000000,"ended_us":1700000000000001,"phase":"sending","outcome":"faulted","fault":203,"sent_bytes":12,"files":3,"seconds":1.5,"said":"x"}"#;

const ROW: &str = r#"{"id":5,"minidvodb_id":7,"path":"/there","host":"ipp022","fault":-3,"state":"full","epoch_s":1304305445,"dtime_s":1.5}"#;
const STRAY: &str = r#"{"minidvodb_id":7,"row_id":5,"host":"ipp022","why":"its state is odd"}"#;
const ROOM: &str = r#"{"host":"ipp022","file_system":{"mount_point":"/data","source":"/dev/sda1","kind":"ext4","id":"fd"},"at_us":1,"total_bytes":2,"free_bytes":3,"used_percent":4,"inodes":[5,6],"block_bytes":7}"#;
const LOG: &str = r#"{"at_us":1,"who":"ipp","copy":7,"text":"reverted"}"#;
const TOMBSTONE: &str = r#"{"copy":{"id":7,"minidvodb_id":123,"group":"ThreePi","host":"ipp0222","machine":"ipp022","path":"/data","name":"ThreePi.123","state":"new"},"at_us":1}"#;
const SAMPLES: [&str; 10] = [COPY, MINIDVODB, TARGET, HOST, ATTEMPT, ROW, STRAY, ROOM, LOG, TOMBSTONE];

/// A record that an older program wrote, as it is written now, without its frame.
fn packed(sample: &str) -> Vec<u8> {
    fn again<R: DeserializeOwned + Serialize>(sample: &str) -> Option<Vec<u8>> {
        let record: R = serde_json::from_str(sample).ok()?;
        let place = Place::new("some.1", 7);
        let bytes = records::encode(&place, &record).unwrap();
        let found: R = records::decode(&place, &bytes).unwrap();
        assert_eq!(serde_json::to_value(&found).unwrap(), serde_json::to_value(&record).unwrap());
        Some(records::payload(&bytes).to_vec())
    }
    let mut ways = [
        again::<CopyRecord>(sample),
        again::<MinidvodbRecord>(sample),
        again::<TargetRecord>(sample),
        again::<HostRecordRecord>(sample),
        again::<AttemptRecord>(sample),
        again::<TableRowRecord>(sample),
        again::<StrayRecord>(sample),
        again::<RoomRecord>(sample),
        again::<LogRecord>(sample),
        again::<TombstoneRecord>(sample),
    ];
    ways.iter_mut().find_map(Option::take).unwrap()
}

/// The bytes of a record with this payload, its checksum right, as older programs wrote it.
fn framed(place: &Place<'_>, payload: &str) -> Vec<u8> {
    records::frame(Form::Json, place, payload.as_bytes())
}

proptest! {
    #![proptest_config(config("testdata/fuzz/ledger.txt"))]

    #[test]
    fn records(payload in text_like(&SAMPLES)) {
        let _ = decode_copy(7, &framed(&Place::new("copies.1", 7), &payload));
        let _ = decode_minidvodb(123, &framed(&Place::new("minidvodbs.1", 123), &payload));
        let key = ("ipp0222", "ThreePi");
        let _ = decode_target(key, &framed(&target_place(key), &payload));
        let _ = decode_host("ipp0222", &framed(&Place::new("hosts.1", "ipp0222"), &payload));
        let _ = decode_attempt((7, 1), &framed(&super::look::attempt_place((7, 1)), &payload));
    }

    #[test]
    fn packed_records(sample in 0..SAMPLES.len(), changes in vec((any::<usize>(), any::<u8>()), 0..8), length in any::<usize>()) {
        let mut payload = packed(SAMPLES[sample]);
        for (at, byte) in changes {
            let at = at % payload.len();
            payload[at] = byte;
        }
        payload.truncate(1 + length % (2 * payload.len()));
        let under = |place: &Place<'_>| records::frame(Form::Packed, place, &payload);
        let _ = decode_copy(7, &under(&Place::new("copies.1", 7)));
        let _ = decode_minidvodb(123, &under(&Place::new("minidvodbs.1", 123)));
        let key = ("ipp0222", "ThreePi");
        let _ = decode_target(key, &under(&target_place(key)));
        let _ = decode_host("ipp0222", &under(&Place::new("hosts.1", "ipp0222")));
        let _ = decode_attempt((7, 1), &under(&super::look::attempt_place((7, 1))));
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

/// What lies on disks stays readable only as long as a record's fields keep their places.
#[test]
fn a_packed_record_is_what_it_was() {
    let shown = |sample| packed(sample).escape_ascii().to_string();
    expect![[r#"
        \xdc\x00\x19\x07{\xa7ThreePi\xa7ipp0222\xa6ipp022\xb0/data/ipp022.0/x\xabThreePi.123\xa4full\x93\xcc\xfc\xa6person\xc0\x94\x01\x02\xa8checksum\xca?\xc0\x00\x00\xa8checksum\xc2\x93\xa7updated\x93\xcc\xcb\xa5retry\xcf\x00\x06\n$\x18\x1e@\x00\x94\x01\x03\xa5quick\xca@ \x00\x00\x95\xcf\x00\x06\n$\x18\x1e@\x00\xa5quick\xa8checksum\xc3\xb2x is missing there\xceM\xbe\x1f%\xca?\xa0\x00\x00\x03\x04\x00\x00\x00\xc2\xc0\x0c\x03
        \x99{\xabThreePi.123\xa7ThreePi\xba/data/ipp004.0/ThreePi.123\xa6merged\x00\xc2\xc2\t
        \x9e\xa7ThreePi\xa7ipp0222\xa5/dataa\xa5quick\xcdC\x80\xa320m\x02\x94\xa1/\xa9/dev/sda1\xa4ext4\xa2fd\x98\xcc\xdf\x01\x02\x03\x04\xc0\xc2\xa4full\x04\xc0\xc0\x92\xcc\xcb\xcc\xe1
        \x94\xa7ipp0222\xa6ipp022\xc3\x98\xcc\xd3\x01\x02\x03\xc0\xc0\xc2\xa4away
        \x9b\x07\x01\xcf\x00\x06\n$\x18\x1e@\x00\xcf\x00\x06\n$\x18\x1e@\x01\xa7sending\xa7faulted\xcc\xcb\x0c\x03\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa1x
        \x98\x05\x07\xa6/there\xa6ipp022\xfd\xa4full\xceM\xbe\x1f%\xca?\xc0\x00\x00
        \x94\x07\x05\xa6ipp022\xb0its state is odd
        \x98\xa6ipp022\x94\xa5/data\xa9/dev/sda1\xa4ext4\xa2fd\x01\x02\x03\x04\x92\x05\x06\x07
        \x94\x01\xa3ipp\x07\xa8reverted
        \x92\xdc\x00\x19\x07{\xa7ThreePi\xa7ipp0222\xa6ipp022\xa5/data\xabThreePi.123\xa3new\xc0\xc0\xc0\xc2\xc0\xc0\xc0\xc0\x00\x00\x00\x00\x00\xc2\xc0\xc0\xc0\x01"#]].assert_eq(&SAMPLES.map(shown).join("\n"));
}
