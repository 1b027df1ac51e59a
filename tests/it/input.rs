//! What is typed or read from a file: lists of minidvodbs, hosts, groups, paths, targets, switches, options.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::shown::{queue, run_with_input, shown};
use super::world::{Ran, World, finish};

const HEADER: &str = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n";
const GOOD: &str = "7,ThreePi.7,ThreePi,/data/ThreePi.7,merged\n";

/// A world that knows one minidvodb.
fn world_with_one() -> World {
    let world = World::new();
    world.import_text(&format!("{HEADER}{GOOD}")).expect(0).is_silent();
    world
}

fn minidvodbs(world: &World) -> String {
    world.ok(&["minidvodb", "list"]).stdout
}

/// Imports a list that must be refused whole, and compares what is said.
#[track_caller]
fn check_refused(list: impl AsRef<[u8]>, expected: &Expect) {
    let world = world_with_one();
    let before = minidvodbs(&world);
    let file = world.root.join("bad.csv");
    std::fs::write(&file, list).unwrap();
    let ran = world.run(&["minidvodb", "import", file.as_str()]).expect(2);
    assert_eq!(ran.stdout, "");
    expected.assert_eq(&shown(&world, &ran.stderr));
    assert_eq!(minidvodbs(&world), before, "nothing of a bad list is kept");
}

/// Imports one good line and one with this id, group, path and state, and compares what is said of it.
#[track_caller]
fn check_row_refused(row: &str, expected: &Expect) {
    check_refused(format!("{HEADER}1,a,ThreePi,/data/a,merged\n{row}\n"), expected);
}

