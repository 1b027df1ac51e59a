//! `faults`: the table of fault codes, or one explained.

use crate::cli::Faults;
use crate::error::{Exit, Result};
use crate::faults::Fault;
use crate::pass::Context;
use crate::render;

pub(super) fn execute(context: &Context, words: &Faults) -> Result<Exit> {
    let text = match words.fault {
        None => table(),
        Some(fault) => explained(fault),
    };
    context.ui.print(&text)?;
    Ok(Exit::Done)
}

fn table() -> String {
    let mut table = render::new_table(&["code", "name", "class", "of", "when"]);
    for fault in Fault::foreign_codes().chain(Fault::OWN.iter().copied()) {
        table.add_row(render::cells(&[
            &fault.code().to_string(),
            fault.name(),
            fault.class().as_str(),
            fault.scope().as_str(),
            fault.when(),
        ]));
    }
    render::finish(&table)
}

fn explained(fault: Fault) -> String {
    format!(
        "fault   {fault}\nclass   {} ({})\nof      a {}\nwhen    {}\nadvice  {}\n",
        fault.class().as_str(),
        meaning(fault),
        fault.scope().as_str(),
        fault.when(),
        fault.advice()
    )
}

fn meaning(fault: Fault) -> &'static str {
    use crate::faults::{Class, Scope};
    match (fault, fault.class(), fault.scope()) {
        (Fault::FilesystemChanged, ..) => "waits to be accepted by an operator",
        (_, Class::Retry, Scope::Copy) => "tried again by itself",
        (_, Class::Retry, _) => "looked at again by itself",
        (_, Class::Person | Class::Configuration, Scope::Copy) => "waits for an operator's revert",
        (_, Class::Person | Class::Configuration, _) => {
            "an operator is asked to act; looked at again by itself"
        }
    }
}
