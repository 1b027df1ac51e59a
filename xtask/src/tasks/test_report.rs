//! `test-report`: the report as a browser shows it, and the metrics as Prometheus reads them.
//!
//! Invariant: what is looked at was made by real copies and real faults over a private ssh server; browser, server
//! and folders end with the task.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use xshell::cmd;
use xtask::chromium::{Chromium, View};
use xtask::dvo::{self, Shape};
use xtask::picture::{Colour, Picture, colour, contrast};
use xtask::setup::{self, Tool};
use xtask::sshd::{Sshd, SshdOptions};

use super::program::{Minidvodb, Program, write_csv};
use super::{TARGET, cargo, shell, target_dir};

/// load the report in a headless Chromium, and have promtool read the metrics
#[derive(FromArgs)]
#[argh(subcommand, name = "test-report")]
pub(crate) struct TestReport {
    /// keep the pictures, the PDF file and the page in this folder
    #[argh(option, arg_name = "DIR")]
    pictures: Option<Utf8PathBuf>,
}

const HOSTS: [&str; 2] = ["ipp0222", "ipp031"];
const FAR_HOST: &str = "ipp032";
/// A name that would be a picture, and run a program, were it not text.
const HOSTILE: &str = "SAS.<img src=x onerror=alert(1)>&";
const DAY_S: i64 = 86_400;
/// Ratio that WCAG asks for between a text and its ground.
const CONTRAST_MIN: f64 = 4.5;

const DESKTOP: View = View { width: 1280, height: 900, scheme: "light", media: "screen" };
const DARK: View = View { scheme: "dark", ..DESKTOP };
const PHONE: View = View { width: 360, height: 740, ..DESKTOP };
const PHONE_DARK: View = View { scheme: "dark", ..PHONE };
const PRINT: View = View { width: 794, height: 1123, scheme: "light", media: "print" };

impl TestReport {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&[&Tool::COPYING[..], &Tool::SHOWING[..]].concat())?;
        let binary = build()?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-report.").tempdir()?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        let stage = Stage::set(top, binary)?;
        stage.copy_for_some_days()?;
        check_metrics(&stage)?;
        let pages = [stage.report("report.html", &stage.program)?, stage.empty_report()?];
        let mut browser = Chromium::start(&Tool::Chromium.require()?, &top.join("browser"))?;
        let shown = Shown { page: pages[0].clone(), keep: self.pictures.clone() };
        shown.look(&mut browser)?;
        Shown { page: pages[1].clone(), keep: self.pictures.clone() }.look_at_empty(&mut browser)?;
        drop(browser);
        drop(stage);
        temp.close().context("the folder cannot be removed")?;
        println!("the report and the metrics are as they should be");
        Ok(())
    }
}

/// The debug build: its clock can be shifted, so that a report of many days is made in a minute.
fn build() -> anyhow::Result<Utf8PathBuf> {
    let (shell, cargo) = (shell()?, cargo());
    // The same choice as the tests', which have built it already.
    cmd!(shell, "{cargo} build --workspace --tests --bins").run()?;
    let binary = target_dir()?.join(TARGET).join("debug/minidvodbcopy");
    ensure!(binary.is_file(), "{binary}: not there after the build; is CARGO_TARGET_DIR right?");
    Ok(binary)
}

struct Stage {
    top: Utf8PathBuf,
    program: Program,
    // Ends when the stage does.
    _sshd: Sshd,
}

impl Stage {
    fn set(top: &Utf8Path, binary: Utf8PathBuf) -> anyhow::Result<Self> {
        let sshd = Sshd::start(&top.join("sshd"), SshdOptions::known_as(&HOSTS))?;
        let program = Program { binary, state_dir: top.join("state"), ssh_config: sshd.config_path() };
        Ok(Self { top: top.to_owned(), program, _sshd: sshd })
    }

    /// A pass on each of some days, with more to copy on each; and of every kind of fault one.
    fn copy_for_some_days(&self) -> anyhow::Result<()> {
        let mut id = 0;
        for (number, days_ago) in [40, 33, 21, 14, 13, 6, 2, 0].into_iter().enumerate() {
            let mut made = Vec::new();
            for group in ["ThreePi", "SAS"] {
                for _ in 0..=number % 3 {
                    id += 1;
                    let path = self.top.join("source").join(format!("{group}.{id}"));
                    dvo::make(&path, Shape::tiny(), id)?;
                    made.push(Minidvodb { id, group, path });
                }
            }
            if days_ago == 6 {
                id += 1;
                let path = self.top.join("source").join(HOSTILE);
                dvo::make(&path, Shape::tiny(), id)?;
                made.push(Minidvodb { id, group: "SAS", path });
            }
            write_csv(&self.top.join("list.csv"), &made)?;
            self.on_day(days_ago, &["minidvodb", "import", self.top.join("list.csv").as_str()], &[0])?;
            if number == 0 {
                self.add_targets()?;
            }
            if days_ago == 2 {
                // One has lost its images, and the place of another is taken.
                fs::remove_file(made[0].path.join("Images.dat"))?;
                fs::create_dir(self.there("SAS", HOSTS[0]).join(made[made.len() - 1].name()))?;
            }
            self.on_day(days_ago, &["run"], &[0, 1])?;
        }
        self.on_day(0, &["recopy", "1", "--reason", "to be seen"], &[0])?;
        Ok(())
    }

