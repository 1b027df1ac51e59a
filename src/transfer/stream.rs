//! A head start: the files of a minidvodb go out as tars, over as many connections as are worth while, which
//! costs less than rsync does and fills a link that one connection cannot. What has arrived is read back meanwhile.
//!
//! It is no more than that: unless a listing then finds everything as it is in the source, rsync comes after it,
//! sends what did not arrive, sets what a tar cannot say, and speaks of what is wrong at either end. Invariants: only
//! files that are not in the staging folder go out; a file goes into a stream as it was when the source was read,
//! whole, or not at all: what is cut off has not its size. It does not know what a fault is, but for those of the
//! watch.

mod meanwhile;
mod one;
mod packing;
mod turns;
mod work;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;
use std::time::Duration;

use tracing::Span;

use self::meanwhile::Read;
pub use self::meanwhile::Reader;
use self::turns::Turns;
use self::work::Work;
use super::destination::Identity;
use super::process::TICK;
use super::rsync::Checksums;
use super::shell::{Session, Sessions};
use super::source::{Entry, Source, Staged, partial_path};
use super::{Connection, Halt, Setting, Watch};
use crate::error::Error;
use crate::model::Host;

/// To a host that takes longer to answer, one session's window (ssh's CHAN_SES_WINDOW_DEFAULT, 2 MiB) lets less than
/// 80 MB/s through; the connection's may be larger.
const FAR: Duration = Duration::from_millis(25);

/// What to send.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// The source, as it was before.
    pub source: &'a Source,
    /// What lies in the staging folder, whole or not.
    pub staged: &'a [Staged],
    /// The name of the folders there that parts of files are kept in.
    pub partial_name: &'a str,
    /// The staging folder, absolute.
    pub to: &'a str,
    /// Which folder that is.
    pub folder: Identity,
    /// The most streams to send by.
    pub streams_max: u8,
    /// Whether what has arrived is read back while more goes out.
    pub is_read_back: bool,
}

/// What went out.
#[derive(Debug, Default)]
pub struct Streamed {
    /// Bytes of files.
    pub bytes: u64,
    /// The checksums of those files.
    pub checksums: Checksums,
    /// How it ended there.
    pub end: End,
    /// What has read files back meanwhile, and can read more.
    pub reader: Option<Reader>,
}

/// How streams ended at the far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// There was none.
    #[default]
    NotBegun,
    /// All of it was unpacked.
    Done,
    /// Nobody knows, or something went wrong: its tar may be at work still.
    Unknown,
}

/// How far streams are.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// Bytes of files that have gone out.
    pub bytes: u64,
    /// The file that was begun last, by its path below the source's folder.
    pub file: Option<&'a [u8]>,
}

/// Sends what tars can say, first by a session that was begun before, if any; `progress` is told how far it is. Where
/// the far end has no GNU tar, or anything else is in the way, less goes out, or nothing; where a further connection or
/// session does not come about, the others send all.
///
/// # Errors
/// A halt that the watch is due, or that this machine is the reason of.
pub fn send(
    connection: &Connection,
    session: Option<Session>,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
    mut progress: impl FnMut(Outlook<'_>),
) -> Result<Streamed, Halt> {
    let Some(sessions) = connection.sessions() else { return Ok(Streamed::default()) };
    let there: HashSet<&[u8]> = parcel.staged.iter().map(|staged| staged.path.as_ref()).collect();
    // A part is for rsync to go on from.
    let is_there = |entry: &Entry| {
        !there.is_empty()
            && (there.contains(entry.path.as_ref())
                || there.contains(partial_path(&entry.path, parcel.partial_name).as_slice()))
    };
    let work = Arc::new(Work::new(parcel.source, is_there));
    if !work.is_worth_while() || parcel.source.is_other_kind_in(parcel.staged) {
        if let Some(session) = session {
            session.leave();
        }
        return Ok(Streamed::default());
    }
    let streams_max = work.streams_max(parcel.streams_max);
    let may_have_another_session =
        parcel.streams_max > 1 && work.fills_windows() && connection.round_trip() > FAR;
    // Set when nobody waits for a connection that is still being made.
    let is_late = Arc::new(AtomicBool::new(false));
    let while_of_use = watch.until(Arc::clone(&is_late));
    let (host, span) = (&connection.host, Span::current());
    let mut turns = Turns::of(connection.client_id());
    let (sender, told) = channel();
    let ends = std::thread::scope(|scope| {
        let (work, span) = (&work, &span);
        let while_of_use = &while_of_use;
        spawn(scope, span, &sender, move |to| {
            by_the_first(sessions, session, work, parcel, to, setting, watch)
        });
        let (mut streams, mut ends) = (1, Vec::new());
        while ends.len() < streams {
            match told.recv_timeout(TICK) {
                // What fills the session's window waits for the host to make room.
                Ok(Told::Begun) if may_have_another_session => {
                    streams += 1;
                    spawn(scope, span, &sender, move |_| {
                        by_another_session(sessions, work, parcel, setting, watch, while_of_use)
                    });
                }
                Ok(Told::Ended(end)) => {
                    // The first stream that halts ends the others.
                    if end.is_err() {
                        work.give_up();
                    }
                    ends.push(*end);
                }
                Ok(Told::Begun) | Err(_) => {}
            }
            if work.is_given_out() || work.is_given_up() {
                is_late.store(true, Ordering::Relaxed);
            }
            progress(Outlook { bytes: work.sent_bytes(), file: work.latest() });
            if work.sent_bytes() > 0 {
                turns.begin();
            }
            while streams < streams_max && work.wants_another(streams) && !turns.are_scarce() {
                streams += 1;
                spawn(scope, span, &sender, move |_| {
                    by_another_connection(host, work, parcel, setting, watch, while_of_use)
                });
            }
        }
        ends
    });
    let mut streamed = Streamed { bytes: work.sent_bytes(), ..Streamed::default() };
    let (work, mut there) = (&work, Vec::new());
    let mut halted = None;
    for end in ends {
        match end {
            Ok(ended) => {
                streamed.end = streamed.end.max(ended.end);
                streamed.checksums.add(ended.checksums);
                there.extend(ended.read.there);
                streamed.reader = streamed.reader.or(ended.read.reader);
            }
            // The first of them is why the others were ended.
            Err(halt) => halted = halted.or(Some(halt)),
        }
    }
    for number in there {
        if let Some(sum) = streamed.checksums.by_path.get_mut(&work.file(number).path) {
            sum.is_there = true;
        }
    }
    if streamed.end != End::NotBegun {
        tracing::info!("stream: {} bytes of files, {:?}", streamed.bytes, streamed.end);
    }
    halted.map_or(Ok(streamed), Err)
}

/// What a stream tells.
enum Told {
    /// The first one has begun.
    Begun,
    Ended(Box<Result<Ended, Halt>>),
}

/// Lets a stream be, and tells what became of it, in any case: somebody waits for that.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    span: &'scope Span,
    to: &Sender<Told>,
    stream: impl FnOnce(&Sender<Told>) -> Result<Ended, Halt> + Send + 'scope,
) {
    let to = to.clone();
    scope.spawn(move || {
        let _inside = span.enter();
        let ended = catch_unwind(AssertUnwindSafe(|| stream(&to)))
            .unwrap_or_else(|_| Err(Error::bug("a stream ended in an unexpected way").into()));
        // Only a receiver that is gone does not take it.
        let _ = to.send(Told::Ended(Box::new(ended)));
    });
}

