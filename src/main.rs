//! Parse, run, print error and hint, exit code. The only clock read.

use std::process::ExitCode;

fn main() -> ExitCode {
    wheelseal::cli::main(chrono::Utc::now)
}
