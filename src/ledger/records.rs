//! Records as they lie on the disk, and the only place that turns them into the model's types and back.
//!
//! A record is one byte with the frame's version, eight bytes with the xxh3 of table, key, version and
//! payload (little-endian), and the payload, an array of MessagePack: of half the size and several times faster than
//! JSON, in which older programs wrote them (each field by its name), and in which the meta table still is: a
//! program must be able to read the version of a newer schema to refuse it.
//!
//! A later version adds fields at the end, with defaults, and leaves none out.
//!
//! Invariant: a record whose checksum is wrong, or which holds a value that is not legal, is an error that
//! names the record; it never becomes a value of the model.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use redb::TableHandle as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smol_str::{SmolStr, ToSmolStr as _};

use super::Failure;
use super::hash::hash_of;
use super::tables::META;
use crate::error::Error;
use crate::faults::{Class, Fault};
use crate::model::{
    AbsolutePath, Address, Attempt, Audit, Content, Copy, CopyId, CopyState, DatabaseRecord, Extent,
    FaultState, FileSystem, Group, Host, HostRecord, Inodes, LogEntry, Machine, Minidvodb, MinidvodbId,
    MinidvodbState, Name, Outcome, Phase, Publishing, Recopy, Room, RoomSeen, Stages, Standing, Stray,
    TableRow, Taken, Target, Tombstone, Verified, Verify,
};

const FRAME_BYTES: usize = 9;
/// Most records have room in this.
pub(super) const RECORD_BYTES: usize = 192;

/// What a payload is written in, by the frame's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    Json = 1,
    Packed = 2,
}

impl Form {
    /// What the records of a table are written in.
    fn of(place: &Place<'_>) -> Self {
        if place.table == META.name() { Self::Json } else { Self::Packed }
    }

    fn write(self, record: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json => serde_json::to_writer(bytes, record).map_err(text),
            Self::Packed => rmp_serde::encode::write(bytes, record).map_err(text),
        }
    }

    fn read<'a, T: Deserialize<'a>>(self, payload: &'a [u8]) -> Result<T, String> {
        match self {
            Self::Json => serde_json::from_slice(payload).map_err(text),
            Self::Packed => rmp_serde::from_slice(payload).map_err(text),
        }
    }
}

/// The name of a record in error messages, and what its checksum is bound to.
pub(super) struct Place<'a> {
    pub(super) table: &'a str,
    pub(super) key: SmolStr,
}

impl<'a> Place<'a> {
    pub(super) fn new(table: &'a str, key: impl std::fmt::Display) -> Self {
        Self { table, key: key.to_smolstr() }
    }

    fn damaged(&self, why: impl std::fmt::Display) -> Failure {
        Failure::Damaged(format!("record {} of table {}: {why}", self.key.escape_debug(), self.table))
    }
}

fn checksum(place: &Place<'_>, form: Form, payload: &[u8]) -> u64 {
    hash_of([place.table.as_bytes(), place.key.as_bytes(), &[form as u8], payload])
}

/// The bytes of a record.
pub(super) fn encode(place: &Place<'_>, record: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    append(place, record, &mut bytes)?;
    Ok(bytes)
}

/// Appends the bytes of a record to others.
pub(super) fn append(place: &Place<'_>, record: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    let at = bytes.len();
    let form = Form::of(place);
    bytes.resize(at + FRAME_BYTES, form as u8);
    form.write(record, bytes)
        .map_err(|error| Error::bug(format!("record {} cannot be written: {error}", place.key)))?;
    seal(place, form, &mut bytes[at..]);
    Ok(())
}

/// Writes the checksum of a payload into the frame in front of it.
fn seal(place: &Place<'_>, form: Form, bytes: &mut [u8]) {
    let (frame, payload) = bytes.split_at_mut(FRAME_BYTES);
    frame[1..].copy_from_slice(&checksum(place, form, payload).to_le_bytes());
}

/// A payload with its version and its checksum in front.
#[cfg(test)]
pub(super) fn frame(form: Form, place: &Place<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![form as u8; FRAME_BYTES];
    bytes.extend_from_slice(payload);
    seal(place, form, &mut bytes);
    bytes
}