/// What became of one stream.
#[derive(Debug, Default)]
struct Ended {
    end: End,
    /// Of what went out.
    checksums: Checksums,
    /// What was read back meanwhile, whichever streams it came by.
    read: Read,
}

impl Ended {
    /// It sent nothing.
    fn without_files(end: End) -> Self {
        Self { end, ..Self::default() }
    }

    /// A further one, which is no more than that, did not come about.
    fn without_another(what: &str, halt: &Halt) -> Self {
        tracing::info!("a further {what} did not come about: {halt:?}");
        Self::default()
    }
}

fn by_the_first(
    sessions: Sessions<'_>,
    session: Option<Session>,
    work: &Arc<Work>,
    parcel: &Parcel<'_>,
    to: &Sender<Told>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Ended, Halt> {
    let session = match session {
        Some(session) => session,
        None => sessions.begin(setting)?,
    };
    let ready = match one::begin(sessions, session, parcel, setting, watch)? {
        Ok(ready) => ready,
        Err(end) => return Ok(Ended::without_files(end)),
    };
    let _ = to.send(Told::Begun);
    let reader = if parcel.is_read_back { Reader::begin(sessions, parcel, setting) } else { None };
    work.set_read_back(reader.is_some());
    let (is_over, span) = (AtomicBool::new(false), Span::current());
    let read_back = |reader: Reader| span.in_scope(|| reader.run(work, &is_over, watch));
    std::thread::scope(|scope| {
        let reading = reader.map(|reader| scope.spawn(|| read_back(reader)));
        let over = Over(&is_over);
        let sent = one::send(sessions, ready, work, true, setting, watch);
        drop(over);
        if sent.is_err() {
            work.give_up();
        }
        // Where reading ended in an unexpected way, nothing has been read.
        let read = reading.and_then(|reading| reading.join().ok()).unwrap_or_default();
        sent.map(|ended| Ended { read, ..ended })
    })
}

/// Something is over when this goes, however that comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends by one session more of a connection. That none comes about, or too late, is no harm.
fn by_another_session(
    sessions: Sessions<'_>,
    work: &Arc<Work>,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
    while_of_use: &Watch,
) -> Result<Ended, Halt> {
    let begun = sessions
        .begin(setting)
        .and_then(|session| one::begin(sessions, session, parcel, setting, while_of_use));
    match begun {
        Ok(Ok(ready)) => one::send(sessions, ready, work, false, setting, watch),
        Ok(Err(end)) => Ok(Ended::without_files(end)),
        Err(halt) => Ok(Ended::without_another("session", &halt)),
    }
}

/// Makes a connection of its own for a stream. That none comes about, or too late, is no harm.
fn by_another_connection(
    host: &Host,
    work: &Arc<Work>,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
    while_of_use: &Watch,
) -> Result<Ended, Halt> {
    let connection = match Connection::open(host, setting, while_of_use) {
        Ok(connection) => connection,
        Err(halt) => return Ok(Ended::without_another("connection", &halt)),
    };
    let Some(sessions) = connection.sessions() else { return Ok(Ended::default()) };
    let ended = by_another_session(sessions, work, parcel, setting, watch, while_of_use);
    let span = Span::current();
    // Nobody waits for the last of ssh; should this process end meanwhile, the guard sees to it.
    std::thread::spawn(move || span.in_scope(|| drop(connection)));
    ended
}
