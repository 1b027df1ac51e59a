//! Where the IPP database is and how it is entered: settings, passwords, sockets, encryption.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use xtask::mariadb::MariaDbOptions;

use super::ipp::{Ipp, PASSWORD, Site, connect, write_password};
use super::world::{Ran, World};

/// Far beyond every limit of the program, far below for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port of this machine where nobody listens.
fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_database_is_set_without_connecting_shown_and_forgotten() {
    let world = World::new();
    let url = format!("mysql://ipp@127.0.0.1:{}/gpc1", dead_port());
    connect(&world, &url);
    let shown = world.ok(&["database", "show"]).stdout;
    assert!(shown.contains(&url), "{shown}");
    assert!(shown.contains(world.root.join("password").as_str()), "{shown}");
    world.ok(&["database", "del"]);
    let shown = world.ok(&["database", "show"]).stdout;
    assert!(!shown.contains(&url), "{shown}");
    world.run(&["sync"]).expect(78);
    world.ok(&["run"]).is_silent();
}

#[test]
fn without_a_database_a_sync_says_how_to_set_one() {
    let world = World::new();
    let ran = world.run(&["sync"]).expect(78).says("database set");
    assert_eq!(ran.stdout, "");
    world.run(&["sync", "--dry-run"]).expect(78).says("database set");
    world.prepare("localhost", 1);
    world.run(&["sync"]).expect(78).says("database set");
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_database_set_again_takes_the_place_of_the_other() {
    let site = Site::prepared(1);
    let other = Ipp::shared();
    connect(&site.world, &other.url());
    let shown = site.ok(&["database", "show"]).stdout;
    assert!(shown.contains(&other.url()) && !shown.contains(&site.ipp.url()), "{shown}");
    site.ok(&["run"]).is_silent();
    assert!(site.world.names_there().is_empty(), "the other one knows no minidvodb");
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let world = World::new();
    for url in [
        "mysql://ipp:Kiwi42@127.0.0.1/gpc1",
        "mysql://ipp:Kiwi42@127.0.0.1:99999/gpc1",
        "mysql://ipp:Kiwi42@127.0.0.1",
        "mysql://ipp:Kiwi42@/gpc1",
        "mysql://ipp:Ki@Kiwi42@127.0.0.1/gpc1",
        "mysql://ipp:Kiwi42/x@127.0.0.1/gpc1",
        "mysql://ipp:Kiwi42?x@127.0.0.1/gpc1",
        "mysql://ipp:Kiwi42#x@127.0.0.1/gpc1",
        "mysql://:Kiwi42@127.0.0.1/gpc1",
        "MYSQL://ipp:Kiwi42@127.0.0.1/gpc1",
        "postgres://ipp:Kiwi42@127.0.0.1/gpc1",
        "mysql:ipp:Kiwi42@127.0.0.1/gpc1",
        "ipp:Kiwi42@127.0.0.1/gpc1",
        "mysql://ipp@127.0.0.1/gpc1?password=Kiwi42",
        "mysql://ipp@127.0.0.1/gpc1?pwd=Kiwi42&socket=/x",
    ] {
        let ran = world.run(&["database", "set", url]).expect(2);
        assert!(!ran.stderr.contains("Kiwi42") && !ran.stdout.contains("Kiwi42"), "{url}: {}", ran.stderr);
        assert_ne!(ran.stderr, "", "{url}");
    }
    world.run(&["sync"]).expect(78);
}

#[test]
fn what_is_no_address_of_a_database_is_refused() {
    let world = World::new();
    for url in [
        "",
        "gpc1",
        "127.0.0.1/gpc1",
        "mysql://",
        "mysql://ipp@127.0.0.1",
        "mysql://ipp@127.0.0.1/",
        "mysql://127.0.0.1/gpc1",
        "mysql://@127.0.0.1/gpc1",
        "mysql://ipp@/gpc1",
        "mysql://ipp@127.0.0.1:0x10/gpc1",
        "mysql://ipp@127.0.0.1:65536/gpc1",
        "postgres://ipp@127.0.0.1/gpc1",
        "http://ipp@127.0.0.1/gpc1",
        "mysql://ipp@127.0.0.1/gpc1?tls=perhaps",
        "mysql://ipp@127.0.0.1/gpc1?tls=",
        "mysql://ipp@127.0.0.1/gpc1?socket=relative",
        "mysql://ipp@127.0.0.1/gpc1?tls=verify&ca=relative",
        "mysql://ipp@127.0.0.1/gpc1?compress=1",
        "mysql://ipp@127.0.0.1/gpc1/more",
    ] {
        let ran = world.run(&["database", "set", url]).expect(2);
        assert_ne!(ran.stderr, "", "{url}");
    }
    world.run(&["sync"]).expect(78);
}

#[test]
fn a_password_file_that_others_can_read_is_refused_when_it_is_set() {
    let ipp = Ipp::shared();
    for mode in [0o640, 0o604, 0o660, 0o644, 0o620, 0o602, 0o777] {
        let world = World::new();
        let file = world.root.join("password");
        write_password(&file, PASSWORD, mode);
        let ran = world.run(&["database", "set", &ipp.url(), "--password-file", file.as_str()]).expect(78);
        assert!(ran.stderr.contains(file.as_str()), "{mode:o}: {}", ran.stderr);
        world.run(&["sync"]).expect(78).says("database set");
    }
}

#[test]
fn a_password_file_that_others_can_read_is_refused_when_it_is_used_and_hinders_no_copy() {
    let site = Site::prepared(1);
    site.sync();
    let file = site.password_file();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    site.run(&["sync"]).expect(78).says(file.as_str());
    let ran = site.run(&["run"]);
    assert!(ran.stderr.contains(file.as_str()), "{}", ran.stderr);
    assert_eq!(site.world.standing(1), "full 0");
    assert_eq!(site.ipp.copies(), Vec::<String>::new());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_password_file_that_is_gone_is_named_and_hinders_no_copy() {
    let site = Site::prepared(1);
    site.sync();
    std::fs::remove_file(site.password_file()).unwrap();
    site.run(&["sync"]).expect(78).says(site.password_file().as_str());
    site.run(&["run"]);
    assert_eq!(site.world.standing(1), "full 0");
}

#[test]
fn a_password_file_is_found_again_from_another_folder() {
    let site = Site::prepared(1);
    site.ok(&["database", "set", &site.ipp.url(), "--password-file", "password"]);
    let mut elsewhere = site.world.command(&["sync"]);
    elsewhere.current_dir("/");
    super::world::finish(elsewhere.spawn().unwrap()).expect(0);
}

#[test]
fn without_a_file_the_password_is_that_of_the_environment() {
    let mut site = Site::prepared(1);
    site.ok(&["database", "set", &site.ipp.url()]);
    site.run(&["sync"]).expect(78);
    site.world.set("MYSQL_PWD", PASSWORD);
    site.sync();
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
}

#[test]
fn a_password_may_have_any_character_and_ends_with_its_line() {
    let site = Site::prepared(1);
    for (user, password) in [
        ("any", "it's a \"secret\" \\ % é @ : /"),
        ("blanks", "  between blanks  "),
        ("long", &"x".repeat(79)),
    ] {
        let user = format!("{user}{}", site.ipp.user);
        site.ipp.server().create_user(&user, password, &site.ipp.database).unwrap();
        let url = site.ipp.url().replace(&format!("//{}@", site.ipp.user), &format!("//{user}@"));
        for end in ["\n", "", "\r\n"] {
            std::fs::write(site.password_file(), format!("{password}{end}")).unwrap();
            site.ok(&["database", "set", &url, "--password-file", site.password_file().as_str()]);
            let ran = site.ok(&["sync"]);
            assert_eq!(ran.stderr, "", "{password}");
        }
    }
}

#[test]
fn a_user_without_a_password_needs_none() {
    let site = Site::prepared(1);
    let user = format!("open{}", site.ipp.user);
    site.ipp.server().create_user(&user, "", &site.ipp.database).unwrap();
    let url = site.ipp.url().replace(&format!("//{}@", site.ipp.user), &format!("//{user}@"));
    site.ok(&["database", "set", &url]);
    site.sync();
}

/// Every place where a password could have been left, and everything that was said.
#[track_caller]
fn expect_secret_kept(site: &Site, said: &[Ran]) {
    for ran in said {
        assert!(!ran.stdout.contains(PASSWORD) && !ran.stderr.contains(PASSWORD), "{ran:?}");
    }
    let entries = xtask::tree::list(site.world.state()).unwrap();
    for entry in entries {
        let path = site.world.state().as_std_path().join(&entry.path);
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
            assert!(!found, "the password is in {}", path.display());
        }
    }
}

#[test]
fn a_password_is_never_printed_nor_kept() {
    let mut site = Site::prepared(2);
    let mut said = vec![
        site.ok(&["-v", "sync"]),
        site.ok(&["-v", "run", "--limit", "1"]),
        site.ok(&["database", "show"]),
        site.ok(&["log", "show"]),
        site.ok(&["ledger", "backup"]),
    ];
    site.ok(&["database", "set", &site.ipp.url()]);
    site.world.set("MYSQL_PWD", PASSWORD);
    said.push(site.ok(&["-v", "run"]));
    site.ipp.sql(&format!(
        "ALTER USER '{0}'@'127.0.0.1' IDENTIFIED BY 'another', '{0}'@'localhost' IDENTIFIED BY 'another'",
        site.ipp.user
    ));
    said.push(site.run(&["-v", "sync"]).expect(78));
    said.push(site.run(&["-v", "run"]));
    said.push(site.ok(&["database", "show"]));
    said.push(site.ok(&["log", "show"]));
    expect_secret_kept(&site, &said);
}

#[test]
fn the_password_of_the_environment_goes_to_no_child() {
    let mut site = Site::prepared(1);
    site.ok(&["database", "set", &site.ipp.url()]);
    site.world.set("MYSQL_PWD", PASSWORD);
    let bin = site.world.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let real = super::slow::real("rsync");
    let seen = site.world.root.join("seen");
    super::slow::write_program(&bin.join("rsync"), &format!("#!/bin/sh\nenv >>{seen}\nexec {real} \"$@\"\n"));
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    site.world.set("PATH", &path);
    site.ok(&["run"]).is_silent();
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("PATH=") && !seen.contains(PASSWORD), "{seen}");
}

