//! Lists of minidvodbs as they are imported.

use std::io::{Seek as _, Write as _};

use proptest::prelude::*;

use super::minidvodb::read_list;
use crate::fuzzing::{config, like};

proptest! {
    #![proptest_config(config("testdata/fuzz/commands.txt"))]

    #[test]
    fn lists_of_minidvodbs(list in like(vec![
        b"minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state,fault\n1,ThreePi.1,ThreePi,/data/ThreePi.1,merged,0\n2,,ThreePi,\"/data/a,b\",new,-3\r\n".to_vec(),
        b"\xef\xbb\xbfstate,minidvodb_path,minidvodb_id,note,minidvodb_group,minidvodb_name\nmerged,/x/y,3,\"a\nb\",G,N\n".to_vec(),
    ])) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&list).unwrap();
        file.rewind().unwrap();
        let _ = read_list(&file, "list.csv", |_, minidvodb| {
            assert!(minidvodb.path.name().is_ok());
            Ok(())
        });
    }
}
