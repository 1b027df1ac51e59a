//! `export`: the whole ledger, as CSV, JSON or minidvodbtool's METADATA for programs, or as SQL for the IPP
//! database.
//!
//! Invariant: a file is replaced by a whole export or not at all. What can't be exported is refused before the
//! first byte, wherever it goes.

use super::copies::{self, Among, Choice, Put, WithoutLedger, each_chunk};
use crate::cli::{Export, ExportFormat};
use crate::error::{Exit, Result};
use crate::model::{Copy, CopyId};
use crate::output::NewFile;
use crate::pass::Context;
use crate::render::mdc::Form;
use crate::render::sql;
use crate::ui;

pub(super) fn execute(context: &Context, words: &Export) -> Result<Exit> {
    super::need_ledger(context)?;
    let Some(file) = &words.output else {
        write(context, words.format, &mut |text| context.ui.print(text))?;
        return Ok(Exit::Done);
    };
    let mut new = NewFile::begin(file, &context.state_dir)
        .map_err(|error| error.hint("without --output, it goes to standard output"))?;
    let count = write(context, words.format, &mut |text| new.write(text))?;
    new.put_in_place()?;
    context.ui.tell(&format!("{} in {file}", ui::count(count, "copy", "copies")));
    Ok(Exit::Done)
}

/// Writes all copies; says how many there were.
fn write(context: &Context, format: ExportFormat, put: &mut Put<'_>) -> Result<u64> {
    match format {
        ExportFormat::Csv => copies::write_csv(context, &all(&|_| true), put),
        ExportFormat::Json => copies::write_json(context, &all(&|_| true), put),
        ExportFormat::Sql => write_sql(context, put),
        ExportFormat::Mdc => copies::write_listing(context, &all(&|_| true), Form::Metadata, put),
    }
}

/// The copies are gone through twice: once to count them and to find what a column can't hold.
fn write_sql(context: &Context, put: &mut Put<'_>) -> Result<u64> {
    let mut last = CopyId(0);
    let checked = |copy: &Copy, _: &_| {
        sql::statements(copy)?;
        Ok(copy.id)
    };
    let count = each_chunk(context, &all(&|_| true), &checked, |ids| {
        last = ids.last().copied().unwrap_or(last);
        Ok(())
    })?;
    put(&sql::head(count, context.now()))?;
    // A copy that came since is left to the next export.
    let was_checked = |copy: &Copy| copy.id <= last;
    let choice = all(&was_checked);
    let count = each_chunk(context, &choice, &|copy, _| Ok(sql::statements(copy)?), |statements| {
        statements.iter().try_for_each(|text| put(text))
    })?;
    put(sql::TAIL)?;
    Ok(count)
}

fn all(is_wanted: &dyn Fn(&Copy) -> bool) -> Choice<'_> {
    Choice { id: None, among: Among::All, limit: None, is_wanted, without_ledger: WithoutLedger::Refused }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8PathBuf;
    use jiff::Timestamp;

    use super::*;
    use crate::error::Error;
    use crate::ledger::{Ledger, Look as _};
    use crate::model::{AbsolutePath, Group, Host, MinidvodbId, Name};
    use crate::signals::Stop;
    use crate::transfer::{Limits, Setting};
    use crate::ui::Ui;

    /// A context whose ledger holds copies of these epochs, by id from 1.
    fn context(dir: &tempfile::TempDir, epochs: &[Timestamp]) -> Context {
        let state_dir = Utf8PathBuf::try_from(dir.path().join("state")).unwrap();
        crate::state::prepare(&state_dir).unwrap();
        let ledger = Ledger::new(&state_dir);
        let host = Host::parse("ipp022").unwrap();
        ledger
            .write(|change| {
                for (id, &epoch) in (1..).zip(epochs) {
                    let copy = Copy::queued(
                        change.next_copy_id(),
                        MinidvodbId(id),
                        Group::parse("ThreePi").unwrap(),
                        host.clone(),
                        host.default_machine(),
                        AbsolutePath::parse("/there").unwrap(),
                        Name::parse(&format!("ThreePi.{id}")).unwrap(),
                        epoch,
                    );
                    change.put_copy(&copy)?.unwrap();
                }
                Ok(())
            })
            .unwrap();
        Context {
            state_dir,
            ledger,
            ui: Ui::new(false, true),
            setting: Setting { environment: Vec::new(), ssh_config: None, limits: Limits::default() },
            stop: Stop::default(),
            user: "operator".to_owned(),
            command_line: String::new(),
            mysql_password: None,
            surroundings: crate::surroundings::Surroundings::default(),
            clock: || Timestamp::UNIX_EPOCH,
        }
    }

    fn export_to(context: &Context, file: &Utf8PathBuf, format: ExportFormat) -> Result<Exit, Error> {
        execute(context, &Export { format, output: Some(file.clone()) })
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let good = Timestamp::from_second(1_800_000_000).unwrap();
        let context = context(&dir, &[good, Timestamp::from_second(1 << 31).unwrap()]);
        let file = Utf8PathBuf::try_from(dir.path().join("out.sql")).unwrap();
        fs::write(&file, "as before").unwrap();
        let error = export_to(&context, &file, ExportFormat::Sql).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.to_string().starts_with("copy 2 (minidvodb 2 to ipp022)"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "as before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "out.sql and state");

        let mut written = String::new();
        let refused = write(&context, ExportFormat::Sql, &mut |text| {
            written.push_str(text);
            Ok(())
        });
        assert!(refused.is_err());
        assert_eq!(written, "", "to standard output neither");
        export_to(&context, &file, ExportFormat::Csv).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("2038-01-19 03:14:08"));
    }

    #[test]
    fn what_is_queued_while_it_is_exported_is_left_to_the_next_export() {
        let dir = tempfile::tempdir().unwrap();
        let good = Timestamp::from_second(1_800_000_000).unwrap();
        let context = context(&dir, &[good]);
        let (mut written, mut is_first) = (String::new(), true);
        write(&context, ExportFormat::Sql, &mut |text| {
            written.push_str(text);
            if std::mem::take(&mut is_first) {
                context.ledger.write(|change| {
                    let mut copy = change.copy(CopyId(1))?.unwrap();
                    (copy.id, copy.minidvodb_id) = (change.next_copy_id(), MinidvodbId(9));
                    copy.name = Name::parse("ThreePi.9").unwrap();
                    change.put_copy(&copy)?.unwrap();
                    Ok(())
                })?;
            }
            Ok(())
        })
        .unwrap();
        assert!(written.contains("1 copy for"), "{written}");
        assert_eq!(written.matches("UPDATE").count(), 1, "{written}");
    }
}