#[test]
fn a_wrong_password_names_the_user_and_hinders_no_copy() {
    let site = Site::prepared(2);
    site.ok(&["run", "--limit", "1"]).is_silent();
    let wrong = "Weka-9b21";
    write_password(&site.password_file(), wrong, 0o600);
    let ran = site.run(&["sync"]).expect(78).says(&site.ipp.user);
    assert!(!ran.stderr.contains(wrong) && ran.stdout.is_empty(), "{ran:?}");
    let ran = site.run(&["run"]);
    assert!(ran.stderr.contains(&site.ipp.user) && ran.code != 1, "{ran:?}");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    write_password(&site.password_file(), PASSWORD, 0o600);
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let site = Site::prepared(1);
    site.sync();
    site.ipp.server().sql(&format!("DROP DATABASE {}", site.ipp.database)).unwrap();
    site.run(&["sync"]).expect(78).says(&site.ipp.database);
    site.run(&["run"]);
    assert_eq!(site.world.standing(1), "full 0");
}

#[test]
fn a_unix_socket_works_and_no_port_is_needed() {
    let site = Site::prepared(1);
    let (user, database, socket) = (&site.ipp.user, &site.ipp.database, site.ipp.server().socket());
    for host in ["localhost", ""] {
        connect(&site.world, &format!("mysql://{user}@{host}/{database}?socket={socket}"));
        site.ok(&["run"]).is_silent();
        site.expect_in_step();
    }
    connect(&site.world, &format!("mysql://{user}@localhost/{database}?socket=/nowhere/s"));
    site.run(&["sync"]).expect(75).says("/nowhere/s");
}