    fn add_targets(&self) -> anyhow::Result<()> {
        for host in HOSTS {
            for group in ["ThreePi", "SAS"] {
                let there = self.there(group, host);
                fs::create_dir_all(&there)?;
                self.on_day(40, &["target", "add", group, host, there.as_str()], &[0])?;
            }
            self.on_day(40, &["host", "add", host], &[0])?;
        }
        // The private server does not know this one.
        self.on_day(40, &["target", "add", "ThreePi", FAR_HOST, "/data"], &[0])?;
        self.on_day(40, &["host", "add", FAR_HOST], &[0])
    }

    fn there(&self, group: &str, host: &str) -> Utf8PathBuf {
        self.top.join("there").join(host).join(group)
    }

    fn on_day(&self, days_ago: i64, words: &[&str], codes: &[i32]) -> anyhow::Result<()> {
        let mut command = self.program.command(words);
        command.env("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", (-days_ago * DAY_S).to_string());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap_or(-1);
        ensure!(codes.contains(&code), "`minidvodbcopy {}`: {}: {said}", words.join(" "), output.status);
        Ok(())
    }

    fn report(&self, name: &str, program: &Program) -> anyhow::Result<Utf8PathBuf> {
        let file = self.top.join(name);
        program.quietly(&["report", "--output", file.as_str()])?;
        Ok(file)
    }

    fn empty_report(&self) -> anyhow::Result<Utf8PathBuf> {
        self.report("empty.html", &self.program.with_state_dir(self.top.join("empty")))
    }
}

/// Prometheus's own tool reads what is printed, written, and printed where there is nothing.
fn check_metrics(stage: &Stage) -> anyhow::Result<()> {
    let file = stage.top.join("minidvodbcopy.prom");
    stage.on_day(0, &["run", "--metrics", file.as_str()], &[0, 1])?;
    let written = fs::read(&file).with_context(|| format!("{file}: not written"))?;
    let printed = |program: &Program| -> anyhow::Result<Vec<u8>> {
        Ok(program.command(&["metrics"]).output().context("`metrics` cannot be started")?.stdout)
    };
    let empty = stage.program.with_state_dir(stage.top.join("empty"));
    for (what, text) in [
        ("run --metrics", written),
        ("metrics", printed(&stage.program)?),
        ("metrics without a ledger", printed(&empty)?),
    ] {
        ensure!(!text.is_empty(), "{what}: nothing is printed");
        let mut promtool = Command::new(Tool::Promtool.require()?)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        promtool.stdin.take().context("promtool has no input")?.write_all(&text)?;
        let output = promtool.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{what}: promtool says: {said}");
    }
    println!("promtool: well");
    Ok(())
}

/// A page, and where its pictures are kept.
struct Shown {
    page: Utf8PathBuf,
    keep: Option<Utf8PathBuf>,
}

/// The names of texts that are cut off, reach out of their drawing, or run over one another in it.
const OVERFLOWS: &str = r#"(() => {
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    if (element.closest('.scroll, pre, svg')) continue;
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0)
      found.push(element.tagName + ': ' + element.textContent.slice(0, 60));
  }
  for (const svg of document.querySelectorAll('svg.chart')) {
    const frame = svg.viewBox.baseVal;
    const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent.trim(), text.getBBox()]);
    for (const [words, box] of boxes)
      if (box.x < -2 || box.y < -2 || box.x + box.width > frame.width + 2 || box.y + box.height > frame.height + 2)
        found.push('out of its drawing: ' + words + ' ' + [box.x, box.y, box.width, box.height]);
    boxes.forEach(([words, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
      const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
      const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
      if (across > 1 && down > 3) found.push(words + ' runs over ' + other);
    }));
  }
  return found;
})()"#;

