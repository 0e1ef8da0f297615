//! Requirements with `--hash`: one line each, `\` goes on with the next, ` #` begins a comment.

use std::str::FromStr;

use pep440_rs::Operator;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

use super::super::dependency::{Dependency, is_readable};
use super::{Artifact, Format, LockError, Locked, Origin};

const FORMAT: Format = Format::Requirements;
/// What hides the beginning of a word from a reader that is no shell.
const QUOTES: [char; 3] = ['"', '\'', '\\'];

/// Long options that pip knows in a file and that name no other requirements. Their short forms are `-i` and `-f`.
const HARMLESS: [&str; 11] = [
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--no-index",
    "--trusted-host",
    "--only-binary",
    "--no-binary",
    "--prefer-binary",
    "--pre",
    "--require-hashes",
    "--use-feature",
];

pub(super) fn read(text: &str) -> Result<Vec<Locked>, LockError> {
    let mut packages = Vec::new();
    for line in logical_lines(text)? {
        let line = line.trim();
        match line.chars().next() {
            None => {}
            Some('-') => harmless(line)?,
            Some(_) => {
                written_out(line)?;
                packages.push(locked(line)?);
            }
        }
    }
    Ok(packages)
}

/// What requirements ask for, pinned or not. Options of a line are passed over.
pub fn wishes(text: &str) -> Result<Vec<Dependency>, LockError> {
    let mut wanted = Vec::new();
    for line in logical_lines(text)? {
        let line = line.trim();
        match line.chars().next() {
            None => {}
            Some('-') => harmless(line)?,
            Some(_) => {
                written_out(line)?;
                let (requirement, _) = line.find(" --").map_or((line, ""), |at| line.split_at(at));
                wanted.push(requirement.trim().parse().map_err(|error| FORMAT.form(&error))?);
            }
        }
    }
    Ok(wanted)
}

/// Refuses a line with an option that may name other requirements. pip takes short options with their value glued on, and
/// long ones shortened, so what is not known is refused; so are quotes, in which an option could hide.
fn harmless(line: &str) -> Result<(), LockError> {
    let is_known = |word: &str| {
        let name = word.split('=').next().unwrap_or_default();
        HARMLESS.contains(&name) || name.starts_with("-i") || name.starts_with("-f")
    };
    if line.contains(QUOTES) {
        return Err(FORMAT.form(&format_args!("{line:?} has quotes: write options without")));
    }
    line.split_whitespace().filter(|word| !is_url(word)).try_for_each(written_out)?;
    match line.split_whitespace().find(|word| word.starts_with('-') && !is_known(word)) {
        None => Ok(()),
        Some(word) if ["-e", "--ed"].iter().any(|start| word.starts_with(start)) => {
            Err(FORMAT.form(&format_args!("{line:?} is not pinned by a hash")))
        }
        Some(word)
            if ["-r", "-c", "--requirement", "--constraint"].iter().any(|start| word.starts_with(start)) =>
        {
            Err(FORMAT.form(&format_args!("{line:?} names another file: give each file by itself")))
        }
        Some(word) => Err(FORMAT.form(&format_args!("{word:?} is no option that is known here"))),
    }
}

/// Whether a word is the address of an index, or an option with one glued on: people leave passwords out of it, and it says
/// nothing of what is installed.
fn is_url(word: &str) -> bool {
    let place = word.strip_prefix("-i").or_else(|| word.strip_prefix("-f"));
    let place = place.or_else(|| word.split_once('=').map(|(_, place)| place)).unwrap_or(word);
    ["https://", "http://"].iter().any(|scheme| place.starts_with(scheme))
}

/// Refuses what pip and uv replace by a variable of the environment: they would read something else.
fn written_out(text: &str) -> Result<(), LockError> {
    if text.contains("${") {
        return Err(FORMAT.form(&format_args!("{text:?} names a variable of the environment: write it out")));
    }
    Ok(())
}

/// Refuses what other readers, pip first, take for the end of a line and this one does not, and text in an encoding that
/// the first lines name: what looks like a comment could be a requirement.
fn check_text(text: &str) -> Result<(), LockError> {
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}');
    for (line, at) in text.split('\n').zip(1_u64..) {
        if let Some(odd) = line.strip_suffix('\r').unwrap_or(line).chars().find(|c| is_odd(*c)) {
            return Err(FORMAT.form(&format_args!("line {at} has the character {odd:?}")));
        }
        if at <= 2 && line.starts_with('#') && ["coding:", "coding="].iter().any(|mark| line.contains(mark)) {
            return Err(FORMAT.form(&format_args!("line {at} names an encoding: leave it out, it is UTF-8")));
        }
    }
    Ok(())
}

/// Lines put together, without comments.
fn logical_lines(text: &str) -> Result<Vec<String>, LockError> {
    check_text(text)?;
    let (mut lines, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let comment = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
        let (code, ended) = comment.and_then(|at| line.get(..at)).map_or((line, false), |code| (code, true));
        match code.trim_end().strip_suffix('\\') {
            Some(more) if !ended => open.push_str(more),
            _ => {
                open.push_str(code);
                lines.push(std::mem::take(&mut open));
            }
        }
    }
    lines.push(open);
    Ok(lines)
}

fn locked(line: &str) -> Result<Locked, LockError> {
    let refused = |reason: String| FORMAT.package(line.split(' ').next().unwrap_or_default(), &reason);
    let (requirement, options) = line.find(" --").map_or((line, ""), |at| line.split_at(at));
    is_readable(requirement).map_err(|error| refused(error.to_string()))?;
    let wanted = Requirement::<VerbatimUrl>::from_str(requirement.trim())
        .map_err(|error| refused(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let mut artifacts = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let hash = match word.strip_prefix("--hash") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        let hash = hash.ok_or_else(|| refused(format!("{word:?} is no --hash")))?;
        let artifact = Artifact::hashed(None, hash);
        artifacts.push(artifact.ok_or_else(|| refused(format!("{hash:?} is no hash")))?);
    }
    let project = FORMAT.project(wanted.name.as_ref())?;
    let (origin, version) = match wanted.version_or_url {
        Some(VersionOrUrl::Url(url)) => (Origin::Elsewhere(url.to_string()), None),
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
            let mut exact = specifiers
                .iter()
                .filter(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual));
            let version = exact.next().map(|one| one.version().clone());
            (Origin::Index, version.filter(|_| specifiers.iter().count() == 1))
        }
        None => (Origin::Index, None),
    };
    let marker = wanted.marker.try_to_string();
    Ok(Locked { project, version, origin, marker, artifacts })
}
