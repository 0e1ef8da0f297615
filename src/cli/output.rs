//! How results and errors reach people and programs: data on stdout, progress and prose on stderr.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit;
use crate::repository::Progress;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Something went well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Something was refused.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something to read first.
pub(super) const STRONG: Style = Style::new().bold();
/// Something of lesser weight.
pub(super) const FAINT: Style = Style::new().dimmed();

/// `text` in a style; the stream takes it out again where there is no colour.
pub(super) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Both streams. Clones write to the same ones.
#[derive(Clone)]
pub(crate) struct Out {
    json: bool,
    color: anstream::ColorChoice,
    progress: bool,
    /// Whether data could not be written.
    unwritten: Arc<AtomicBool>,
}

impl Out {
    pub(super) fn new(json: bool, color: ColorChoice, progress: bool) -> Self {
        let color = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        let progress = progress && std::io::stderr().is_terminal();
        Self { json, color, progress, unwritten: Arc::default() }
    }

    /// Whether output is for programs.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// A line of data. The command goes on if it cannot be written: its exit code must not depend on who reads.
    pub(super) fn line(&self, text: impl Display) {
        if let Err(error) = self.try_line(text)
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.unwritten.store(true, Ordering::Relaxed);
        }
    }

    /// A line on stdout, for who has to know whether it was written.
    pub(super) fn try_line(&self, text: impl Display) -> std::io::Result<()> {
        writeln!(anstream::AutoStream::new(std::io::stdout(), self.color), "{text}")
    }

    /// The exit code of a command that succeeded: not 0 if its output was lost, except to a reader that went away.
    pub(super) fn success(&self) -> ExitCode {
        if self.unwritten.load(Ordering::Relaxed) {
            return self.failure(&anyhow::anyhow!("the output could not be written"));
        }
        ExitCode::from(exit::OK)
    }

    /// Rows of data, in columns.
    pub(super) fn table(&self, rows: &[Vec<String>]) {
        for line in table(rows) {
            self.line(line);
        }
    }

    /// A line of prose. Nobody may be there to read it.
    pub(super) fn note(&self, text: impl Display) {
        let mut stderr = anstream::AutoStream::new(std::io::stderr(), self.color);
        drop(writeln!(stderr, "{text}"));
    }

    /// A result: as JSON if asked for, else as `people` print it.
    pub(super) fn result<T: Serialize>(&self, value: &T, people: impl FnOnce()) -> anyhow::Result<()> {
        if self.json {
            self.line(serde_json::to_string_pretty(value)?);
        } else {
            people();
        }
        Ok(())
    }

    /// Prints an error, its causes and what to do about it.
    pub(super) fn failure(&self, error: &anyhow::Error) -> ExitCode {
        self.note(format_args!("{}: {error}", styled(BAD, "error")));
        for cause in error.chain().skip(1) {
            self.note(format_args!("  cause: {cause}"));
        }
        if let Some(hint) = exit::hint(error) {
            self.note(format_args!("   {}: {hint}", styled(STRONG, "hint")));
        }
        ExitCode::from(exit::code(error))
    }

    /// A bar on stderr, if somebody watches.
    pub(super) fn progress(&self) -> Bar {
        Bar { bar: Mutex::new(None), shown: self.progress }
    }
}

/// Progress of one command.
pub(super) struct Bar {
    bar: Mutex<Option<(&'static str, ProgressBar)>>,
    shown: bool,
}

impl Progress for Bar {
    fn at(&self, what: &'static str, done: u64, total: u64) {
        if !self.shown {
            return;
        }
        let Ok(mut current) = self.bar.lock() else { return };
        if current.as_ref().is_none_or(|(name, _)| *name != what) {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta} left)",
            );
            let bar = ProgressBar::new(total).with_message(what);
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("━╸ "));
            }
            *current = Some((what, bar));
        }
        if let Some((_, bar)) = &*current {
            bar.set_length(total);
            bar.set_position(done);
            if done == total {
                bar.finish_and_clear();
            }
        }
    }
}

/// Rows of text as columns, two spaces apart; the last column is not padded.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How long until `then`, rounded, in words.
pub(super) fn until(then: chrono::DateTime<chrono::Utc>, now: chrono::DateTime<chrono::Utc>) -> String {
    let minutes = (then - now).num_minutes();
    match minutes {
        _ if then <= now => "EXPIRED".to_owned(),
        ..120 => format!("{minutes} min"),
        120..2880 => format!("{} hours", (minutes + 30) / 60),
        _ => format!("{} days", (minutes + 720) / 1440),
    }
}
