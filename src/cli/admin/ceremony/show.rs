//! A ceremony on the screen: what changes, in words, and who has signed.

use crate::cli::Context;
use crate::cli::output::{BAD, FAINT, GOOD, STRONG, styled};
use crate::repository::{Count, Finished, Review, RoleReview, in_short};

/// What changes, what follows from it, what to think of first.
pub(in crate::cli) fn review(review: &Review, context: &Context) {
    let out = &context.out;
    out.line(format_args!("{} {}", styled(STRONG, "ceremony"), review.name));
    let based = format!("based on root version {}, SHA-256 {}", review.root, review.root_sha256);
    out.line(format_args!("  proposal SHA-256 {}", review.digest));
    out.line(format_args!("  {}", styled(FAINT, based)));
    for role in &review.roles {
        changes(role, context);
    }
    for warning in &review.warnings {
        out.line(format_args!("{} {warning}", styled(STRONG, "warning:")));
    }
    for refusal in &review.refusals {
        out.line(format_args!("{} {refusal}", styled(BAD, "refused:")));
    }
}

fn changes(role: &RoleReview, context: &Context) {
    let out = &context.out;
    let after = if role.from == 0 { "new".to_owned() } else { format!("after version {}", role.from) };
    match role.buckets {
        0 => out.line(format_args!("{} version {} ({after})", styled(STRONG, &role.role), role.to)),
        _ => out.line(styled(STRONG, &role.role)),
    }
    role.changes.iter().for_each(|text| out.line(format_args!("  - {text}")));
    role.consequences.iter().for_each(|text| out.line(format_args!("  → {text}")));
}

/// Who has signed, and who is missing.
pub(in crate::cli) fn signatures(review: &Review, context: &Context) {
    let out = &context.out;
    for role in &review.roles {
        for count in &role.signatures {
            out.line(counted(role, count));
            if !count.missing.is_empty() && !count.complete() {
                out.line(format_args!("  missing: {}", count.missing.join(", ")));
            }
        }
    }
    for key in &review.new_keys {
        let holder = key.holder.as_deref().map(|holder| format!("{holder} ")).unwrap_or_default();
        let state = if key.proven { styled(GOOD, "joined") } else { styled(BAD, "has not joined") };
        out.line(format_args!("new key {holder}{}: {state}", key.key));
    }
}

fn counted(role: &RoleReview, count: &Count) -> String {
    let Count { by, needed, signed, .. } = count;
    let style = if count.complete() { GOOD } else { BAD };
    let found = styled(style, format_args!("{} of {needed}", signed.len()));
    let who = if signed.is_empty() { String::new() } else { format!(": {}", signed.join(", ")) };
    format!("{} signed by {found} of its keys {by}{who}", role.role)
}

/// What was left of a change whose keys are not all at hand.
pub(in crate::cli) fn waiting(name: &str, why: &str, context: &Context) {
    let out = &context.out;
    out.line(format_args!("{} {name}", styled(STRONG, "waiting for signatures:")));
    out.note(why);
    out.note(format_args!("next: wheelseal ceremony sign {name} --key URI"));
    out.note(format_args!("then: wheelseal ceremony finish {name}"));
}

/// What to do next.
pub(in crate::cli) fn next(review: &Review, event: &str, context: &Context) {
    let out = &context.out;
    if review.new_keys.iter().any(|key| !key.proven) {
        out.note(format_args!("next, each holder of a new key: wheelseal ceremony join {event} --key URI"));
    }
    if review.roles.iter().flat_map(|role| &role.signatures).any(|count| !count.complete()) {
        out.note(format_args!("next, each signer: wheelseal ceremony sign {event} --key URI"));
    } else if review.complete() {
        out.note(format_args!("next, where the online keys are: wheelseal ceremony finish {event}"));
    }
}

/// What was published.
pub(in crate::cli) fn finished(finished: &Finished, context: &Context) {
    let out = &context.out;
    let roles = in_short(finished.roles.iter().map(String::as_str)).join(", ");
    let (root, snapshot) = (finished.root, finished.snapshot);
    out.line(format_args!("{} {roles}: root version {root}, snapshot {snapshot}", styled(GOOD, "published")));
    if let Some(sorted) = finished.sorted {
        out.line(format_args!("{sorted} targets are in {} bins", finished.bins));
        out.note("old bins stay for clients that are still reading; `wheelseal gc` removes them");
    } else if finished.bins > 0 {
        out.line(format_args!("{} bins were signed anew", finished.bins));
    }
}
