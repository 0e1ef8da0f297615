//! Requirements with `--hash`: one line each, `\` goes on with the next, ` #` begins a comment.

use std::str::FromStr;

use pep440_rs::Operator;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

use super::super::dependency::{Dependency, is_readable};
use super::{Artifact, Format, LockError, Locked, Origin};

const FORMAT: Format = Format::Requirements;

pub(super) fn read(text: &str) -> Result<Vec<Locked>, LockError> {
    let mut packages = Vec::new();
    for line in logical_lines(text) {
        let line = line.trim();
        let option = line.split([' ', '=']).next().unwrap_or_default();
        match option {
            "" => {}
            "-r" | "--requirement" | "-c" | "--constraint" => {
                return Err(
                    FORMAT.form(&format_args!("{line:?} names another file: give each file by itself"))
                );
            }
            "-e" | "--editable" => return Err(FORMAT.form(&format_args!("{line:?} is not pinned by a hash"))),
            _ if option.starts_with('-') => {}
            _ => packages.push(locked(line)?),
        }
    }
    Ok(packages)
}

/// What requirements ask for, pinned or not. Options of a line are passed over.
pub fn wishes(text: &str) -> Result<Vec<Dependency>, LockError> {
    let mut wanted = Vec::new();
    for line in logical_lines(text) {
        let line = line.trim();
        match line.chars().next() {
            None => {}
            Some('-') if is_harmless(line) => {}
            Some('-') => {
                return Err(
                    FORMAT.form(&format_args!("{line:?} is not followed: name the requirements themselves"))
                );
            }
            Some(_) => {
                let (requirement, _) = line.find(" --").map_or((line, ""), |at| line.split_at(at));
                wanted.push(requirement.trim().parse().map_err(|error| FORMAT.form(&error))?);
            }
        }
    }
    Ok(wanted)
}

/// Options that name no other requirements: where to look, and how.
fn is_harmless(option: &str) -> bool {
    let name = option.split([' ', '=']).next().unwrap_or_default();
    !["-r", "--requirement", "-c", "--constraint", "-e", "--editable"].contains(&name)
        && !["-r", "-c", "-e"].iter().any(|short| name.starts_with(short) && !name.starts_with("--"))
}

/// Lines put together, without comments.
fn logical_lines(text: &str) -> Vec<String> {
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
    lines
}

fn locked(line: &str) -> Result<Locked, LockError> {
    let refused = |reason: String| FORMAT.package(line.split(' ').next().unwrap_or_default(), &reason);
    let (requirement, options) = line.find(" --").map_or((line, ""), |at| line.split_at(at));
    is_readable(requirement).map_err(|error| refused(error.to_string()))?;
    let wanted = Requirement::<VerbatimUrl>::from_str(requirement.trim())
        .map_err(|error| refused(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let mut artifacts = Vec::new();
    let mut words = options.split(['=', ' ']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word == "--hash" {
            let hash = words.next().unwrap_or_default();
            let artifact = Artifact::hashed(None, hash);
            artifacts.push(artifact.ok_or_else(|| refused(format!("{hash:?} is no hash")))?);
        }
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
