//! What maintainers are shown before and after they sign.

use std::path::Path;

use super::published::Seen;
use crate::cli::Context;
use crate::cli::exit::Usage;
use crate::cli::output::{BAD, GOOD, STRONG, styled, until};
use crate::python::{PageFile, ProjectName, ProjectPage, Yanked};
use crate::repository::{Base, Edit, Kind, Owners, ProjectFile};
use crate::tuf::metadata::Role;

pub(super) fn bad(text: &str) -> String {
    styled(BAD, text)
}

/// What a claim adopts, and what it leaves out.
pub(super) fn claim(context: &Context, file: &ProjectFile, base: &Base, out: &Path) -> anyhow::Result<()> {
    for target in base.targets.keys() {
        context.out.note(format_args!("adopts {target}"));
    }
    for name in &file.without {
        context.out.note(format_args!("{} {name}", styled(BAD, "leaves out")));
    }
    signed(context, file, out)
}

/// What a release changes.
pub(super) fn edits(context: &Context, edits: &[Edit], changed: &[String]) {
    for edit in edits {
        let verb = match edit {
            _ if !changed.contains(&edit.filename().to_string()) => "unchanged",
            Edit::Add(_) => "adds",
            Edit::Remove(_) => "withdraws",
            Edit::Yank(..) => "yanks",
            Edit::Unyank(_) => "unyanks",
        };
        context.out.note(format_args!("{} {}", styled(STRONG, verb), edit.filename()));
    }
}

/// What somebody signs who did not make it. Refused if it does not follow what is published.
pub(super) fn cosigning(context: &Context, file: &ProjectFile, seen: &Seen) -> anyhow::Result<()> {
    let refuse = |what: &str| Err(Usage(format!("{}: {what}", file.project)).into());
    if file.root != seen.root {
        return refuse("it was made for another repository, or before a change of its root");
    }
    if file.base != seen.base.version {
        return refuse("it does not follow what is published: make it again");
    }
    let before = seen.owned.as_ref().map(|owned| &owned.owners);
    let expected = match file.kind {
        Kind::Claim => None,
        Kind::Release => Some(&file.owners),
        Kind::Keys => file.before.as_ref(),
    };
    if before != expected {
        return refuse("the keys it names are not those of the project");
    }
    let role = file.glimpse()?;
    let kind = match file.kind {
        Kind::Claim => "a claim of",
        Kind::Release => "a release of",
        Kind::Keys => "a change of the keys of",
    };
    let version = role.common().version;
    context.out.note(format_args!("{kind} {}, version {version} of its role", styled(STRONG, &file.project)));
    let page = file.page.as_ref().map(|page| ProjectPage::from_json(page.as_bytes())).transpose()?;
    files(context, seen.base.page.as_ref(), page.as_ref());
    if file.kind != Kind::Release {
        team(context, &file.owners);
    }
    Ok(())
}

/// Files that come, go and change.
fn files(context: &Context, old: Option<&ProjectPage>, new: Option<&ProjectPage>) {
    let line = |verb: &str, file: &PageFile| {
        let yank = if matches!(file.yanked, Yanked::Yes(_)) { " (yanked)" } else { "" };
        context.out.note(format_args!("{verb} {} SHA-256 {}{yank}", file.filename, file.sha256));
    };
    for file in new.into_iter().flat_map(ProjectPage::files) {
        match old.and_then(|old| old.file(file.filename.as_str())) {
            None => line(&styled(GOOD, "adds"), file),
            Some(known) if known != file => line(&styled(BAD, "changes"), file),
            Some(_) => line("keeps", file),
        }
    }
    for file in old.into_iter().flat_map(ProjectPage::files) {
        if new.is_none_or(|new| new.file(file.filename.as_str()).is_none()) {
            line(&styled(BAD, "withdraws"), file);
        }
    }
}

fn team(context: &Context, owners: &Owners) {
    context.out.note(format_args!("{} of these keys sign for it:", owners.threshold));
    for (id, key) in &owners.keys {
        let kind = key.public().map_or("unknown", crate::crypto::PublicKey::kind);
        context.out.note(format_args!("  {id} {kind}"));
    }
}

/// What was written, and who must still sign.
pub(super) fn signed(context: &Context, file: &ProjectFile, out: &Path) -> anyhow::Result<()> {
    let missing = match file.kind {
        Kind::Release => Vec::new(),
        Kind::Claim | Kind::Keys => file.unproven(&file.owners),
    };
    let enough = |team: &Owners| file.verified(team).is_ok();
    let ready = missing.is_empty() && enough(&file.owners) && file.before.as_ref().is_none_or(enough);
    let value = serde_json::json!({
        "project": file.project.to_string(), "kind": file.kind, "file": out,
        "ready": ready, "missing": missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        context.out.line(format_args!("{} {}", styled(GOOD, "signed"), out.display()));
        for id in &missing {
            context.out.note(format_args!("the key {id} must sign as well: wheelseal project cosign"));
        }
        if ready {
            context.out.note("send it to the index with `wheelseal project send`, or by hand: they run `wheelseal claims receive`");
        } else if missing.is_empty() {
            context.out.note("more signatures are needed: wheelseal project cosign");
        }
    })
}

/// Who signs for a project.
pub(super) fn status(context: &Context, project: &ProjectName, seen: &Seen) -> anyhow::Result<()> {
    let files = seen.base.page.as_ref().map_or(0, |page| page.files().len());
    let Some(owned) = &seen.owned else {
        let value = serde_json::json!({ "project": project.to_string(), "claimed": false, "files": files });
        return context.out.result(&value, || {
            context.out.line(format_args!("{project} is not claimed: the index signs its {files} file(s)"));
        });
    };
    let common = owned.role.common();
    let keys: Vec<String> = owned.owners.keys.keys().map(ToString::to_string).collect();
    let signed: Vec<String> = owned.role.signers().iter().map(ToString::to_string).collect();
    let value = serde_json::json!({
        "project": project.to_string(), "claimed": true, "by": owned.by, "files": files, "version": common.version,
        "expires": common.expires, "threshold": owned.owners.threshold, "keys": keys, "signed_by": signed,
    });
    context.out.result(&value, || {
        context.out.line(format_args!("{} below {}, {files} file(s)", styled(STRONG, project), owned.by));
        context.out.line(format_args!(
            "role     version {}, {}",
            common.version,
            until(common.expires, context.now)
        ));
        context.out.line(format_args!("signing  {} of", owned.owners.threshold));
        for key in &keys {
            let last = if signed.contains(key) { "signed the last version" } else { "" };
            context.out.line(format_args!("  {key} {last}"));
        }
    })
}