#[test]
fn a_list_without_its_header_is_refused() {
    check_refused(
        GOOD,
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 1: the header has no column minidvodb_id; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn a_list_of_something_else_is_refused() {
    check_refused(
        "id,name,path\n1,x,/x\n",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 1: the header has no column minidvodb_id; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn a_missing_column_is_named() {
    check_refused(
        "minidvodb_id,minidvodb_name,minidvodb_group,state\n1,a,b,merged\n",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 1: the header has no column minidvodb_path; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn a_doubled_column_is_named() {
    check_refused(
        "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state,state\n1,a,b,/c,merged,new\n",
        &expect![[r#"
            minidvodbcopy: ROOT/bad.csv, line 1: the header has the column state twice
              hint: nothing of the list is kept; mend the line and import again
        "#]],
    );
    check_refused(
        "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state,fault,fault\n1,a,b,/c,merged,0,1\n",
        &expect![[r#"
            minidvodbcopy: ROOT/bad.csv, line 1: the header has the column fault twice
              hint: nothing of the list is kept; mend the line and import again
        "#]],
    );
}

#[test]
fn columns_stand_in_any_order_and_others_are_passed_over() {
    let world = World::new();
    let list = "comment,state,fault,minidvodb_path,minidvodb_group,minidvodb_id,minidvodb_name\n\
                \"a, \"\"b\"\"\nc\",merged,0,/data/x.1,G,1,one\n\
                ,merged,4,/data/x.2,G,2,\n";
    world.import_text(list).expect(0).is_silent();
    expect![[r#"
        ID  NAME  GROUP  PATH       STATE   FAULT
         1  one   G      /data/x.1  merged  0
         2  -     G      /data/x.2  merged  4
    "#]]
    .assert_eq(&minidvodbs(&world));
}

#[test]
fn without_a_fault_column_the_fault_is_0_and_a_faulted_one_is_not_queued() {
    let world = World::new();
    let header = HEADER.trim_end();
    world.import_text(&format!("{HEADER}1,a,G,/data/a,merged\n")).expect(0);
    world.import_text(&format!("{header},fault\n2,b,G,/data/b,merged,5\n3,c,G,/data/c,merged,0\n")).expect(0);
    world.ok(&["target", "add", "G", "ipp022", "/there"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load", "run"]);
    world.ok(&["run"]);
    let queued: Vec<Value> = world.list().into_iter().map(|copy| copy["minidvodb_id"].clone()).collect();
    assert_eq!(queued, [1, 3]);
}

#[test]
fn a_bad_id_is_refused_with_its_line() {
    check_row_refused(
        "two,b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id 'two' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "0,b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id '0' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "-3,b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id '-3' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "9223372036854775808,b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id '9223372036854775808' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "1e3,b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id '1e3' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        ",b,ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_id '' is not a whole number from 1 to 2^63-1
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn the_largest_id_is_taken_queued_and_moved() {
    let world = World::new();
    let list = |path: &str| format!("{HEADER}9223372036854775807,a,G,{path},merged\n");
    world.import_text(&list("/data/a")).expect(0);
    world.ok(&["target", "add", "G", "ipp022", "/there"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.import_text(&list("/data/b")).expect(0);
    assert_eq!(world.copy(1)["minidvodb_id"], 9_223_372_036_854_775_807_u64);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_bad_fault_is_refused_with_its_line() {
    let header = HEADER.trim_end();
    check_refused(
        format!("{header},fault\n1,a,G,/data/a,merged,x\n"),
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 2: the fault 'x' is not a number from -32768 to 32767
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_refused(
        format!("{header},fault\n1,a,G,/data/a,merged,40000\n"),
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 2: the fault '40000' is not a number from -32768 to 32767
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_refused(
        format!("{header},fault\n1,a,G,/data/a,merged,\n"),
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 2: the fault '' is not a number from -32768 to 32767
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn an_id_that_stands_twice_is_refused_with_both_lines() {
    check_refused(
        format!("{HEADER}1,a,G,/data/a,merged\n2,b,G,/data/b,merged\n1,c,G,/data/c,merged\n"),
        &expect![[r#"
            minidvodbcopy: ROOT/bad.csv, line 4: minidvodb_id 1 stands on line 2 too
              hint: nothing of the list is kept; mend the line and import again
        "#]],
    );
}

#[test]
fn a_line_with_too_few_or_too_many_fields_is_refused() {
    check_row_refused(
        "2,b,ThreePi,/data/b",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: it has 4 fields, and the header has 5
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "2,b,ThreePi,/data/b,merged,more",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: it has 6 fields, and the header has 5
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn the_line_number_counts_lines_of_the_file_not_records() {
    check_refused(
        "comment,minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\r\n\
         \"two\nlines\",1,a,G,/data/a,merged\r\n\
         \r\n\
         x,no,b,G,/data/b,merged\r\n",
        &expect![[r#"
            minidvodbcopy: ROOT/bad.csv, line 5: the minidvodb_id 'no' is not a whole number from 1 to 2^63-1
              hint: nothing of the list is kept; mend the line and import again
        "#]],
    );
}

#[test]
fn a_list_that_is_not_utf8_is_refused() {
    let mut list = HEADER.as_bytes().to_vec();
    list.extend_from_slice(b"1,a,ThreePi,/data/caf\xe9,merged\n");
    check_refused(
        list,
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 2: it is not UTF-8
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn a_byte_order_mark_in_front_is_passed_over() {
    let world = World::new();
    world.import_text(&format!("\u{feff}{HEADER}{GOOD}")).expect(0).is_silent();
    world.import_text(&format!("\u{feff}\"minidvodb_id\"{}{GOOD}", &HEADER[12..])).expect(0).is_silent();
    assert!(minidvodbs(&world).contains("/data/ThreePi.7"));
}

#[test]
fn quoted_fields_hold_commas_and_quotes() {
    let world = World::new();
    world
        .import_text(&format!("{HEADER}1,\"a, \"\"b\"\"\",ThreePi,\"/data/x, \"\"y\"\" z\",merged\n"))
        .expect(0)
        .is_silent();
    expect![[r#"
        ID  NAME    GROUP    PATH            STATE   FAULT
         1  a, "b"  ThreePi  /data/x, "y" z  merged  0
    "#]]
    .assert_eq(&minidvodbs(&world));
}

#[test]
fn a_quoted_newline_in_a_value_that_counts_is_refused() {
    check_row_refused(
        "2,\"b\nc\",ThreePi,/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the minidvodb_name 'b\nc' has more than 64 bytes or a control character
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "2,b,ThreePi,\"/data/b\nc\",merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the path '/data/b\nc' has a control character, '\n', which no name may have
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    check_row_refused(
        "2,b,\"Three\nPi\",/data/b,merged",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 3: the group 'Three\nPi' has a control character, '\n', which no name may have
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
}

#[test]
fn a_quote_that_never_closes_is_refused() {
    let world = world_with_one();
    let before = minidvodbs(&world);
    world
        .import_text(&format!("{HEADER}1,\"a,ThreePi,/data/a,merged\n2,b,ThreePi,/data/b,merged\n"))
        .expect(2);
    assert_eq!(minidvodbs(&world), before);
}

#[test]
fn an_empty_file_is_refused_and_a_header_alone_is_not() {
    check_refused(
        "",
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv, line 1: the header has no column minidvodb_id; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order
          hint: nothing of the list is kept; mend the line and import again
    "#]],
    );
    let world = world_with_one();
    world.import_text(HEADER).expect(0).is_silent();
}

#[test]
fn a_list_that_is_not_there_is_refused_and_makes_no_ledger() {
    let world = World::new();
    let file = world.root.join("nowhere.csv");
    let ran = world.run(&["minidvodb", "import", file.as_str()]).expect(2);
    expect![[r#"
        minidvodbcopy: cannot read the list ROOT/nowhere.csv: No such file or directory (os error 2)
          hint: name a CSV file, or - for standard input
    "#]]
    .assert_eq(&shown(&world, &ran.stderr));
    assert!(!world.state().exists());
}

#[test]
fn a_folder_in_place_of_a_list_is_refused() {
    let world = World::new();
    let ran = world.run(&["minidvodb", "import", world.there().as_str()]).expect(2);
    ran.says(world.there().as_str());
}

#[test]
fn a_dash_means_standard_input() {
    let world = World::new();
    run_with_input(&world, &["minidvodb", "import", "-"], format!("{HEADER}{GOOD}").as_bytes())
        .expect(0)
        .is_silent();
    assert!(minidvodbs(&world).contains("/data/ThreePi.7"));
    let bad = run_with_input(&world, &["minidvodb", "import", "-"], b"x\n1\n").expect(2);
    expect![[r#"
        minidvodbcopy: standard input, line 1: the header has no column minidvodb_id; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order
          hint: nothing of the list is kept; mend the line and import again
    "#]].assert_eq(&bad.stderr);
    run_with_input(&world, &["minidvodb", "import", "-"], b"").expect(2);
    run_with_input(&world, &["minidvodb", "import", "--", "-"], format!("{HEADER}{GOOD}").as_bytes())
        .expect(0);
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let world = World::new();
    let ran = world.run(&["minidvodb", "import", "/dev/zero"]).expect(2);
    expect![[r#"
        minidvodbcopy: /dev/zero: line 1 is longer than 65536 bytes; nothing of it is kept
          hint: is this a CSV file with a header?
    "#]]
    .assert_eq(&ran.stderr);
    let long = format!("{HEADER}{GOOD}8,\"{}\",ThreePi,/data/b,merged\n", "x".repeat(70_000));
    check_refused(
        long,
        &expect![[r#"
        minidvodbcopy: ROOT/bad.csv: line 3 is longer than 65536 bytes; nothing of it is kept
          hint: is this a CSV file with a header?
    "#]],
    );
}

#[test]
fn two_hundred_thousand_minidvodbs_are_imported_at_once() {
    let world = World::new();
    let mut list = String::from(HEADER);
    for id in 1..=200_000 {
        list.push_str(&format!("{id},ThreePi.{id},ThreePi,/data/ThreePi.{id},merged\n"));
    }
    world.import_text(&list).expect(0).is_silent();
    let listed = minidvodbs(&world);
    assert_eq!(listed.lines().count(), 200_001, "a header, and one line for each");
    assert!(listed.lines().all(|line| line.split_whitespace().count() == 6));
    let columns = |line: &str| line.find("ThreePi").unwrap();
    let widths: std::collections::BTreeSet<usize> = listed.lines().skip(1).map(columns).collect();
    assert_eq!(widths.len(), 1, "the columns of all 200,000 rows stand under each other");
}

#[test]
fn a_state_that_is_not_known_is_said_and_kept() {
    let world = World::new();
    let list = format!(
        "{HEADER}1,a,G,/data/a,Merged\n2,b,G,/data/b,mergd\n3,c,G,/data/c,mergd\n4,d,G,/data/d,new\n"
    );
    let ran = world.import_text(&list).expect(0);
    expect![[r#"
        minidvodbcopy: 1 minidvodb is in the state 'Merged', which is not known here, and not copied
        minidvodbcopy: 2 minidvodbs are in the state 'mergd', which is not known here, and not copied
    "#]]
    .assert_eq(&ran.stderr);
    expect![[r#"
        ID  NAME  GROUP  PATH     STATE   FAULT
         1  a     G      /data/a  Merged  0
         2  b     G      /data/b  mergd   0
         3  c     G      /data/c  mergd   0
         4  d     G      /data/d  new     0
    "#]]
    .assert_eq(&minidvodbs(&world));
}

#[test]
fn importing_again_says_what_has_changed() {
    let world = World::new();
    let file = world.root.join("list.csv");
    let import = |list: &str| {
        std::fs::write(&file, list).unwrap();
        shown(&world, &world.ok(&["minidvodb", "import", file.as_str(), "-v"]).stderr)
    };
    let header = HEADER.trim_end();
    let first =
        import(&format!("{HEADER}1,a,G,/data/a,merged\n2,b,G,/data/b,merged\n3,c,G,/data/c,merged\n"));
    let again = import(&format!(
        "{header},fault\n1,a,G,/data/a,merged,0\n2,b,G,/elsewhere/b,merged,0\n3,c,G,/data/c,new,3\n4,d,G,/data/d,merged,0\n"
    ));
    expect![[r#"
        minidvodbcopy: minidvodbs from ROOT/list.csv: 3 added, 0 changed, 0 unchanged
        minidvodbcopy: minidvodbs from ROOT/list.csv: 1 added, 2 changed, 1 unchanged
    "#]]
    .assert_eq(&(first + &again));
    expect![[r#"
        ID  NAME  GROUP  PATH          STATE   FAULT
         1  a     G      /data/a       merged  0
         2  b     G      /elsewhere/b  merged  0
         3  c     G      /data/c       new     3
         4  d     G      /data/d       merged  0
    "#]]
    .assert_eq(&minidvodbs(&world));
}

#[test]
fn a_minidvodb_that_is_no_longer_merged_is_not_queued_nor_copied() {
    let world = World::new();
    world.prepare("localhost", 2);
    let unmerge =
        |id: u64| format!("{HEADER}{id},x,ThreePi,{},active\n", world.source(&format!("ThreePi.{id}")));
    world.import_text(&unmerge(1)).expect(0);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 1, "only the merged one is queued");
    world.import_text(&unmerge(2)).expect(0);
    world.ok(&["stage", "on"]);
    world.ok(&["run"]).is_silent();
    assert_eq!((world.standing(1).as_str(), world.names_there().len()), ("new 0", 0));
    world.import_text(&unmerge(2).replace("active", "merged")).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_minidvodb_whose_processing_faulted_later_is_not_copied() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    let header = HEADER.trim_end();
    let path = world.source("ThreePi.1");
    world.import_text(&format!("{header},fault\n1,x,ThreePi,{path},merged,2\n")).expect(0);
    world.ok(&["stage", "on"]);
    world.ok(&["run"]);
    assert_eq!((world.standing(1).as_str(), world.names_there().len()), ("new 0", 0));
}

#[test]
fn new_copies_follow_a_renamed_folder() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    let renamed = world.make("ThreePi.1.v2", xtask::dvo::Shape::tiny());
    world.import(&[(1, "ThreePi", &renamed)]);
    world.ok(&["stage", "on"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.names_there(), ["ThreePi.1.v2"]);
    world.expect_arrived("ThreePi.1.v2");
    world.ok(&["ledger", "check"]);
}

#[test]
fn new_copies_follow_a_minidvodb_to_another_group() {
    let world = World::new();
    queue(&world, "Old", "ipp022", 3);
    world.ok(&["target", "add", "New", "ipp022", "/data/elsewhere"]);
    world
        .import_text(&format!("{HEADER}2,x,New,/data/Old.2,merged\n3,x,None,/data/Old.3,merged\n"))
        .expect(0);
    let at = |id: u64| {
        let copy = world.copy(id);
        [copy["minidvodb_group"].clone(), copy["minidvodb_rsync_path"].clone(), copy["parked"].clone()]
    };
    assert_eq!(at(1), [json!("Old"), json!("/data/there"), json!(false)]);
    assert_eq!(at(2), [json!("New"), json!("/data/elsewhere"), json!(false)]);
    assert_eq!(at(3), [json!("None"), json!("/data/there"), json!(true)], "no target yet: parked");
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 3, "nothing is queued twice");
    world.ok(&["ledger", "check"]);
}

#[test]
fn full_copies_do_not_follow_a_renamed_folder() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]);
    let renamed = world.make("ThreePi.1.v2", xtask::dvo::Shape::tiny());
    world.import(&[(1, "ThreePi", &renamed)]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.names_there(), ["ThreePi.1"]);
    assert!(world.ok(&["show", "1"]).stdout.contains("there/ThreePi.1\n"));
}

#[test]
fn paths_and_folder_names_that_are_refused() {
    let world = world_with_one();
    let before = minidvodbs(&world);
    let mut said = String::new();
    for path in [
        "",
        "data/x",
        "./x",
        "/data/../x",
        "/data/x/..",
        "/data/./x",
        "/data/x/.",
        "/",
        "//",
        "/data/.minidvodbcopy",
        "/data/.minidvodbcopy/",
        "/data/a\tb",
        "/data/a\u{1b}[31mb",
        "/data/a\u{7f}b",
        "/data/a\u{9b}b",
        "/data/日本",
        "/data/e\u{301}",
        "/data/\u{202e}x",
    ] {
        let ran = world.import_text(&format!("{HEADER}1,a,ThreePi,\"{path}\",merged\n")).expect(2);
        said.push_str(
            shown(&world, ran.stderr.lines().next().unwrap()).trim_start_matches("minidvodbcopy: "),
        );
        said.push('\n');
    }
    expect![[r#"
        ROOT/list.csv, line 2: the path '' must be absolute
        ROOT/list.csv, line 2: the path 'data/x' must be absolute
        ROOT/list.csv, line 2: the path './x' must be absolute
        ROOT/list.csv, line 2: the path '/data/../x' must not have a component '.' or '..'
        ROOT/list.csv, line 2: the path '/data/x/..' must not have a component '.' or '..'
        ROOT/list.csv, line 2: the path '/data/./x' must not have a component '.' or '..'
        ROOT/list.csv, line 2: the path '/data/x/.' must not have a component '.' or '..'
        ROOT/list.csv, line 2: the path '/': the folder name '' is empty: the path must end in the minidvodb's own folder
        ROOT/list.csv, line 2: the path '//': the folder name '' is empty: the path must end in the minidvodb's own folder
        ROOT/list.csv, line 2: the path '/data/.minidvodbcopy': the folder name '.minidvodbcopy' cannot be a minidvodb's folder
        ROOT/list.csv, line 2: the path '/data/.minidvodbcopy/': the folder name '.minidvodbcopy' cannot be a minidvodb's folder
        ROOT/list.csv, line 2: the path '/data/a\tb' has a control character, '\t', which no name may have
        ROOT/list.csv, line 2: the path '/data/a\u{1b}[31mb' has a control character, '\u{1b}', which no name may have
        ROOT/list.csv, line 2: the path '/data/a\u{7f}b' has a control character, '\u{7f}', which no name may have
        ROOT/list.csv, line 2: the path '/data/a\u{9b}b' has a control character, '\u{9b}', which no name may have
        ROOT/list.csv, line 2: the path '/data/日本' has the character '日', which the table's character set latin1 cannot hold
        ROOT/list.csv, line 2: the path '/data/é' has the character '́', which the table's character set latin1 cannot hold
        ROOT/list.csv, line 2: the path '/data/\u{202e}x' has the character '\u{202e}', which the table's character set latin1 cannot hold
    "#]].assert_eq(&said);
    let long = format!("/{}", "a".repeat(299));
    world.import_text(&format!("{HEADER}1,a,ThreePi,{long},merged\n")).expect(2).says("has 300 bytes");
    world.import_text(&format!("{HEADER}1,a,ThreePi,\"/data/a\nb\",merged\n")).expect(2).says(r"a\nb");
    assert_eq!(minidvodbs(&world), before);
}

#[test]
fn paths_and_folder_names_that_are_accepted() {
    let world = World::new();
    let paths = [
        "/data/Three Pi",
        "/data/ end and start ",
        "/data/it's",
        "/data/$(touch pwned)`id`;x",
        "/data/-rf",
        "/data/--delete",
        "/data/caf\u{e9}",
        "/data/5\u{20ac}",
        "/data/a\\b*?[x]",
        "/data/~",
        "/data/...",
        "/data/.hidden",
        "/data//double//",
    ];
    let mut list = String::from(HEADER);
    for (id, path) in (1..).zip(paths) {
        list.push_str(&format!("{id},x,ThreePi,\"{path}\",merged\n"));
    }
    list.push_str(&format!("90,x,ThreePi,/{},merged\n", "b".repeat(254)));
    list.push_str("91,x,ThreePi,\"/data/\"\"quoted\"\"\",merged\n");
    world.import_text(&list).expect(0).is_silent();
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data/there/$(id) \u{e9}\u{20ac}"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]).is_silent();
    let kept: Vec<String> =
        world.list().iter().map(|copy| copy["minidvodb_path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept[..paths.len()], paths);
    assert_eq!(kept.len(), paths.len() + 2);
}

#[test]
fn paths_of_targets_that_are_refused() {
    let world = World::new();
    let mut said = String::new();
    for path in
        ["", "data", "/data/../x", "/a/./b", "/a\nb", "/日本", "/data/.minidvodbcopy/x", "/.minidvodbcopy"]
    {
        let ran = world.run(&["target", "add", "ThreePi", "ipp022", path]).expect(2);
        said.push_str(&ran.stderr);
    }
    expect![[r#"
        minidvodbcopy: the path '' must be absolute
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path 'data' must be absolute
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/data/../x' must not have a component '.' or '..'
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/a/./b' must not have a component '.' or '..'
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/a\nb' has a control character, '\n', which no name may have
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/日本' has the character '日', which the table's character set latin1 cannot hold
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/data/.minidvodbcopy/x' leads into the staging folder .minidvodbcopy
          hint: `minidvodbcopy help target add` shows what can be typed
        minidvodbcopy: the path '/.minidvodbcopy' leads into the staging folder .minidvodbcopy
          hint: `minidvodbcopy help target add` shows what can be typed
    "#]].assert_eq(&said);
    let long = format!("/{}", "a".repeat(299));
    world.run(&["target", "add", "ThreePi", "ipp022", &long]).expect(2).says("300 bytes");
    assert!(!world.state().exists(), "nothing was made for a command that was refused");
}

#[test]
fn hosts_that_are_refused_everywhere_that_a_host_is_typed() {
    let world = World::new();
    let long = "a".repeat(254);
    for host in [
        "-oProxyCommand=touch x",
        "a/b",
        "host:",
        "a::b",
        "",
        " ",
        "a b",
        "h\n",
        "@h",
        "u@",
        "u@v@w",
        "[::1]",
        "é",
        &long,
    ] {
        for words in [
            &["target", "add", "ThreePi", "HOST", "/data"][..],
            &["target", "del", "HOST", "ThreePi"],
            &["host", "add", "HOST"],
            &["host", "add", "--", "HOST"],
            &["host", "del", "HOST"],
            &["host", "add", "ipp022", "--machine", "HOST"],
            &["copy", "ThreePi", "HOST", "/data"],
            &["run", "--host", "HOST"],
            &["list", "--host", "HOST"],
            &["revert", "--host", "HOST"],
        ] {
            let words: Vec<&str> =
                words.iter().map(|&word| if word == "HOST" { host } else { word }).collect();
            let ran = world.run(&words);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}: {}", ran.stderr);
        }
    }
    assert!(!world.state().exists());
    assert!(!world.root.join("x").exists());
    let ran = world.run(&["host", "add", "a::b"]).expect(2);
    expect![[r#"
        minidvodbcopy: the host 'a::b' is not a host: letters, digits, '.', '_' and '-', a letter or digit first, and an optional user@ of that form
          hint: `minidvodbcopy help host add` shows what can be typed
    "#]].assert_eq(&ran.stderr);
    let ran = world.run(&["host", "add", "--", "-oProxyCommand=x"]).expect(2);
    expect![[r#"
        minidvodbcopy: the host '-oProxyCommand=x' is not a host: letters, digits, '.', '_' and '-', a letter or digit first, and an optional user@ of that form
          hint: `minidvodbcopy help host add` shows what can be typed
    "#]].assert_eq(&ran.stderr);
    world.run(&["host", "add", &long]).expect(2).says("longer than 253 bytes");
}

#[test]
fn hosts_that_are_accepted() {
    let world = World::new();
    let long = "a".repeat(253);
    for host in ["ipp022", "ipp@ipp022", "a.b-c_d", "1", "LOCALHOST", "127.0.0.1", &long] {
        world.ok(&["host", "add", host]).is_silent();
    }
    let machines: Vec<Value> = world
        .ok(&["host", "show", "--json"])
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["machine"].clone())
        .collect();
    assert_eq!(
        machines,
        json!(["1", "127.0.0.1", "localhost", "a.b-c_d", long, "ipp022", "ipp022"])
            .as_array()
            .unwrap()
            .clone()
    );
}

#[test]
fn groups_that_are_refused_and_accepted() {
    let world = World::new();
    let long = "g".repeat(65);
    for group in ["", ".", "..", "a/b", "a\nb", "a\u{1b}b", &long] {
        world.run(&["target", "add", "--", group, "ipp022", "/data"]).expect(2).says("the group");
        world.run(&["list", "--group", group]).expect(2).says("the group");
        world.import_text(&format!("{HEADER}1,a,\"{group}\",/data/a,merged\n")).expect(2).says("the group");
    }
    let longest = "g".repeat(64);
    for group in ["ThreePi", "a b", "-x", "$(id)", "caf\u{e9}", "...", &longest] {
        world.ok(&["target", "add", "--", group, "ipp022", "/data"]).is_silent();
        world.import_text(&format!("{HEADER}1,a,\"{group}\",/data/a,merged\n")).expect(0);
    }
    assert_eq!(world.ok(&["target", "show", "--json"]).json().as_array().unwrap().len(), 7);
}

#[test]
fn a_group_may_be_called_help() {
    let world = World::new();
    let ran = world.ok(&["target", "add", "help", "ipp022", "/data"]);
    ran.is_silent();
    assert_eq!(world.ok(&["target", "show", "--json"]).json()[0]["minidvodb_group"], "help");
}

#[test]
fn a_target_is_added_changed_shown_and_deleted() {
    let world = World::new();
    world.ok(&["target", "add", "ThreePi", "ipp0222", "/data/a"]).is_silent();
    let changed = world.ok(&[
        "target",
        "add",
        "ThreePi",
        "ipp0222",
        "/data/b",
        "--max-used",
        "90",
        "--verify",
        "quick",
        "--deadline",
        "60",
        "--bwlimit",
        "20m",
        "--streams",
        "2",
        "-v",
    ]);
    expect![[r#"
        minidvodbcopy: target changed: ThreePi to ipp0222 at /data/b
        minidvodbcopy: ipp0222 is off: `minidvodbcopy host add ipp0222` lets `run` serve it
    "#]]
    .assert_eq(&changed.stderr);
    world.ok(&["target", "add", "Other", "ipp@ipp031", "/data/with blank"]);
    expect![[r#"
        GROUP    HOST        PATH              HOST IS  MAX USED  VERIFY    DEADLINE (S)  BWLIMIT  STREAMS  PENDING  FAULT
        ThreePi  ipp0222     /data/b           off      90 %      quick     60            20m      2        0        -
        Other    ipp@ipp031  /data/with blank  off      97 %      checksum  17280         -        4        0        -
    "#]].assert_eq(&world.ok(&["target", "show"]).stdout);
    expect![[r#"
        [
          {
            "minidvodb_group": "ThreePi",
            "destination_host": "ipp0222",
            "path": "/data/b",
            "max_used": 90,
            "verify": "quick",
            "deadline": 60,
            "bwlimit": "20m",
            "streams": 2,
            "on": false,
            "file_system": null,
            "pending": 0,
            "fault": 0,
            "fault_name": null,
            "since": null,
            "next_probe": null
          },
          {
            "minidvodb_group": "Other",
            "destination_host": "ipp@ipp031",
            "path": "/data/with blank",
            "max_used": 97,
            "verify": "checksum",
            "deadline": 17280,
            "bwlimit": null,
            "streams": 4,
            "on": false,
            "file_system": null,
            "pending": 0,
            "fault": 0,
            "fault_name": null,
            "since": null,
            "next_probe": null
          }
        ]
    "#]]
    .assert_eq(&world.ok(&["target", "show", "--json"]).stdout);
    // What is not named again stays, but for the path.
    world.ok(&["target", "add", "ThreePi", "ipp0222", "/data/c", "--bwlimit", "0"]);
    let target = world.ok(&["target", "show", "--json"]).json()[0].clone();
    assert_eq!(
        [
            &target["path"],
            &target["max_used"],
            &target["verify"],
            &target["deadline"],
            &target["bwlimit"],
            &target["streams"]
        ],
        [&json!("/data/c"), &json!(90), &json!("quick"), &json!(60), &Value::Null, &json!(2)]
    );
    world.ok(&["target", "del", "ipp0222", "ThreePi"]).is_silent();
    let gone = world.run(&["target", "del", "ipp0222", "ThreePi"]).expect(2);
    expect![[r#"
        minidvodbcopy: there is no target ThreePi to ipp0222
          hint: `minidvodbcopy target show` lists them
    "#]]
    .assert_eq(&gone.stderr);
    assert_eq!(world.ok(&["target", "show", "--json"]).json().as_array().unwrap().len(), 1);
}

#[test]
fn new_copies_take_the_changed_path_of_their_target_and_it_is_said() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data/there"]).is_silent();
    let ran = world.ok(&["target", "add", "ThreePi", "ipp022", "/data/moved"]);
    expect![[r#"
        minidvodbcopy: 3 new copies go to /data/moved now
    "#]]
    .assert_eq(&ran.stderr);
    assert!(world.list().iter().all(|copy| copy["minidvodb_rsync_path"] == "/data/moved"));
    world.ok(&["ledger", "check"]);
}

#[test]
fn begun_copies_take_the_changed_path_full_ones_stay_and_both_are_said() {
    let world = World::new();
    world.prepare("localhost", 2);
    let images = world.source("ThreePi.2").join("Images.dat");
    let kept = std::fs::read(&images).unwrap();
    std::fs::remove_file(&images).unwrap();
    world.run(&["run"]).expect(1);
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "new 201"));
    std::fs::write(&images, kept).unwrap();
    let moved = world.root.join("moved");
    std::fs::create_dir(&moved).unwrap();
    let ran = world.ok(&["target", "add", "ThreePi", "localhost", moved.as_str()]);
    expect![[r#"
        minidvodbcopy: 1 new copy goes to ROOT/moved now
        minidvodbcopy: 1 copy that was begun starts again there; the next pass removes the old staging
    "#]]
    .assert_eq(&shown(&world, &ran.stderr));
    assert_eq!(world.copy(1)["minidvodb_rsync_path"], world.there().as_str());
    assert_eq!(world.copy(2)["minidvodb_rsync_path"], moved.as_str());
    world.ok(&["revert", "--all"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(2), "full 0");
    assert_eq!(super::world::names_in(&moved), ["ThreePi.2"]);
    assert_eq!(world.names_there(), ["ThreePi.1"]);
}

#[test]
fn new_copies_of_a_deleted_target_are_parked_until_it_is_added_again() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    let ran = world.ok(&["target", "del", "ipp022", "ThreePi"]);
    expect![[r#"
        minidvodbcopy: 2 new copies are parked until the target is added again
    "#]]
    .assert_eq(&ran.stderr);
    expect![[r#"
        ID  MINIDVODB  GROUP    HOST    PATH         STATE  FAULT  SIZE  TIME (S)  EPOCH (UTC)          NOTES
         1  ThreePi.1  ThreePi  ipp022  /data/there  new    -         -      0.00  TIME  parked: no target
         2  ThreePi.2  ThreePi  ipp022  /data/there  new    -         -      0.00  TIME  parked: no target
    "#]]
    .assert_eq(&shown(&world, &world.ok(&["list"]).stdout));
    assert!(world.list().iter().all(|copy| copy["parked"] == true && copy["state"] == "new"));
    assert!(world.ok(&["show", "1"]).stdout.contains("new, parked: it has no target"));
    world.ok(&["stage", "on"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "new 0", "a parked copy is not served");
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data/new path"]);
    for copy in world.list() {
        assert_eq!(
            (&copy["parked"], &copy["minidvodb_rsync_path"]),
            (&json!(false), &json!("/data/new path"))
        );
    }
}

#[test]
fn hosts_are_switched_on_and_off_and_shown() {
    let world = World::new();
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data"]);
    world.ok(&["host", "add", "ipp0222", "--machine", "IPP022"]).is_silent();
    world.ok(&["host", "add", "ipp031"]);
    world.ok(&["host", "del", "ipp031"]).is_silent();
    world.ok(&["host", "del", "ipp031"]).is_silent();
    world.ok(&["host", "add", "ipp0222"]);
    expect![[r#"
        HOST     MACHINE  IS   TARGETS  FAULT
        ipp022   ipp022   off  1        -
        ipp0222  ipp022   on   0        -
        ipp031   ipp031   off  0        -
    "#]]
    .assert_eq(&world.ok(&["host", "show"]).stdout);
    expect![[r#"
        [
          {
            "host": "ipp022",
            "machine": "ipp022",
            "on": false,
            "targets": 1,
            "fault": 0,
            "fault_name": null,
            "since": null,
            "next_probe": null
          },
          {
            "host": "ipp0222",
            "machine": "ipp022",
            "on": true,
            "targets": 0,
            "fault": 0,
            "fault_name": null,
            "since": null,
            "next_probe": null
          },
          {
            "host": "ipp031",
            "machine": "ipp031",
            "on": false,
            "targets": 0,
            "fault": 0,
            "fault_name": null,
            "since": null,
            "next_probe": null
          }
        ]
    "#]]
    .assert_eq(&world.ok(&["host", "show", "--json"]).stdout);
    let unknown = world.run(&["host", "del", "ipp099"]).expect(2);
    expect![[r#"
        minidvodbcopy: the host ipp099 is not known
          hint: `minidvodbcopy host show` lists them
    "#]]
    .assert_eq(&unknown.stderr);
}

#[test]
fn a_host_that_is_off_is_not_served_and_forgets_no_copy() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    world.ok(&["host", "del", "ipp022"]);
    world.ok(&["stage", "on"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.list().len(), 2);
    assert_eq!(world.standing(1), "new 0");
}

#[test]
fn two_names_of_one_machine_get_one_copy_between_them() {
    let world = World::new();
    world.import_text(&format!("{HEADER}{GOOD}")).expect(0);
    for host in ["ipp022", "ipp0222"] {
        world.ok(&["target", "add", "ThreePi", host, "/data"]);
        world.ok(&["host", "add", host, "--machine", "ipp022"]);
    }
    world.ok(&["target", "add", "ThreePi", "ipp@ipp022", "/data"]);
    world.ok(&["host", "add", "ipp@ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 1);
    assert_eq!(world.copy(1)["machine"], "ipp022");
}

#[test]
fn copies_are_re_keyed_when_their_host_becomes_a_name_of_another_machine() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp0222", 2);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]).is_silent();
    assert!(world.list().iter().all(|copy| copy["machine"] == "ipp022"));
    world.ok(&["ledger", "check"]);
    // The other name is now taken for the same machine's: it gets no second copies.
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 2);
}

#[test]
fn hosts_that_turn_out_to_be_two_machines_get_a_copy_each() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    world.ok(&["target", "add", "ThreePi", "ipp0222", "/data"]);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 2, "one machine, one copy");
    // The host without copies is the one that was taken for another's name ...
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp0222"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 4);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_host_whose_machine_loses_its_copies_to_another_machine_gets_its_own() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    world.ok(&["target", "add", "ThreePi", "ipp0222", "/data"]);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 2, "one machine, one copy");
    // ... or the host with the copies is.
    world.ok(&["host", "add", "ipp022", "--machine", "other"]);
    world.ok(&["run"]);
    let of = |machine: &str| world.list().iter().filter(|copy| copy["machine"] == machine).count();
    assert_eq!((of("other"), of("ipp022")), (2, 2));
    world.ok(&["ledger", "check"]);
}

#[test]
fn re_keying_is_refused_where_two_copies_of_a_minidvodb_would_meet() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp0222", 2);
    world.ok(&["target", "add", "ThreePi", "ipp022", "/data"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["host", "del", "ipp0222"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 4);
    let (copies, hosts) = (world.list(), world.ok(&["host", "show"]).stdout);
    let ran = world.run(&["host", "add", "ipp0222", "--machine", "ipp022"]).expect(2);
    expect![[r#"
        minidvodbcopy: ipp0222 cannot be a name of ipp022: copies 1 and 3 are of the same minidvodb, and there may be one on a machine
          hint: `minidvodbcopy show 1` and `show 3` show them
    "#]].assert_eq(&ran.stderr);
    assert_eq!(world.list(), copies, "nothing is changed by a refusal");
    assert_eq!(world.ok(&["host", "show"]).stdout, hosts, "the host was not even switched on");
    world.ok(&["ledger", "check"]);
}

#[test]
fn stages_are_switched_and_last() {
    let world = World::new();
    assert_eq!(world.ok(&["stage", "show"]).stdout, "queue on\nload on\nrun on\n");
    world.ok(&["stage", "off", "load", "run"]).is_silent();
    assert_eq!(world.ok(&["stage", "show"]).stdout, "queue on\nload off\nrun off\n");
    world.ok(&["stage", "on", "run"]);
    assert_eq!(
        world.ok(&["stage", "show", "--json"]).json(),
        json!({"queue": true, "load": false, "run": true})
    );
    world.ok(&["stage", "off"]);
    assert_eq!(world.ok(&["stage", "show"]).stdout, "queue off\nload off\nrun off\n");
    world.ok(&["stage", "on"]);
    let said = world.ok(&["stage", "off", "queue", "-v"]).stderr;
    assert_eq!(said, "minidvodbcopy: queue off, load on, run on\n");
    world.run(&["stage", "off", "queue", "walk"]).expect(2).says("'walk'");
}

#[test]
fn with_queue_off_nothing_is_queued() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["stage", "off", "queue"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.list(), Vec::<Value>::new());
}

#[test]
fn every_usage_error_exits_2_and_names_what_is_wrong() {
    let world = World::new();
    for (words, named) in [
        (&["show", "0"][..], "'0'"),
        (&["show", "x1"], "'x1'"),
        (&["show", "99999999999999999999"], "99999999999999999999"),
        (&["show"], "id"),
        (&["list", "--id", "0"], "'0'"),
        (&["list", "--limit", "many"], "many"),
        (&["list", "--limit", "-1"], "-1"),
        (&["list", "--limit"], "--limit"),
        (&["list", "--state", "old"], "'old'"),
        (&["list", "--format", "xml"], "'xml'"),
        (&["list", "--walrus"], "--walrus"),
        (&["list", "walrus"], "walrus"),
        (&["list", "--host", "a", "--host", "b"], "--host"),
        (&["run", "--limit", "1.5"], "1.5"),
        (&["run", "walrus"], "walrus"),
        (&["copy", "ThreePi", "ipp022"], "path"),
        (&["copy", "ThreePi", "ipp022", "/data", "more"], "more"),
        (&["target"], "add"),
        (&["target", "walrus"], "walrus"),
        (&["target", "add", "G"], "host"),
        (&["target", "add", "G", "h", "/d", "--max-used", "0"], "'0'"),
        (&["target", "add", "G", "h", "/d", "--max-used", "101"], "'101'"),
        (&["target", "add", "G", "h", "/d", "--max-used", "97%"], "'97%'"),
        (&["target", "add", "G", "h", "/d", "--verify", "md5"], "'md5'"),
        (&["target", "add", "G", "h", "/d", "--deadline", "0"], "'0'"),
        (&["target", "add", "G", "h", "/d", "--deadline", "1h"], "'1h'"),
        (&["target", "add", "G", "h", "/d", "--bwlimit", "fast"], "'fast'"),
        (&["target", "add", "G", "h", "/d", "--bwlimit", ""], "''"),
        (&["target", "add", "G", "h", "/d", "--bwlimit", "-5"], "'-5'"),
        (&["host", "add"], "host"),
        (&["host", "add", "a", "b"], "b"),
        (&["host", "add", "a", "--machine", "u@b"], "'u@b'"),
        (&["stage", "on", "walk"], "'walk'"),
        (&["minidvodb"], "import"),
        (&["minidvodb", "import"], "a list, or a folder"),
        (&["faults", "0"], "'0'"),
        (&["faults", "walrus"], "'walrus'"),
        (&["faults", "70000"], "'70000'"),
        (&["revert"], "--all"),
        (&["revert", "--all", "--id", "1"], "--all"),
        (&["revert", "--fault", "walrus"], "'walrus'"),
        (&["revert", "--minidvodb-id", "-1"], "'-1'"),
        (&["ledger"], "check"),
        (&["ledger", "restore"], "file"),
        (&["ledger", "walrus"], "walrus"),
        (&["walrus"], "walrus"),
        (&["help", "walrus"], "walrus"),
        (&["--walrus", "list"], "--walrus"),
        (&["--state-dir"], "--state-dir"),
        (&["--state-dir", "", "list"], "empty"),
    ] {
        let ran = world.run(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with("minidvodbcopy: ") && ran.stderr.contains(named),
            "{words:?}: {}",
            ran.stderr
        );
    }
    assert!(!world.state().exists(), "a usage error has changed nothing");
}

#[test]
fn what_a_usage_error_tells_to_type_works() {
    let world = World::new();
    for words in
        [&["walrus"][..], &["list", "--walrus"], &["target", "walrus"], &["target", "add", "G"], &["-v"], &[]]
    {
        let ran = world.run(words).expect(2);
        let hint =
            ran.stderr.split('`').nth(1).unwrap_or_else(|| panic!("{words:?}: no hint in {}", ran.stderr));
        let typed: Vec<&str> = hint.split(' ').skip(1).collect();
        let helped = world.run(&typed);
        assert_eq!(helped.code, 0, "{words:?} said: type `{hint}`, and that said: {}", helped.stderr);
    }
}

#[test]
fn an_argument_that_is_not_utf8_is_refused() {
    let world = World::new();
    let mut command = world.command(&["host", "add"]);
    command.arg(OsStr::from_bytes(b"ipp\xff"));
    let ran = finish(command.spawn().unwrap()).expect(2);
    expect![[r#"
        minidvodbcopy: the argument 'ipp�' is not UTF-8
    "#]]
    .assert_eq(&ran.stderr);
}

#[test]
fn an_unknown_command_and_no_command_say_where_the_commands_are_listed() {
    let world = World::new();
    world.run(&["copie"]).expect(2).says("copie").says("`minidvodbcopy help`");
    expect![[r#"
        minidvodbcopy: no command is given
          hint: `minidvodbcopy help` lists them
    "#]]
    .assert_eq(&world.run(&[]).expect(2).stderr);
    world
        .run(&["target"])
        .expect(2)
        .says("`target` needs one of: add, del, show\n")
        .says("`minidvodbcopy help target`");
}

#[test]
fn every_command_has_its_help() {
    let world = World::new();
    let top = world.ok(&["help"]).stdout;
    assert_eq!(world.ok(&["--help"]).stdout, top);
    assert_eq!(world.ok(&["-h"]).stdout, top);
    for words in [
        "run",
        "copy",
        "target",
        "target add",
        "target del",
        "target show",
        "host",
        "host add",
        "host del",
        "host show",
        "stage",
        "stage on",
        "stage off",
        "stage show",
        "minidvodb",
        "minidvodb import",
        "minidvodb list",
        "list",
        "show",
        "revert",
        "faults",
        "ledger",
        "ledger check",
        "ledger backup",
        "ledger restore",
        "ledger compact",
    ] {
        let typed: Vec<&str> = words.split(' ').collect();
        let help = world.ok(&[&["help"], &typed[..]].concat());
        assert!(help.stdout.starts_with(&format!("Usage: minidvodbcopy {words}")), "{}", help.stdout);
        assert_eq!(help.stderr, "");
        for flag in ["--help", "-h"] {
            assert_eq!(world.ok(&[&typed[..], &[flag]].concat()).stdout, help.stdout);
        }
        let command = typed[0];
        assert!(
            top.lines().any(|line| line.split_whitespace().next() == Some(command)),
            "{command} in the list"
        );
    }
    assert!(!world.state().exists());
}

#[test]
fn the_help_of_a_few_commands() {
    let world = World::new();
    let check = |words: &[&str], expected: Expect| expected.assert_eq(&world.ok(words).stdout);
    check(
        &["help"],
        expect![[r#"
            Usage: minidvodbcopy [--state-dir <DIR>] [-v] [-q] [--version] [<command>]
                   [<args>]

            Copies merged minidvodbs to other hosts, once for each machine, and knows
            afterwards what is where.

            Options:
              --state-dir       the folder with ledger, locks, backups and manifests
              -v, --verbose     say what is done also where no terminal is attached
              -q, --quiet       say only what must be said
              --version         print the version
              --help            display usage information

            Commands:
              run               cron's command: one pass over every target whose host is on
              copy              one pass for one group, now, also where the host is off;
                                remembers the target
              target            what to copy where
              host              which hosts are on
              stage             the three switches of the pass: queue, load, run
              minidvodb         the minidvodbs known here
              list              list copies; by default all of them
              show              one copy with all its attempts and what they said
              revert            clear the fault of copies that are still new, so that the
                                next pass tries them again
              update            set columns of a copy by hand; 0 is a value
              recopy            send a full copy again: the new one is staged and verified,
                                then exchanged with the old one, which goes last
              faults            the table of fault codes, or one explained
              status            at a glance: hosts, room, queue, passes under way, faults,
                                rates, what is to be expected
              export            the whole ledger, for programs and for the IPP database
              ledger            the ledger's file itself
              database          the IPP's MySQL database
              sync              bring the ledger and the database in step
              log               the operators' log
              source            the folders that minidvodbs may be copied from; while none
                                is named, all
              script            the words of the wiki page, one on each line, as pantasks'
                                input files have them; a bad line stops it, and nothing of
                                it is done
              audit             is what the ledger calls full still there, and equal to what
                                was sent? changes nothing there; the oldest audit first
              check             everything that a pass needs, tried now, with the command
                                that mends what fails; nothing is changed
              crontab           print the lines for cron, or a unit for systemd
              completions       print what completes commands, options and values in a shell
              report            pictures for people: one HTML file that needs nothing but
                                itself
              metrics           numbers for Prometheus's textfile collector; `run --metrics
                                FILE` writes them after each pass
              minidvodbtool     what the tool of this name did, with its options and its
                                formats

            Notes:
              The state folder is --state-dir, else MINIDVODBCOPY_STATE_DIR, else
              $XDG_STATE_HOME/minidvodbcopy, else ~/.local/state/minidvodbcopy.
              Exit codes: 0 done; 1 a copy faulted, `check` or an audit found something, a
              scan passed something over, or the database refused a row; 2 usage; 70 a bug;
              75 try again later; 78 configuration or ledger; 130 and 143 after a signal.

            `minidvodbcopy help COMMAND` shows its options, with examples. To begin:
            `minidvodbcopy check` says what to do next.

            The wiki page's words:
              server module (module)
                  accepted and passed over for minidvodbcopy.pro, which is built in
              add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)
                  copy a group to a path on a host: queues its merged minidvodbs now, and
                  copies them where the host is on
              add.minidvodb.host (host)
                  switch a host on, and copy to it what is queued for it
              del.minidvodb.host (host)
                  switch a host off; no copy is forgotten
              show.minidvodb.host
                  show the hosts that are on
              del.minidvodb.copy (host) (minidvodb_group)
                  stop copying a group to a host; its new copies are kept, and not served
              show.minidvodb.copy
                  show each (host).(minidvodb_group) that is copied
              minidvodb.copy.on
                  switch queue, load and run on
              minidvodb.copy.off
                  switch queue, load and run off
              minidvodb.copy.load.on
                  switch the loading of pending copies on
              minidvodb.copy.load.off
                  switch it off
              minidvodb.copy.queue.on
                  switch queueing on
              minidvodb.copy.queue.off
                  switch it off
              minidvodb.copy.run.on
                  switch the copying itself on
              minidvodb.copy.run.off
                  switch it off
        "#]],
    );
    check(
        &["help", "list"],
        expect![[r#"
            Usage: minidvodbcopy list [--host <host>] [--group <group>] [--state <state>]
                   [--pending] [--faulted] [--id <id>] [--limit <limit>] [--format <format>]

            list copies; by default all of them

            Options:
              --host            only this host
              --group           only this group
              --state           only this state: new or full
              --pending         only copies still to be made
              --faulted         only copies with a fault
              --id              only this copy
              --limit           at most so many
              --format          table (the default), json, csv, or mdc: the METADATA of
                                minidvodbtool
              --help            display usage information

            Examples:
              minidvodbcopy list
                  all copies
              minidvodbcopy list --faulted
                  those with a fault
              minidvodbcopy list --host ipp0222 --pending --format csv
                  what is still to be sent there
        "#]],
    );
    check(
        &["help", "target", "add"],
        expect![[r#"
            Usage: minidvodbcopy target add [--max-used <percent>] [--verify <verify>]
                   [--deadline <seconds>] [--bwlimit <rate>] [--streams <n>]
                   [--] <group> <host> <path>

            copy a group to a path on a host; adding it again changes it, and accepts the
            file system that is there

            Positional Arguments:
              group             the group to copy
              host              the host to copy to, as ssh knows it; localhost is this
                                machine, without ssh
              path              the folder there that the minidvodbs go into; it must exist

            Options:
              --max-used        refuse copies when more than this is used there, as df
                                prints it (97)
              --verify          how copies are verified: checksum (the default) or quick
                                (sizes and times)
              --deadline        the most that one attempt may take (17280)
              --bwlimit         limit what is sent, as rsync's --bwlimit: KiB a second, or
                                with a suffix such as 20m; 0: no limit
              --streams         send a minidvodb by so many streams at most, over as many
                                ssh connections or one less (4)
              --help            display usage information

            Examples:
              minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi
                  copy the group there from now on
              minidvodbcopy target add ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi --max-used 95 --bwlimit 20m
                  leave 5 % free, and send 20 MiB a second at most
        "#]],
    );
    check(
        &["help", "minidvodb", "import"],
        expect![[r#"
            Usage: minidvodbcopy minidvodb import [--scan <DIR>] [--group <group>]
                   [--dry-run] [--] [<file>]

            take minidvodbs from a CSV file with the columns minidvodb_id, minidvodb_name,
            minidvodb_group, minidvodb_path, state and optionally fault; a bad line stops
            it, and nothing is kept

            Positional Arguments:
              file              the file, or - for standard input

            Options:
              --scan            instead of a file, take in the DVO databases under this
                                folder: each folder with an Images.dat; those that are known
                                keep their ids, the others get the next free ones
              --group           the group of what is found by --scan
              --dry-run         say what --scan finds; change nothing
              --help            display usage information

            Examples:
              minidvodbcopy minidvodb import minidvodbs.csv
                  take a list
              minidvodbcopy minidvodb import --scan /data/ipp004.0/minidvodbs --group ThreePi --dry-run
                  what would be taken in of the DVO databases under a folder
              minidvodbcopy minidvodb import --scan /data/ipp004.0/minidvodbs --group ThreePi
                  take them in
        "#]],
    );
}

#[test]
fn the_version_is_printed() {
    let world = World::new();
    let version = format!("minidvodbcopy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(world.ok(&["--version"]).stdout, version);
    assert_eq!(world.ok(&["-V"]).stdout, version);
    assert_eq!(world.ok(&["--version", "list"]).stdout, version);
}

#[test]
fn switches_stand_before_or_after_the_command() {
    let world = World::new();
    let told = "minidvodbcopy: queue on, load on, run on\n";
    for words in [
        &["-v", "stage", "on"][..],
        &["stage", "-v", "on"],
        &["stage", "on", "-v"],
        &["stage", "on", "--verbose"],
    ] {
        assert_eq!(world.ok(words).stderr, told, "{words:?}");
    }
    for words in [&["-q", "stage", "on"][..], &["stage", "on", "--quiet"]] {
        world.ok(words).is_silent();
    }
}

#[test]
fn the_state_folder_is_named_before_or_after_the_command() {
    let world = World::new();
    let folder = world.root.join("elsewhere");
    world.ok(&["--state-dir", folder.as_str(), "stage", "off", "run"]).is_silent();
    assert!(folder.join("ledger.redb").exists() && !world.state().exists());
    let shown = "queue on\nload on\nrun off\n";
    assert_eq!(world.ok(&[&format!("--state-dir={folder}"), "stage", "show"]).stdout, shown);
    assert_eq!(world.ok(&["stage", "show", "--state-dir", folder.as_str()]).stdout, shown);
}

#[test]
fn an_option_takes_its_value_after_an_equals_sign_too() {
    let world = World::new();
    world
        .ok(&["target", "add", "ThreePi", "ipp022", "/data/a=b", "--max-used=80", "--verify=quick"])
        .is_silent();
    let target = world.ok(&["target", "show", "--json"]).json()[0].clone();
    assert_eq!([&target["path"], &target["max_used"]], [&json!("/data/a=b"), &json!(80)]);
    assert_eq!(world.ok(&["list", "--format=csv", "--limit=5"]).stdout.lines().count(), 1);
    world.run(&["list", "--format="]).expect(2).says("''");
}

/// Reads one line of the output, goes away, and waits for the end.
#[track_caller]
fn head(world: &World, words: &[&str]) -> Ran {
    let mut child = world.start(words);
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_ne!(line, "", "{words:?}");
    finish(child)
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3000);
    for words in [
        &["list"][..],
        &["list", "--format", "json"],
        &["list", "--format", "csv"],
        &["minidvodb", "list"],
        &["faults"],
        &["help"],
    ] {
        head(&world, words).expect(0).is_silent();
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = world.command(&["stage", "show"]).stdout(Stdio::from(full)).spawn().unwrap();
    finish(child).expect(78).says("cannot write to standard output");
}

#[test]
fn limits_in_the_environment_that_are_no_seconds_are_refused() {
    for name in
        ["MINIDVODBCOPY_CONNECT_SECONDS", "MINIDVODBCOPY_ANSWER_SECONDS", "MINIDVODBCOPY_STALL_SECONDS"]
    {
        for value in ["", "0", "-1", "x", "1.5", "86401", "99999999999999999999"] {
            let mut world = World::new();
            world.set(name, value);
            let ran = world.run(&["run"]).expect(78).says(name);
            assert!(ran.stderr.contains(&format!("'{value}'")), "{}", ran.stderr);
        }
        let mut world = World::new();
        world.set(name, "86400");
        world.ok(&["stage", "on"]).is_silent();
    }
}

#[test]
fn without_a_home_a_state_folder_must_be_named() {
    let world = World::new();
    let bare = |words: &[&str], folder: Option<&str>| {
        let mut command = world.command(words);
        command.env_remove("HOME").env_remove("MINIDVODBCOPY_STATE_DIR");
        if let Some(folder) = folder {
            command.env("XDG_STATE_HOME", folder);
        }
        finish(command.spawn().unwrap())
    };
    let ran = bare(&["list"], None).expect(78);
    expect![[r#"
        minidvodbcopy: no place for the state: neither HOME nor a state folder is named
          hint: name one with --state-dir DIR or MINIDVODBCOPY_STATE_DIR
    "#]]
    .assert_eq(&ran.stderr);
    bare(&["stage", "off", "run"], Some(world.root.join("xdg").as_str())).expect(0).is_silent();
    assert!(world.root.join("xdg/minidvodbcopy/ledger.redb").exists());
    bare(&["--state-dir", world.root.join("named").as_str(), "stage", "on"], None).expect(0);
    assert!(world.root.join("named/ledger.redb").exists());
}

#[test]
fn without_a_state_folder_named_it_is_below_the_home() {
    let world = World::new();
    let mut command = world.command(&["stage", "on"]);
    finish(command.env_remove("MINIDVODBCOPY_STATE_DIR").spawn().unwrap()).expect(0);
    assert!(world.root.join("home/.local/state/minidvodbcopy/ledger.redb").exists());
}

#[test]
fn a_relative_state_folder_is_below_the_working_folder() {
    let world = World::new();
    world.ok(&["--state-dir", "here/below", "stage", "off", "run"]).is_silent();
    assert!(world.root.join("here/below/ledger.redb").exists());
    let shown = world.ok(&["--state-dir", "./here/below/", "stage", "show"]);
    assert_eq!(shown.stdout, "queue on\nload on\nrun off\n");
    let checked = world.ok(&["--state-dir", "here/below", "ledger", "check"]).stdout;
    assert!(checked.starts_with(world.root.join("here/below").as_str()), "{checked}");
}

#[test]
fn a_file_in_place_of_the_state_folder_is_refused() {
    let world = World::new();
    let file = world.root.join("file");
    std::fs::write(&file, "something else").unwrap();
    for words in [&["list"][..], &["stage", "on"], &["run"], &["ledger", "check"]] {
        let ran = world.run(&[&["--state-dir", file.as_str()], words].concat());
        assert_eq!(ran.code, 78, "{words:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(file.as_str()), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
}