#[test]
fn names_in_the_url_may_need_an_escape() {
    let site = Site::prepared(1);
    let (user, database) = ("u s@r", format!("{} d-b", site.ipp.database));
    site.ipp.server().create_ipp(&database).unwrap();
    site.ipp.server().create_user(user, PASSWORD, &database).unwrap();
    let port = site.ipp.server().port();
    let escaped = database.replace(' ', "%20");
    connect(&site.world, &format!("mysql://u%20s%40r@127.0.0.1:{port}/{escaped}"));
    assert_eq!(site.ok(&["sync"]).stderr, "");
}

/// A site whose server offers encryption, and whose user may not enter without it.
fn encrypted() -> Site {
    let ipp = Ipp::own(MariaDbOptions { tls: true, ..MariaDbOptions::default() });
    ipp.sql(&format!("ALTER USER '{}'@'127.0.0.1' REQUIRE SSL", ipp.user));
    let site = Site::of(World::new(), ipp);
    site.prepare(1);
    site
}

#[test]
fn encryption_is_used_and_the_right_authority_alone_is_trusted() {
    let site = encrypted();
    let (url, ca, other) = (site.ipp.url(), site.ipp.server().ca(), site.ipp.server().other_ca());
    // In the clear, this user is refused: whatever works is encrypted.
    site.run(&["sync"]).expect(78);
    for tls in [format!("?tls=verify&ca={other}"), "?tls=verify".to_owned()] {
        connect(&site.world, &format!("{url}{tls}"));
        let ran = site.run(&["sync"]);
        assert!(ran.code == 78 || ran.code == 75, "{tls}: {ran:?}");
        assert!(ran.stderr.contains("certificate"), "{tls}: {}", ran.stderr);
    }
    connect(&site.world, &format!("{url}?tls=verify&ca={ca}"));
    site.sync();
    connect(&site.world, &format!("{url}?tls=required"));
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
    connect(&site.world, &format!("{}?tls=verify&ca={ca}", url.replace("127.0.0.1", "localhost")));
    site.ok(&["sync"]).is_silent();
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let site = encrypted();
    connect(&site.world, &format!("{}?tls=verify&ca=/nowhere/ca.pem", site.ipp.url()));
    site.run(&["sync"]).expect(78).says("/nowhere/ca.pem");
}

