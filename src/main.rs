//! Parse, run, print error and hint, exit code. The only clock read.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn main() -> ExitCode {
    wheelseal::cli::main(chrono::Utc::now)
}
