//! minidvodbcopy: see the crate's documentation and the README.

use std::process::ExitCode;

fn main() -> ExitCode {
    minidvodbcopy::main()
}
