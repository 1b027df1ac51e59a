//! `report`: a page that needs nothing but itself; its look is tested by `cargo xtask test-report`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;
use xtask::dvo::Shape;

use super::shown::queue;
use super::world::{World, names_in};

/// Elements without an end.
const VOID: [&str; 2] = ["meta", "br"];

/// A start tag: its name and its attributes.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a page as strictly as XML is read: every element ends, in order; `<` and `&` are never just text.
#[track_caller]
fn tags(page: &str) -> Vec<Tag> {
    let (mut tags, mut open, mut rest) = (Vec::new(), Vec::new(), page);
    rest = rest.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        expect_text(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(end) = rest.strip_prefix('/') {
            let (name, behind) = end.split_once('>').unwrap();
            assert_eq!(open.pop().as_deref(), Some(name), "before {:?}", &behind[..behind.len().min(80)]);
            rest = behind;
            continue;
        }
        let tag = read_tag(&mut rest);
        let is_closed = rest.starts_with("/>");
        rest = rest.strip_prefix("/>").or_else(|| rest.strip_prefix('>')).unwrap();
        if tag.name == "style" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
        if !is_closed && !VOID.contains(&tag.name.as_str()) {
            open.push(tag.name.clone());
        }
        tags.push(tag);
    }
    assert_eq!(open, Vec::<String>::new());
    tags
}

fn read_tag(rest: &mut &str) -> Tag {
    let end = rest.find([' ', '>', '/']).unwrap();
    let name = rest[..end].to_owned();
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
    *rest = rest[end..].trim_start();
    let mut attributes = Vec::new();
    while !rest.starts_with(['>', '/']) {
        let (key, behind) = rest.split_once("=\"").unwrap();
        let (value, behind) = behind.split_once('"').unwrap();
        assert!(!value.contains('<'), "{value}");
        assert!(!attributes.iter().any(|(known, _)| known == key), "{key} stands twice in {name}");
        expect_text(value);
        attributes.push((key.to_owned(), value.to_owned()));
        *rest = behind.trim_start();
    }
    Tag { name, attributes }
}

/// Every `&` begins a reference.
#[track_caller]
fn expect_text(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#39;"];
        assert!(known.iter().any(|known| text[at..].starts_with(known)), "{:?}", &text[at..]);
    }
    assert!(!text.contains('>'), "{text:?}");
}

/// The page that is made, checked for what holds of every one.
#[track_caller]
fn report(world: &World) -> String {
    world.ok(&["report", "--output", "out.html"]).is_silent();
    let page = std::fs::read_to_string(world.root.join("out.html")).unwrap();
    let tags = tags(&page);
    for tag in &tags {
        for (key, value) in &tag.attributes {
            let is_active = ["src", "srcset", "href", "xlink:href", "action", "data", "style", "xmlns"]
                .contains(&key.as_str())
                || key.starts_with("on");
            assert!(!is_active && !value.contains("url("), "{tag:?}");
        }
        assert!(
            !["script", "link", "iframe", "object", "img", "base", "form"].contains(&tag.name.as_str()),
            "{tag:?}"
        );
    }
    for word in ["http:", "https:", "url(", "@import"] {
        assert!(!page.contains(word), "{word}");
    }
    expect_accessible(&page, &tags);
    page
}

#[track_caller]
fn expect_accessible(page: &str, tags: &[Tag]) {
    let policy = tags.iter().find(|tag| tag.attribute("http-equiv").is_some()).unwrap();
    assert!(
        policy.attribute("content").unwrap().starts_with("default-src 'none'; style-src 'unsafe-inline'")
    );
    let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.attribute("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    for tag in tags.iter().filter(|tag| tag.name == "svg" && tag.attribute("aria-hidden").is_none()) {
        assert_eq!(tag.attribute("role"), Some("img"));
        for id in tag.attribute("aria-labelledby").unwrap().split(' ') {
            assert!(unique.contains(id), "{id}");
        }
        assert!(tag.attribute("viewBox").is_some() && tag.attribute("width").is_none());
    }
    // No drawing brings a colour of its own, which would be right in light or in dark only.
    for tag in tags {
        for key in ["fill", "stroke"] {
            let value = tag.attribute(key).unwrap_or("none");
            assert!(value == "none" || value.starts_with("var(--"), "{tag:?}");
        }
    }
    assert_eq!(page.matches("<table>").count(), page.matches("<table><caption>").count());
    assert!(tags.iter().filter(|tag| tag.name == "th").all(|tag| tag.attribute("scope").is_some()));
}