/// What lies behind the frame of a record.
#[cfg(test)]
pub(super) fn payload(bytes: &[u8]) -> &[u8] {
    &bytes[FRAME_BYTES..]
}

/// The checksum that some bytes name as theirs.
pub(super) fn checksum_in(bytes: &[u8]) -> Option<[u8; 8]> {
    bytes.get(1..FRAME_BYTES)?.try_into().ok()
}

/// The record of some bytes.
pub(super) fn decode<'a, T: Deserialize<'a>>(place: &Place<'_>, bytes: &'a [u8]) -> Result<T, Failure> {
    let Some((frame, payload)) = bytes.split_at_checked(FRAME_BYTES) else {
        return Err(place.damaged("it is too short"));
    };
    let forms = [Form::Json, Form::Packed];
    let Some(form) = forms.into_iter().find(|form| *form as u8 == frame[0]) else {
        return Err(place.damaged(format_args!("its frame has version {}, not 1 or 2", frame[0])));
    };
    if frame[1..] != checksum(place, form, payload).to_le_bytes() {
        return Err(place.damaged("its checksum is wrong"));
    }
    form.read(payload).map_err(|error| place.damaged(error))
}

/// A record that stands for a value of the model.
pub(super) trait Record: Serialize + DeserializeOwned {
    type Value;
    fn from_value(value: &Self::Value) -> Self;
    fn into_value(self) -> Result<Self::Value, String>;
}

/// The bytes of a value.
pub(super) fn encode_value<R: Record>(place: &Place<'_>, value: &R::Value) -> Result<Vec<u8>, Failure> {
    encode(place, &R::from_value(value))
}

/// The value of some bytes.
pub(super) fn decode_value<R: Record>(place: &Place<'_>, bytes: &[u8]) -> Result<R::Value, Failure> {
    decode::<R>(place, bytes)?.into_value().map_err(|why| place.damaged(why))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn time(microsecond: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(microsecond).map_err(text)
}

fn fault(code: i16) -> Result<Fault, String> {
    Fault::from_code(code).ok_or_else(|| "a fault with code 0".to_owned())
}

fn class(word: &str) -> Result<Class, String> {
    [Class::Retry, Class::Person, Class::Configuration]
        .into_iter()
        .find(|class| class.as_str() == word)
        .ok_or_else(|| format!("no fault class '{word}'"))
}

fn verified(word: &str) -> Result<Verified, String> {
    [Verified::Checksum, Verified::Quick, Verified::Adopted, Verified::ByHand]
        .into_iter()
        .find(|verified| verified.as_str() == word)
        .ok_or_else(|| format!("not verified by '{word}'"))
}

/// A text of a record that is borrowed from the bytes that it was read from, if it lies there as it is: serde makes a
/// plain [`Cow`] a text of its own.
#[derive(Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// Its texts are borrowed where it is written or only compared, else its own.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct MinidvodbRecord<T = String> {
    id: u64,
    #[serde(default)]
    name: Option<T>,
    group: T,
    path: T,
    state: T,
    #[serde(default)]
    fault: i16,
    /// It has no row in minidvodbProcessed.
    #[serde(default)]
    is_unprocessed: bool,
    #[serde(default)]
    is_from_database: bool,
    /// Its number in the group's order of becoming eligible; 0: not eligible.
    #[serde(default)]
    pub(super) eligible_number: u64,
}

impl<'a, T: From<&'a str>> MinidvodbRecord<T> {
    pub(super) fn of(value: &'a Minidvodb, eligible_number: u64) -> Self {
        Self {
            id: value.id.0,
            name: value.minidvodb_name.as_deref().map(T::from),
            group: value.group.as_str().into(),
            path: value.path.as_str().into(),
            state: value.state.as_str().into(),
            fault: value.processed_fault.unwrap_or_default(),
            is_unprocessed: value.processed_fault.is_none(),
            is_from_database: value.is_from_database,
            eligible_number,
        }
    }
}

/// A minidvodb as it lies in the ledger, which costs much less to look at than to read. Whether its values are legal is
/// not looked at: those are that are just like a minidvodb's, and who wants the others reads it.
pub struct KeptMinidvodb<'a>(MinidvodbRecord<Text<'a>>);

