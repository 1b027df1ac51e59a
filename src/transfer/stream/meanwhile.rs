//! Reading back what has arrived while more goes out, over a second session of the first stream's connection.
//!
//! It is a head start, too: a file that it has not read, or that was not as it was sent, is read again when all is
//! there, over the same session where that is still good. Invariant: a file counts only where the far end has read it
//! after its tar had told that it was whole, in the folder that was meant.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Parcel;
use super::packing::ALGORITHM;
use super::work::{Sent, Work};
use crate::transfer::destination::enter_folder_script;
use crate::transfer::process::{Event, TICK};
use crate::transfer::rsync::{self, Lines};
use crate::transfer::shell::{Session, Sessions};
use crate::transfer::{Halt, Setting, Watch};

/// The far end is given something to read where so many files have arrived, or so many bytes of them.
const FILES_LEAST: usize = 1000;
const BYTES_LEAST: u64 = 32 * 1024 * 1024;
/// It reads so many files at once at most, and about so many bytes.
const FILES_MOST: usize = 2000;
const BYTES_MOST: u64 = 128 * 1024 * 1024;
/// Their names together have no more bytes than a pipe holds: writing them never waits.
const NAMES_MOST_BYTES: usize = 40 * 1024;
/// What is being unpacked goes first, where there are processors for one of the two only, also where the kernel shares
/// them between sessions (sched(7), autogroup).
const GIVE_WAY: &str = "{ echo 19 >/proc/$$/autogroup; } 2>/dev/null\n";
/// When all is there, it has its turns as anything else.
const GIVE_WAY_NO_MORE: &str = "f=/proc/$$/autogroup
[ ! -w $f ] || { echo 0 >$f || { sleep 0.1; echo 0 >$f; }; } 2>/dev/null
";
/// What is being read when all has been sent is given so long: another one, which need not give way, may be sooner.
const LAST_READ: Duration = Duration::from_secs(10);
/// So often it is seen what has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// A far end that reads what it is told to.
#[derive(Debug)]
pub struct Reader {
    session: Session,
    lines: Lines,
}

/// What was read back meanwhile.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The numbers of the files that are as they were sent.
    pub(super) there: Vec<usize>,
    /// What can read more.
    pub(super) reader: Option<Reader>,
}

impl Reader {
    /// Starts it, where that is possible.
    pub(super) fn begin(sessions: Sessions<'_>, parcel: &Parcel<'_>, setting: &Setting) -> Option<Self> {
        let session = sessions.begin(setting);
        let mut session =
            session.inspect_err(|halt| tracing::info!("nothing is read back meanwhile: {halt:?}")).ok()?;
        let enter = enter_folder_script(parcel.to, parcel.folder);
        let begun = session.stdin.write_all(format!("LC_ALL=C; export LC_ALL\n{GIVE_WAY}{enter}").as_bytes());
        begun.is_ok().then(|| Self { session, lines: Lines::default() })
    }

    /// Has read back what arrives until it `is_over`, or the far end does not read any more.
    pub(super) fn run(mut self, work: &Work, is_over: &AtomicBool, watch: &Watch) -> Read {
        let (mut there, mut taken, mut is_good) = (Vec::new(), 0, true);
        let is_wanted = || !work.is_given_up() && watch.check().is_ok();
        while is_good && !is_over.load(Ordering::Relaxed) && is_wanted() {
            let files = work.take_arrived(|arrived| worth_reading(work, arrived));
            if files.is_empty() {
                std::thread::sleep(LOOK);
                continue;
            }
            taken += files.len();
            let mut over_since = None;
            is_good = self.read(work, &files, &mut there, || {
                if is_over.load(Ordering::Relaxed) {
                    over_since = over_since.or_else(|| Some(Instant::now()));
                }
                is_wanted() && over_since.is_none_or(|since| since.elapsed() < LAST_READ)
            });
        }
        work.set_read_back(false);
        tracing::info!("read back while more was sent: {} files equal of {taken}", there.len());
        if !is_good {
            // What it has said goes into its account.
            let _ = self.session.process.end_within(TICK);
        }
        Read { there, reader: is_good.then_some(self) }
    }

    /// Starts a last script in the folder; [`Self::hear`] takes what it prints.
    pub(in crate::transfer) fn ask(&mut self, script: &str) {
        // Whoever does not read it says nothing, either.
        let _ = self.session.stdin.write_all([GIVE_WAY_NO_MORE, script].concat().as_bytes());
    }

    /// Gives what that script prints to `take` until it says that it was all, or no more comes; `look` says from time to
    /// time whether to go on.
    ///
    /// # Errors
    /// What `look` says.
    pub(in crate::transfer) fn hear(
        mut self,
        mut take: impl FnMut(&[u8]) -> bool,
        mut look: impl FnMut() -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut is_all = false;
        while !is_all {
            match self.session.process.next(TICK) {
                Event::Output(bytes) => is_all = take(&bytes),
                Event::Nothing => {}
                Event::End => break,
            }
            look()?;
        }
        Ok(())
    }

    /// Has these files read, and adds those that are as they were sent; whether it can be told to read more. `look` says
    /// from time to time whether to go on.
    fn read(
        &mut self,
        work: &Work,
        files: &[Sent],
        there: &mut Vec<usize>,
        mut look: impl FnMut() -> bool,
    ) -> bool {
        let named: Vec<(&str, Sent)> =
            files.iter().filter_map(|sent| Some((name(work, *sent)?, *sent))).collect();
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let sent: HashMap<&str, Sent> = named.into_iter().collect();
        let script = rsync::patient_checksums_script(ALGORITHM, &names);
        if self.session.stdin.write_all(script.as_bytes()).is_err() {
            return false;
        }
        let mut end = None;
        while end.is_none() && look() {
            match self.session.process.next(TICK) {
                Event::Output(bytes) => self.lines.feed(&bytes, &mut |line| {
                    end = end.or(rsync::parse_end(line));
                    let Some(item) = rsync::parse_item(line) else { return };
                    let of_item = str::from_utf8(&item.path).ok().and_then(|path| sent.get(path));
                    there.extend(of_item.filter(|sent| item.has(&sent.hex())).map(|sent| sent.number));
                }),
                Event::Nothing => {}
                Event::End => return false,
            }
        }
        end == Some(0)
    }
}

/// How many of the files that have arrived are to be read now: none where more will be there soon.
fn worth_reading(work: &Work, arrived: &VecDeque<Sent>) -> usize {
    let (mut count, mut bytes, mut names_bytes) = (0, 0u64, 0);
    for sent in arrived {
        let entry = work.file(sent.number);
        names_bytes += quoted_bytes_most(&entry.path);
        if count > 0 && (count >= FILES_MOST || bytes >= BYTES_MOST || names_bytes > NAMES_MOST_BYTES) {
            return count;
        }
        count += 1;
        bytes = bytes.saturating_add(entry.size);
    }
    if count >= FILES_LEAST || bytes >= BYTES_LEAST { count } else { 0 }
}

/// The name of a file, where a script can have it.
fn name(work: &Work, sent: Sent) -> Option<&str> {
    let path = &work.file(sent.number).path;
    str::from_utf8(path).ok().filter(|_| quoted_bytes_most(path) <= NAMES_MOST_BYTES)
}

/// The bytes that a path takes in a script, at most.
fn quoted_bytes_most(path: &[u8]) -> usize {
    let quotes = path.iter().filter(|&&byte| byte == b'\'').count();
    path.len() + 3 * quotes + "'' ".len()
}