#[test]
fn an_empty_ledger_s_page_says_what_to_do_next() {
    let world = World::new();
    let page = report(&world);
    assert!(page.contains("minidvodbcopy minidvodb import FILE.csv"));
    assert!(!world.state().exists(), "no ledger is made");
    world.import(&[(1, "ThreePi", Utf8Path::new("/data/ThreePi.1"))]);
    let page = report(&world);
    assert!(page.contains("1 minidvodb is known, and no copy"), "{page}");
}

#[test]
fn what_is_to_be_typed_names_the_state_folder_that_was_typed() {
    let world = World::new();
    let state = world.root.join("a state");
    world.shell(&format!("minidvodbcopy --state-dir '{state}' report --output out.html")).expect(0);
    let page = std::fs::read_to_string(world.root.join("out.html")).unwrap();
    let wanted = format!("\nminidvodbcopy --state-dir '{state}' host add HOST\n");
    assert!(page.contains(&wanted), "{page}");
}

#[test]
fn it_shows_what_was_copied_and_what_was_not() {
    let world = World::new();
    world.prepare("localhost", 3);
    std::fs::remove_file(world.source("ThreePi.3").join("Images.dat")).unwrap();
    world.run(&["run"]).expect(1);
    let page = report(&world);
    for wanted in [
        "<strong>2</strong>copies full",
        "<strong>1</strong>wait for a person",
        "Copies over time",
        "Rate over time",
        "Space on each host",
        "201 source-missing",
        "The slowest copies",
        "<span class=\"kind full\" title=\"full\">F</span>",
        "<span class=\"kind person\" title=\"waits for a person\">P 201</span>",
        "<span class=\"kind full\" title=\"full\">F 2</span>",
        "<strong>0</strong>wait, and go on by themselves",
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        assert!(page.contains(wanted), "no {wanted:?} in:\n{page}");
    }
}

#[test]
fn hostile_names_are_text() {
    let world = World::new();
    let hostile = "ThreePi.<img src=x onerror=alert(1)>&\"'";
    let folder = world.make(hostile, Shape::tiny());
    let group = "G<script>&amp;'\"";
    world.import_text(&format!(
        "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n1,a,\"{}\",\"{}\",merged\n2,b,\"{0}\",/nowhere/<b>,merged\n",
        group.replace('"', "\"\""),
        folder.as_str().replace('"', "\"\"")
    )).expect(0);
    world.ok(&["target", "add", group, "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.run(&["run"]).expect(1);
    assert_eq!(world.standing(1), "full 0");
    let page = report(&world);
    assert!(page.contains("ThreePi.&lt;img src=x onerror=alert(1)&gt;&amp;&quot;"), "{page}");
    assert!(page.contains("G&lt;script&gt;&amp;amp;"), "{page}");
}

#[test]
fn too_many_copies_for_a_page_are_counted_by_group_and_that_is_said() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 5_001);
    let page = report(&world);
    assert!(page.contains("With more than 5000 copies there is no row for each minidvodb here"), "{page}");
    assert!(page.contains("n 5001"));
    assert!(page.len() < 60_000, "{} bytes", page.len());
}

#[test]
fn a_place_that_cannot_be_its_is_refused_and_what_is_there_stays() {
    let world = World::new();
    let state = world.state().join("out.html");
    world.ok(&["target", "add", "ThreePi", "ipp022", "/there"]);
    for (file, code, reason) in [
        ("missing/out.html", 78, "the folder of missing/out.html is not there"),
        ("there", 2, "there is a folder"),
        (state.as_str(), 2, "is in the state folder"),
        ("", 2, "'' is no file's name"),
    ] {
        world.run(&["report", "--output", file]).expect(code).says(reason);
    }
    world.run(&["report"]).expect(2).says("--output");
    assert!(!world.root.join("missing").exists());
}

#[test]
fn it_replaces_the_page_that_is_there_and_keeps_who_may_read_it() {
    let world = World::new();
    let file = world.root.join("out.html");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    report(&world);
    assert_eq!(mode(), 0o600, "its maker's alone");
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let names = names_in(&world.root);
    report(&world);
    assert_eq!(mode(), 0o644);
    assert_eq!(names_in(&world.root), names, "nothing is left beside it");
}