#[test]
fn encryption_that_is_required_is_never_given_up() {
    let site = Site::prepared(1);
    connect(&site.world, &format!("{}?tls=required", site.ipp.url()));
    let ran = site.run(&["sync"]);
    assert!(ran.code == 78 || ran.code == 75, "{ran:?}");
    site.run(&["run"]);
    assert_eq!(site.ipp.copies(), Vec::<String>::new());
    assert_eq!(site.ok(&["minidvodb", "list"]).stdout, "", "nothing came through in the clear");
}

#[test]
fn a_server_that_takes_the_connection_and_says_nothing_is_away() {
    let site = Site::prepared(1);
    site.sync();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&site.world, &site.ipp.url_at(listener.local_addr().unwrap().port()));
    let began = Instant::now();
    site.run(&["sync"]).expect(75);
    let ran = site.run(&["run"]).expect(0);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_ne!(ran.stderr, "");
    assert_eq!(site.world.standing(1), "full 0");
}

#[test]
fn a_port_where_something_else_speaks_is_no_database() {
    let site = Site::prepared(1);
    site.sync();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&site.world, &site.ipp.url_at(listener.local_addr().unwrap().port()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for client in listener.incoming().take(2) {
                let text = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                let _ = std::io::Write::write_all(&mut client.unwrap(), text);
            }
        });
        let ran = site.run(&["sync"]);
        assert!(ran.code == 75 || ran.code == 78, "{ran:?}");
        site.run(&["run"]);
        // Where fewer connections were made than the thread waits for.
        for _ in 0..2 {
            let _ = std::net::TcpStream::connect(listener.local_addr().unwrap());
        }
    });
    assert_eq!(site.world.standing(1), "full 0");
}

#[test]
fn a_host_whose_name_nobody_knows_is_away() {
    let site = Site::prepared(1);
    site.sync();
    let url = format!("mysql://{}@no-such-host.invalid/{}", site.ipp.user, site.ipp.database);
    connect(&site.world, &url);
    site.run(&["sync"]).expect(75).says("no-such-host.invalid");
    site.run(&["run"]).expect(0);
    assert_eq!(site.world.standing(1), "full 0");
}
