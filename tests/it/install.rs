//! How it comes to a machine and stays there: the tar, the completions and the units, by what README says to type.

use std::fs;
use std::process::Command;

use camino::Utf8Path;

use super::slow::write_program;
use super::start::expect_sound_units;
use super::world::{World, names_in};

const BINARY: &str = env!("CARGO_BIN_EXE_minidvodbcopy");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// What a section of README says to type, line by line.
fn typed(section: &str) -> String {
    let readme = fs::read_to_string(Utf8Path::new(REPOSITORY).join("README.md")).unwrap();
    let title = format!("## {section}");
    let lines = readme.lines().skip_while(|line| *line != title).skip(1);
    let lines =
        lines.take_while(|line| !line.starts_with("## ")).filter_map(|line| line.strip_prefix("    "));
    let typed: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(!typed.is_empty(), "README.md has nothing to type in {section}");
    typed
}

/// What stands in for the programs that would change this machine, and writes down how they were called.
fn stand_ins(world: &World) {
    let bin = world.root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["systemctl", "loginctl"] {
        let calls = world.root.join("calls");
        write_program(&bin.join(name), &format!("#!/bin/sh\necho {name} \"$@\" >>{calls}\n"));
    }
    write_program(&bin.join("sudo"), "#!/bin/sh\nexec \"$@\"\n");
}

fn calls(world: &World) -> String {
    fs::read_to_string(world.root.join("calls")).unwrap()
}

#[test]
fn a_users_own_timers_are_set_up_by_what_readme_says_to_type() {
    let world = World::new();
    stand_ins(&world);
    world.shell(&typed("cron and systemd")).expect(0);
    let units = world.root.join("home/.config/systemd/user");
    assert_eq!(
        names_in(&units),
        [
            "minidvodbcopy-audit.service",
            "minidvodbcopy-audit.timer",
            "minidvodbcopy-ipp0222.service",
            "minidvodbcopy-ipp0222.timer",
            "minidvodbcopy.service",
            "minidvodbcopy.timer",
        ]
    );
    expect_sound_units(&units);
    for name in names_in(&units) {
        let unit = fs::read_to_string(units.join(&name)).unwrap();
        assert!(!unit.contains("network-online"), "{name}: no user's manager has it:\n{unit}");
    }
    let of_one_host = fs::read_to_string(units.join("minidvodbcopy-ipp0222.service")).unwrap();
    assert!(of_one_host.contains(" run --host ipp0222\n"), "{of_one_host}");
    expect_test::expect![[r#"
        loginctl enable-linger
        systemctl --user daemon-reload
        systemctl --user enable --now minidvodbcopy.timer minidvodbcopy-audit.timer
        systemctl --user daemon-reload
        systemctl --user enable --now minidvodbcopy-ipp0222.timer
    "#]]
    .assert_eq(&calls(&world));
}

#[test]
fn completions_are_found_by_the_shells_where_readme_puts_them() {
    let world = World::new();
    world.shell(&typed("Completions")).expect(0);
    let home = world.root.join("home");
    let asked = |shell: &str, arguments: &[&str]| {
        let mut command = Command::new(shell);
        command.env("PATH", format!("{}:{}", world.root.join("bin"), std::env::var("PATH").unwrap()));
        let output =
            command.args(arguments).env("HOME", &home).env_remove("XDG_CONFIG_HOME").output().unwrap();
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let zsh = "fpath+=(~/.zfunc); autoload -U compinit; compinit -u -D; print $_comps[minidvodbcopy]";
    assert_eq!(asked("zsh", &["-f", "-c", zsh]), "_minidvodbcopy\n");
    assert_eq!(asked("fish", &["-c", "complete -C 'minidvodbcopy expo'"]).split('\t').next(), Some("export"));
    let bash = home.join(".local/share/bash-completion/completions/minidvodbcopy");
    assert_eq!(fs::read_to_string(bash).unwrap(), world.ok(&["completions", "bash"]).stdout);
}

#[test]
fn the_tar_is_unpacked_and_installed_by_what_readme_says_to_type() {
    let world = World::new();
    stand_ins(&world);
    let repository = Utf8Path::new(REPOSITORY);
    let [program, tar] = xtask::dist::write(BINARY.into(), repository, &world.root, 1_000_000_000).unwrap();
    assert!(tar.bytes < program.bytes);
    assert_eq!(fs::read(&program.file).unwrap(), fs::read(BINARY).unwrap());
    let (local, units) = (world.root.join("usr/local"), world.root.join("etc/systemd/system"));
    for folder in [&local.join("bin"), &units] {
        fs::create_dir_all(folder).unwrap();
    }
    let lines = typed("Installing").replace("/usr/local", local.as_str());
    let lines = lines.replace("/etc/systemd/system", units.as_str());
    let (first, lines) = lines.split_once('\n').unwrap();
    assert!(first.starts_with("cargo xtask dist "), "{first}");
    let ran = world.shell(lines).expect(0);
    assert_eq!(ran.stdout.lines().filter(|line| line.ends_with(": OK")).count(), 10, "{}", ran.stdout);
    let installed = local.join("bin/minidvodbcopy");
    let version = Command::new(&installed).arg("--version").output().unwrap();
    assert_eq!(version.stdout, world.ok(&["--version"]).stdout.as_bytes());
    for (shell, file) in [
        ("bash", "bash-completion/completions/minidvodbcopy"),
        ("zsh", "zsh/site-functions/_minidvodbcopy"),
        ("fish", "fish/vendor_completions.d/minidvodbcopy.fish"),
    ] {
        let found = fs::read_to_string(local.join("share").join(file)).unwrap();
        assert_eq!(found, world.ok(&["completions", shell]).stdout);
    }
    expect_test::expect![[r#"
        systemctl daemon-reload
        systemctl enable --now minidvodbcopy.timer minidvodbcopy-audit.timer
    "#]]
    .assert_eq(&calls(&world));
    for name in names_in(&units) {
        let unit = fs::read_to_string(units.join(&name)).unwrap();
        assert!(!unit.contains(world.root.as_str()) && !unit.contains(REPOSITORY), "{name}: {unit}");
        fs::write(units.join(&name), unit.replace("/usr/local", local.as_str())).unwrap();
    }
    expect_sound_units(&units);
    let service = fs::read_to_string(units.join("minidvodbcopy.service")).unwrap();
    expect_test::expect![[r#"
        [Unit]
        Wants=network-online.target
        After=network-online.target
        Description=Copies merged minidvodbs to other hosts

        [Service]
        User=ipp
        StateDirectory=minidvodbcopy
        StateDirectoryMode=0700
        Type=oneshot
        ExecStart=/usr/local/bin/minidvodbcopy --state-dir /var/lib/minidvodbcopy run
        KillMode=mixed
        TimeoutStopSec=60
        Nice=10
    "#]]
    .assert_eq(&service.replace(local.as_str(), "/usr/local"));
    let audit = fs::read_to_string(units.join("minidvodbcopy-audit.service")).unwrap();
    assert!(audit.contains("\nUser=ipp\nStateDirectory=minidvodbcopy\nStateDirectoryMode=0700\n"), "{audit}");
}

#[test]
fn a_binary_that_is_not_static_is_not_packed() {
    let world = World::new();
    let text = world.root.join("text");
    fs::write(&text, "no binary").unwrap();
    let refused = xtask::dist::write(&text, REPOSITORY.into(), &world.root, 0).unwrap_err();
    assert!(refused.to_string().starts_with(text.as_str()), "{refused}");
    assert_eq!(names_in(&world.root), ["home", "source", "text", "there"]);
}