impl<'a> KeptMinidvodb<'a> {
    pub(super) fn at(place: &Place<'_>, bytes: &'a [u8]) -> Result<Self, Failure> {
        decode(place, bytes).map(Self)
    }

    /// minidvodb_id.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// minidvodb_group.
    pub fn group(&self) -> &str {
        &self.0.group.0
    }

    /// Whether it is just like this one.
    pub fn is(&self, minidvodb: &Minidvodb) -> bool {
        self.0 == MinidvodbRecord::of(minidvodb, self.0.eligible_number)
    }
}

impl Record for MinidvodbRecord {
    type Value = Minidvodb;

    fn from_value(value: &Minidvodb) -> Self {
        Self::of(value, 0)
    }

    fn into_value(self) -> Result<Minidvodb, String> {
        Ok(Minidvodb {
            id: MinidvodbId(self.id),
            minidvodb_name: self.name,
            group: Group::parse(&self.group).map_err(text)?,
            path: AbsolutePath::parse(&self.path).map_err(text)?,
            state: MinidvodbState::parse(&self.state).map_err(text)?,
            processed_fault: (!self.is_unprocessed).then_some(self.fault),
            is_from_database: self.is_from_database,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StandingRecord {
    fault: i16,
    since_us: i64,
    last_seen_us: i64,
    probes: u32,
    #[serde(default)]
    next_probe_us: Option<i64>,
    #[serde(default)]
    said_at_us: Option<i64>,
    #[serde(default)]
    shows_in_sending: bool,
    message: String,
}

impl Record for StandingRecord {
    type Value = Standing;

    fn from_value(value: &Standing) -> Self {
        Self {
            fault: value.fault.code(),
            since_us: value.since.as_microsecond(),
            last_seen_us: value.last_seen.as_microsecond(),
            probes: value.probes,
            next_probe_us: value.next_probe.map(Timestamp::as_microsecond),
            said_at_us: value.said_at.map(Timestamp::as_microsecond),
            shows_in_sending: value.shows_in_sending,
            message: value.message.clone(),
        }
    }

    fn into_value(self) -> Result<Standing, String> {
        Ok(Standing {
            fault: fault(self.fault)?,
            since: time(self.since_us)?,
            last_seen: time(self.last_seen_us)?,
            probes: self.probes,
            next_probe: self.next_probe_us.map(time).transpose()?,
            said_at: self.said_at_us.map(time).transpose()?,
            shows_in_sending: self.shows_in_sending,
            message: self.message,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct FileSystemRecord {
    mount_point: String,
    source: String,
    kind: String,
    id: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RoomRecord {
    host: String,
    file_system: FileSystemRecord,
    at_us: i64,
    total_bytes: u64,
    free_bytes: u64,
    used_percent: u8,
    #[serde(default)]
    inodes: Option<(u64, u64)>,
    block_bytes: u64,
}

impl Record for RoomRecord {
    type Value = RoomSeen;

    fn from_value(value: &RoomSeen) -> Self {
        Self {
            host: value.host.to_string(),
            file_system: FileSystemRecord::from_value(&value.file_system),
            at_us: value.at.as_microsecond(),
            total_bytes: value.room.total_bytes,
            free_bytes: value.room.free_bytes,
            used_percent: value.room.used_percent,
            inodes: value.room.inodes.map(|inodes| (inodes.total, inodes.free)),
            block_bytes: value.room.block_bytes,
        }
    }

    fn into_value(self) -> Result<RoomSeen, String> {
        Ok(RoomSeen {
            host: Host::parse(&self.host).map_err(text)?,
            file_system: self.file_system.into_value()?,
            at: time(self.at_us)?,
            room: Room {
                total_bytes: self.total_bytes,
                free_bytes: self.free_bytes,
                used_percent: self.used_percent,
                inodes: self.inodes.map(|(total, free)| Inodes { total, free }),
                block_bytes: self.block_bytes,
            },
        })
    }
}

impl Record for FileSystemRecord {
    type Value = FileSystem;

    fn from_value(value: &FileSystem) -> Self {
        Self {
            mount_point: value.mount_point.clone(),
            source: value.source.clone(),
            kind: value.kind.clone(),
            id: value.id.clone(),
        }
    }

    fn into_value(self) -> Result<FileSystem, String> {
        Ok(FileSystem { mount_point: self.mount_point, source: self.source, kind: self.kind, id: self.id })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct TargetRecord {
    group: String,
    host: String,
    path: String,
    max_used_percent: u8,
    verify: String,
    deadline_s: u32,
    #[serde(default)]
    bwlimit: Option<String>,
    #[serde(default)]
    streams: Option<u8>,
    #[serde(default)]
    file_system: Option<FileSystemRecord>,
    #[serde(default)]
    standing: Option<StandingRecord>,
    #[serde(default)]
    queued_through: u64,
    #[serde(default)]
    reminded_at_us: Option<i64>,
    #[serde(default)]
    audit_said_at_us: Option<i64>,
    #[serde(default)]
    logged_faults: BTreeSet<i16>,
}

impl Record for TargetRecord {
    type Value = Target;

    fn from_value(value: &Target) -> Self {
        Self {
            group: value.group.to_string(),
            host: value.host.to_string(),
            path: value.path.to_string(),
            max_used_percent: value.max_used_percent,
            verify: value.verify.as_str().to_owned(),
            deadline_s: value.deadline_s,
            bwlimit: value.bwlimit.clone(),
            streams: (value.streams != Target::STREAMS).then_some(value.streams),
            file_system: value.file_system.as_ref().map(FileSystemRecord::from_value),
            standing: value.standing.as_ref().map(StandingRecord::from_value),
            queued_through: value.queued_through,
            reminded_at_us: value.reminded_at.map(Timestamp::as_microsecond),
            audit_said_at_us: value.audit_said_at.map(Timestamp::as_microsecond),
            logged_faults: value.logged_faults.clone(),
        }
    }

    fn into_value(self) -> Result<Target, String> {
        Ok(Target {
            group: Group::parse(&self.group).map_err(text)?,
            host: Host::parse(&self.host).map_err(text)?,
            path: AbsolutePath::parse(&self.path).map_err(text)?,
            max_used_percent: self.max_used_percent,
            verify: match self.verify.as_str() {
                "quick" => Verify::Quick,
                "checksum" => Verify::Checksum,
                other => return Err(format!("no way to verify '{other}'")),
            },
            deadline_s: self.deadline_s,
            bwlimit: self.bwlimit,
            streams: self.streams.unwrap_or(Target::STREAMS),
            file_system: self.file_system.map(FileSystemRecord::into_value).transpose()?,
            standing: self.standing.map(StandingRecord::into_value).transpose()?,
            queued_through: self.queued_through,
            reminded_at: self.reminded_at_us.map(time).transpose()?,
            audit_said_at: self.audit_said_at_us.map(time).transpose()?,
            logged_faults: self.logged_faults,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct HostRecordRecord {
    host: String,
    machine: String,
    is_on: bool,
    #[serde(default)]
    standing: Option<StandingRecord>,
}

impl Record for HostRecordRecord {
    type Value = HostRecord;

    fn from_value(value: &HostRecord) -> Self {
        Self {
            host: value.host.to_string(),
            machine: value.machine.to_string(),
            is_on: value.is_on,
            standing: value.standing.as_ref().map(StandingRecord::from_value),
        }
    }

    fn into_value(self) -> Result<HostRecord, String> {
        Ok(HostRecord {
            host: Host::parse(&self.host).map_err(text)?,
            machine: Machine::parse(&self.machine).map_err(text)?,
            is_on: self.is_on,
            standing: self.standing.map(StandingRecord::into_value).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StagesRecord {
    queue: bool,
    load: bool,
    run: bool,
}

impl Record for StagesRecord {
    type Value = Stages;

    fn from_value(value: &Stages) -> Self {
        Self { queue: value.queue, load: value.load, run: value.run }
    }

    fn into_value(self) -> Result<Stages, String> {
        Ok(Stages { queue: self.queue, load: self.load, run: self.run })
    }
}

#[derive(Serialize, Deserialize)]
struct FaultRecord {
    code: i16,
    class: String,
    #[serde(default)]
    next_try_us: Option<i64>,
}

impl Record for FaultRecord {
    type Value = FaultState;

    fn from_value(value: &FaultState) -> Self {
        Self {
            code: value.fault.code(),
            class: value.class.as_str().to_owned(),
            next_try_us: value.next_try.map(Timestamp::as_microsecond),
        }
    }

    fn into_value(self) -> Result<FaultState, String> {
        Ok(FaultState {
            fault: fault(self.code)?,
            class: class(&self.class)?,
            next_try: self.next_try_us.map(time).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct RecopyRecord {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    fault: Option<FaultRecord>,
    #[serde(default)]
    exchanging: Option<PublishingRecord>,
}

impl Record for RecopyRecord {
    type Value = Recopy;

    fn from_value(value: &Recopy) -> Self {
        Self {
            reason: value.reason.clone(),
            fault: value.fault.as_ref().map(FaultRecord::from_value),
            exchanging: value.exchanging.as_ref().map(PublishingRecord::from_value),
        }
    }

    fn into_value(self) -> Result<Recopy, String> {
        Ok(Recopy {
            reason: self.reason,
            fault: self.fault.map(FaultRecord::into_value).transpose()?,
            exchanging: self.exchanging.map(PublishingRecord::into_value).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct PublishingRecord {
    device: u64,
    inode: u64,
    verified: String,
    dtime_s: f32,
}

impl Record for PublishingRecord {
    type Value = Publishing;

    fn from_value(value: &Publishing) -> Self {
        Self {
            device: value.device,
            inode: value.inode,
            verified: value.verified.as_str().to_owned(),
            dtime_s: value.dtime_s,
        }
    }

    fn into_value(self) -> Result<Publishing, String> {
        Ok(Publishing {
            device: self.device,
            inode: self.inode,
            verified: verified(&self.verified)?,
            dtime_s: self.dtime_s,
        })
    }
}

fn extent(word: &str) -> Result<Extent, String> {
    let found = Extent::ALL.into_iter().find(|extent| extent.as_str() == word);
    found.ok_or_else(|| format!("no extent of an audit '{word}'"))
}

#[derive(Serialize, Deserialize)]
struct AuditRecord {
    at_us: i64,
    extent: String,
    #[serde(default)]
    found_by: Option<String>,
    #[serde(default)]
    is_source_changed: bool,
    #[serde(default)]
    said: String,
}

impl Record for AuditRecord {
    type Value = Audit;

    fn from_value(value: &Audit) -> Self {
        Self {
            at_us: value.at.as_microsecond(),
            extent: value.extent.as_str().to_owned(),
            found_by: value.found_by.map(|extent| extent.as_str().to_owned()),
            is_source_changed: value.is_source_changed,
            said: value.said.clone(),
        }
    }

    fn into_value(self) -> Result<Audit, String> {
        Ok(Audit {
            at: time(self.at_us)?,
            extent: extent(&self.extent)?,
            found_by: self.found_by.as_deref().map(extent).transpose()?,
            is_source_changed: self.is_source_changed,
            said: self.said,
        })
    }
}

/// Its texts are borrowed where it is written, and its own where it was read.
#[derive(Serialize, Deserialize)]
pub(super) struct CopyRecord<T = String> {
    id: u64,
    minidvodb_id: u64,
    group: T,
    host: T,
    machine: T,
    path: T,
    name: T,
    state: T,
    #[serde(default)]
    fault: Option<FaultRecord>,
    #[serde(default)]
    publishing: Option<PublishingRecord>,
    #[serde(default)]
    verified: Option<T>,
    /// It may complete what has its final name.
    #[serde(default)]
    adopts: bool,
    #[serde(default)]
    recopy: Option<RecopyRecord>,
    #[serde(default)]
    audit: Option<AuditRecord>,
    #[serde(default)]
    epoch_s: Option<i64>,
    #[serde(default)]
    dtime_s: Option<f32>,
    #[serde(default)]
    attempts: u32,
    #[serde(default)]
    last_attempt: u32,
    #[serde(default)]
    tries: u32,
    #[serde(default)]
    same_fault: u32,
    #[serde(default)]
    interruptions: u32,
    #[serde(default)]
    is_suspicious: bool,
    #[serde(default)]
    to_send_bytes: Option<u64>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    files: Option<u64>,
}

impl<'a, T: From<&'a str>> CopyRecord<T> {
    pub(super) fn of(value: &'a Copy) -> Self {
        let (fault, publishing, verified) = match &value.state {
            CopyState::New { fault, publishing, .. } => (fault.as_ref(), *publishing, None),
            CopyState::Full { verified, published, fault, .. } => {
                (fault.as_ref(), *published, Some(*verified))
            }
        };
        Self {
            id: value.id.0,
            minidvodb_id: value.minidvodb_id.0,
            group: value.group.as_str().into(),
            host: value.host.as_str().into(),
            machine: value.machine.as_str().into(),
            path: value.path.as_str().into(),
            name: value.name.as_str().into(),
            state: value.state_word().into(),
            fault: fault.map(FaultRecord::from_value),
            publishing: publishing.as_ref().map(PublishingRecord::from_value),
            verified: verified.map(|verified| verified.as_str().into()),
            adopts: value.adopts(),
            recopy: value.recopy().map(RecopyRecord::from_value),
            audit: value.audit().map(AuditRecord::from_value),
            epoch_s: value.epoch.map(Timestamp::as_second),
            dtime_s: value.dtime_s,
            attempts: value.attempts,
            last_attempt: value.last_attempt,
            tries: value.tries,
            same_fault: value.same_fault,
            interruptions: value.interruptions,
            is_suspicious: value.is_suspicious,
            to_send_bytes: value.to_send_bytes,
            bytes: value.bytes,
            files: value.files,
        }
    }
}

impl Record for CopyRecord {
    type Value = Copy;

    fn from_value(value: &Copy) -> Self {
        Self::of(value)
    }

    fn into_value(self) -> Result<Copy, String> {
        let publishing = self.publishing.map(PublishingRecord::into_value).transpose()?;
        let fault = self.fault.map(FaultRecord::into_value).transpose()?;
        let taken = if self.adopts { Taken::Adopt } else { Taken::Refuse };
        let recopy = self.recopy.map(RecopyRecord::into_value).transpose()?;
        let audit = self.audit.map(AuditRecord::into_value).transpose()?;
        let state = match (self.state.as_str(), self.verified) {
            ("new", None) => CopyState::New { fault, publishing, taken },
            ("full", Some(word)) => {
                let verified = verified(&word)?;
                CopyState::Full { verified, published: publishing, fault, recopy, audit }
            }
            (state, ..) => return Err(format!("its state '{state}' does not go with its other fields")),
        };
        Ok(Copy {
            id: CopyId(self.id),
            minidvodb_id: MinidvodbId(self.minidvodb_id),
            group: Group::parse(&self.group).map_err(text)?,
            host: Host::parse(&self.host).map_err(text)?,
            machine: Machine::parse(&self.machine).map_err(text)?,
            path: AbsolutePath::parse(&self.path).map_err(text)?,
            name: Name::parse(&self.name).map_err(text)?,
            state,
            epoch: self.epoch_s.map(|second| Timestamp::from_second(second).map_err(text)).transpose()?,
            dtime_s: self.dtime_s,
            attempts: self.attempts,
            last_attempt: self.last_attempt,
            tries: self.tries,
            same_fault: self.same_fault,
            interruptions: self.interruptions,
            is_suspicious: self.is_suspicious,
            to_send_bytes: self.to_send_bytes,
            bytes: self.bytes,
            files: self.files,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct AttemptRecord {
    copy_id: u64,
    number: u32,
    began_us: i64,
    #[serde(default)]
    ended_us: Option<i64>,
    phase: String,
    outcome: String,
    #[serde(default)]
    fault: i16,
    #[serde(default)]
    sent_bytes: u64,
    #[serde(default)]
    files: u64,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    said: String,
}

impl Record for AttemptRecord {
    type Value = Attempt;

    fn from_value(value: &Attempt) -> Self {
        let (outcome, fault) = match value.outcome {
            Outcome::Open => ("open", 0),
            Outcome::Full => ("full", 0),
            Outcome::Faulted(fault) => ("faulted", fault.code()),
            Outcome::Interrupted => ("interrupted", 0),
        };
        Self {
            copy_id: value.copy_id.0,
            number: value.number,
            began_us: value.began.as_microsecond(),
            ended_us: value.ended.map(Timestamp::as_microsecond),
            phase: value.phase.as_str().to_owned(),
            outcome: outcome.to_owned(),
            fault,
            sent_bytes: value.sent_bytes,
            files: value.files,
            seconds: value.seconds,
            said: value.said.clone(),
        }
    }

    fn into_value(self) -> Result<Attempt, String> {
        Ok(Attempt {
            copy_id: CopyId(self.copy_id),
            number: self.number,
            began: time(self.began_us)?,
            ended: self.ended_us.map(time).transpose()?,
            phase: Phase::ALL
                .into_iter()
                .find(|phase| phase.as_str() == self.phase)
                .ok_or_else(|| format!("no phase '{}'", self.phase))?,
            outcome: match self.outcome.as_str() {
                "open" => Outcome::Open,
                "full" => Outcome::Full,
                "interrupted" => Outcome::Interrupted,
                "faulted" => Outcome::Faulted(fault(self.fault)?),
                other => return Err(format!("no outcome '{other}'")),
            },
            sent_bytes: self.sent_bytes,
            files: self.files,
            seconds: self.seconds,
            said: self.said,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DatabaseRecordRecord {
    url: String,
    #[serde(default)]
    password_file: Option<String>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    compared_at_us: Option<i64>,
    #[serde(default)]
    synced_at_us: Option<i64>,
    #[serde(default)]
    away_since_us: Option<i64>,
    #[serde(default)]
    away_because: String,
}

impl Record for DatabaseRecordRecord {
    type Value = DatabaseRecord;

    fn from_value(value: &DatabaseRecord) -> Self {
        Self {
            url: value.address.to_string(),
            password_file: value.password_file.clone(),
            identity: value.identity.clone(),
            groups: value.groups.clone(),
            compared_at_us: value.compared_at.map(Timestamp::as_microsecond),
            synced_at_us: value.synced_at.map(Timestamp::as_microsecond),
            away_since_us: value.away_since.map(Timestamp::as_microsecond),
            away_because: value.away_because.clone(),
        }
    }

    fn into_value(self) -> Result<DatabaseRecord, String> {
        Ok(DatabaseRecord {
            address: Address::parse(&self.url).map_err(text)?,
            password_file: self.password_file,
            identity: self.identity,
            groups: self.groups,
            compared_at: self.compared_at_us.map(time).transpose()?,
            synced_at: self.synced_at_us.map(time).transpose()?,
            away_since: self.away_since_us.map(time).transpose()?,
            away_because: self.away_because,
        })
    }
}

/// Its texts are borrowed where it is written, and its own where it was read.
#[derive(Serialize, Deserialize)]
pub(super) struct TableRowRecord<T = String> {
    id: u64,
    minidvodb_id: u64,
    path: T,
    host: T,
    #[serde(default)]
    fault: i16,
    state: T,
    #[serde(default)]
    epoch_s: Option<i64>,
    #[serde(default)]
    dtime_s: Option<f32>,
}

impl<'a, T: From<&'a str>> TableRowRecord<T> {
    pub(super) fn of(value: &'a TableRow) -> Self {
        let content = &value.content;
        Self {
            id: value.id,
            minidvodb_id: value.minidvodb_id.0,
            path: content.path.as_str().into(),
            host: content.host.as_str().into(),
            fault: content.fault,
            state: content.state.as_str().into(),
            epoch_s: content.epoch.map(Timestamp::as_second),
            dtime_s: content.dtime_s,
        }
    }
}

impl Record for TableRowRecord {
    type Value = TableRow;

    fn from_value(value: &TableRow) -> Self {
        Self::of(value)
    }

    fn into_value(self) -> Result<TableRow, String> {
        Ok(TableRow {
            id: self.id,
            minidvodb_id: MinidvodbId(self.minidvodb_id),
            content: Content {
                path: self.path,
                host: self.host.into(),
                fault: self.fault,
                state: self.state.into(),
                epoch: self.epoch_s.map(|second| Timestamp::from_second(second).map_err(text)).transpose()?,
                dtime_s: self.dtime_s,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StrayRecord {
    minidvodb_id: u64,
    row_id: u64,
    host: String,
    why: String,
}

impl Record for StrayRecord {
    type Value = Stray;

    fn from_value(value: &Stray) -> Self {
        let Stray { minidvodb_id, row_id, host, why } = value.clone();
        Self { minidvodb_id, row_id, host, why }
    }

    fn into_value(self) -> Result<Stray, String> {
        let Self { minidvodb_id, row_id, host, why } = self;
        Ok(Stray { minidvodb_id, row_id, host, why })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct TombstoneRecord {
    copy: CopyRecord,
    at_us: i64,
}

impl Record for TombstoneRecord {
    type Value = Tombstone;

    fn from_value(value: &Tombstone) -> Self {
        Self { copy: CopyRecord::from_value(&value.copy), at_us: value.at.as_microsecond() }
    }

    fn into_value(self) -> Result<Tombstone, String> {
        Ok(Tombstone { copy: self.copy.into_value()?, at: time(self.at_us)? })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct LogRecord {
    at_us: i64,
    who: String,
    #[serde(default)]
    copy: Option<u64>,
    text: String,
}

impl Record for LogRecord {
    type Value = LogEntry;

    fn from_value(value: &LogEntry) -> Self {
        Self {
            at_us: value.at.as_microsecond(),
            who: value.who.clone(),
            copy: value.copy.map(|copy| copy.0),
            text: value.text.clone(),
        }
    }

    fn into_value(self) -> Result<LogEntry, String> {
        Ok(LogEntry { at: time(self.at_us)?, who: self.who, copy: self.copy.map(CopyId), text: self.text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_record_is_found() {
        let place = Place::new("copies.1", 7);
        let minidvodb = Minidvodb {
            id: MinidvodbId(7),
            minidvodb_name: Some("ThreePi.7".to_owned()),
            group: Group::parse("ThreePi").unwrap(),
            path: AbsolutePath::parse("/data/ThreePi.7").unwrap(),
            state: MinidvodbState::Merged,
            processed_fault: Some(0),
            is_from_database: false,
        };
        let good = encode_value::<MinidvodbRecord>(&place, &minidvodb).unwrap();
        assert_eq!(decode_value::<MinidvodbRecord>(&place, &good).unwrap(), minidvodb);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_value::<MinidvodbRecord>(&place, &bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(decode_value::<MinidvodbRecord>(&place, &good[..length]).is_err(), "{length} bytes");
        }
        let elsewhere = Place::new("copies.1", 8);
        assert!(decode_value::<MinidvodbRecord>(&elsewhere, &good).is_err(), "a record under another key");
    }

    #[test]
    fn a_minidvodb_is_compared_as_it_lies_in_either_form() {
        let place = Place::new("minidvodbs.1", 7);
        let minidvodb = Minidvodb {
            id: MinidvodbId(7),
            minidvodb_name: Some("say \"\\\"".to_owned()),
            group: Group::parse("LAP.\"a\"").unwrap(),
            path: AbsolutePath::parse("/data/é \"7\"").unwrap(),
            state: MinidvodbState::Other("new".to_owned()),
            processed_fault: None,
            is_from_database: true,
        };
        let record = MinidvodbRecord::<&str>::of(&minidvodb, 3);
        let old = frame(Form::Json, &place, &serde_json::to_vec(&record).unwrap());
        let others = [
            Minidvodb { minidvodb_name: None, ..minidvodb.clone() },
            Minidvodb { state: MinidvodbState::Merged, ..minidvodb.clone() },
            Minidvodb { processed_fault: Some(0), ..minidvodb.clone() },
            Minidvodb { is_from_database: false, ..minidvodb.clone() },
            Minidvodb { path: AbsolutePath::parse("/data/7").unwrap(), ..minidvodb.clone() },
            Minidvodb { group: Group::parse("LAP").unwrap(), ..minidvodb.clone() },
            Minidvodb { id: MinidvodbId(8), ..minidvodb.clone() },
        ];
        for bytes in [encode(&place, &record).unwrap(), old] {
            let kept = KeptMinidvodb::at(&place, &bytes).unwrap();
            assert_eq!((kept.id(), kept.group()), (7, "LAP.\"a\""));
            assert!(kept.is(&minidvodb));
            others.iter().for_each(|other| assert!(!kept.is(other), "{other:?}"));
        }
    }
}