impl Shown {
    fn look(&self, browser: &mut Chromium) -> anyhow::Result<()> {
        let light = self.picture(browser, "light", DESKTOP)?;
        expect_colours(browser, &light)?;
        let dark = self.picture(browser, "dark", DARK)?;
        expect_colours(browser, &dark)?;
        ensure!(contrast(light.ground(), dark.ground()) > 10.0, "light and dark have nearly one ground");
        self.picture(browser, "phone", PHONE)?;
        self.picture(browser, "phone-dark", PHONE_DARK)?;
        let print = self.picture(browser, "print", PRINT)?;
        ensure!(
            print.ground() == [255; 3],
            "what is printed has another ground than paper: {:?}",
            print.ground()
        );
        expect_colours(browser, &print)?;
        let pdf = browser.pdf()?;
        ensure!(pdf.starts_with(b"%PDF-") && pdf.len() > 10_000, "the PDF file is no whole one");
        self.keep_file("report.pdf", &pdf)?;
        let text = browser.evaluate("document.body.textContent")?;
        ensure!(
            text.as_str().is_some_and(|text| text.contains(HOSTILE)),
            "the hostile name is not shown as it is"
        );
        let pictures = browser.evaluate("document.querySelectorAll('img, script, a[href]').length")?;
        ensure!(pictures == 0, "a name has become an element");
        Ok(())
    }

    fn look_at_empty(&self, browser: &mut Chromium) -> anyhow::Result<()> {
        self.picture(browser, "empty", PHONE)?;
        let text = browser.evaluate("document.body.textContent")?;
        ensure!(
            text.as_str().is_some_and(|text| text.contains("Nothing to show yet")),
            "what to do is not said"
        );
        Ok(())
    }

    /// Loads the page in one view, and holds what must hold in each.
    fn picture(&self, browser: &mut Chromium, name: &str, view: View) -> anyhow::Result<Picture> {
        browser.load(&self.page, view)?;
        let own = format!("file://{}", self.page);
        ensure!(browser.requests == [own], "{name}: the page asked for {:?}", browser.requests);
        ensure!(browser.complaints.is_empty(), "{name}: {:?}", browser.complaints);
        let width = browser.evaluate("document.documentElement.scrollWidth")?;
        let is_within = width.as_u64().is_some_and(|width| width <= u64::from(view.width));
        ensure!(is_within, "{name}: the page is {width} wide, its window {}", view.width);
        let overflows = browser.evaluate(OVERFLOWS)?;
        ensure!(overflows == Value::Array(Vec::new()), "{name}: {overflows:#}");
        let png = browser.picture()?;
        self.keep_file(&format!("{name}.png"), &png)?;
        let picture = Picture::read(&png)?;
        let ground = picture.points(picture.ground());
        let all = u64::from(picture.width) * u64::from(picture.height);
        ensure!(picture.width == view.width, "{name}: the picture is {} wide", picture.width);
        ensure!(
            picture.colours.len() > 20 && ground < all * 99 / 100,
            "{name}: the picture is all but blank"
        );
        println!("{name}: {} x {}, {} colours", picture.width, picture.height, picture.colours.len());
        Ok(picture)
    }

    fn keep_file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(folder) = &self.keep else { return Ok(()) };
        fs::create_dir_all(folder)?;
        fs::write(folder.join(name), bytes)?;
        fs::copy(&self.page, folder.join(self.page.file_name().unwrap_or("report.html")))?;
        Ok(())
    }
}

/// The states that are there have their colours, the drawings theirs; and what is written on them can be read.
fn expect_colours(browser: &mut Chromium, picture: &Picture) -> anyhow::Result<()> {
    let ink = variable(browser, "ink")?;
    for state in ["full", "new", "person"] {
        let ground = variable(browser, state)?;
        let points = picture.points(ground);
        ensure!(points > 100, "the colour of {state} has {points} points");
        ensure!(contrast(ink, ground) >= CONTRAST_MIN, "{state} cannot be read");
    }
    for line in ["series-1", "series-2", "limit"] {
        let points = picture.points(variable(browser, line)?);
        ensure!(points > 50, "the colour of {line} has {points} points");
    }
    for text in
        ["ink", "soft", "limit", "series-1", "series-2", "series-3", "series-4", "series-5", "series-6"]
    {
        let colour = variable(browser, text)?;
        for ground in ["paper", "card"] {
            let ground = variable(browser, ground)?;
            ensure!(contrast(colour, ground) >= CONTRAST_MIN, "{text} cannot be read on its ground");
        }
    }
    Ok(())
}

fn variable(browser: &mut Chromium, name: &str) -> anyhow::Result<Colour> {
    let expression = format!("getComputedStyle(document.documentElement).getPropertyValue('--{name}')");
    let value = browser.evaluate(&expression)?;
    match value.as_str().and_then(colour) {
        Some(colour) => Ok(colour),
        None => bail!("the variable {name} is {value}, and no colour"),
    }
}
