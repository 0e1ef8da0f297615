//! A proof of the log, drawn: from the entry of a file up to the root that was signed, for people who never saw such a tree.

use chrono::{DateTime, Utc};

use super::html::Attribute::{Class, Fixed, Label, Measure, Title, ViewBox};
use super::html::{Address, Html};
use super::log::{UNWITNESSED, cosignatures, counted_entries};
use super::words::{grouped, number};
use crate::repository::{FileProof, ProofStep};

/// Characters of a hash that are drawn; all of them are below, in words.
const DRAWN: usize = 10;

/// What the drawing is.
const INTRO: &str = "The log hashes its entries in pairs, the results in pairs again, and so on, until one hash is left: the root. Who changes, adds or \
                     removes one entry gets another root. The log and its witnesses signed the root. To show that a file is under \
                     it, the proof gives the few hashes that are missing on the way.";

/// How to read it.
const LEGEND: &str = "From top to bottom. Boxes with a solid frame were computed, the first from the file alone; those with a dashed frame were \
                      given by the proof. Each two make the one below them. The server computed them for this page, and the last one \
                      is the root that was signed.";

/// A proof, or why it does not hold.
pub(super) fn proof(
    html: &mut Html,
    proof: &Result<FileProof, String>,
    project: &str,
    file: &str,
    now: DateTime<Utc>,
) {
    let proof = match proof {
        Ok(proof) => proof,
        Err(why) => return broken(html, why),
    };
    let size = proof.signed.tree.size;
    html.element("p", &[], |html| {
        html.says("span", &[Class("state good")], "✓ Logged:");
        let (at, all) = (grouped(proof.number), counted_entries(size));
        html.text(&format!(
            " entry {at} of the log {}, counted from 0. It is proven in the tree of {all}.",
            proof.origin
        ));
    });
    if proof.unwitnessed {
        html.says("p", &[Class("soon")], UNWITNESSED);
    } else {
        cosignatures(html, &proof.signed, now);
    }
    html.says("h3", &[], "The proof, drawn");
    html.says("p", &[], INTRO);
    drawing(html, proof);
    html.says("p", &[Class("soft")], LEGEND);
    in_words(html, proof);
    by_yourself(html, proof, project, file);
}

fn broken(html: &mut Html, why: &str) {
    html.element("div", &[Class("box bad")], |html| {
        html.says(
            "p",
            &[Class("state")],
            "✕ There is no proof that holds: clients that ask for the log refuse this file.",
        );
        html.says("p", &[], &format!("The proof that it was logged: {why}."));
    });
}

fn drawing(html: &mut Html, proof: &FileProof) {
    let words =
        format!("The way from this file to the root, by {} given hashes", grouped(number(proof.steps.len())));
    html.element("ol", &[Class("path"), Label(&words)], |html| {
        let mut known = ("this file", proof.hash.as_str());
        for (at, step) in proof.steps.iter().enumerate() {
            html.element("li", &[], |html| pair(html, known, step));
            let last = at + 1 == proof.steps.len();
            known = (if last { "root, signed" } else { "computed" }, step.made.as_str());
        }
        if proof.steps.is_empty() {
            known.0 = "this file, and root: it is the only entry";
        }
        html.element("li", &[], |html| {
            html.element("div", &[Class("pair")], |html| hash(html, "made end", known.0, known.1));
        });
    });
}

/// What is known beside what is given, and lines to what they make.
fn pair(html: &mut Html, (label, known): (&str, &str), step: &ProofStep) {
    html.element("div", &[Class("pair")], |html| {
        let (first, last) = step.covers;
        let given = format!("given, over {}", counted_entries(last.saturating_sub(first).saturating_add(1)));
        if step.before {
            hash(html, "given before", &given, &step.given);
        }
        hash(html, "made", label, known);
        if !step.before {
            hash(html, "given after", &given, &step.given);
        }
    });
    let hidden =
        [Class("join"), Fixed("aria-hidden", "true"), ViewBox(60, 10), Fixed("preserveAspectRatio", "none")];
    html.element("svg", &hidden, |html| {
        for from in [30, if step.before { 10 } else { 50 }] {
            let ends = [Measure("x1", from), Measure("y1", 0), Measure("x2", 30), Measure("y2", 10)];
            html.element("line", &ends, |_| {});
        }
    });
}

fn hash(html: &mut Html, class: &'static str, label: &str, hash: &str) {
    html.element("div", &[Class(class)], |html| {
        html.says("span", &[Class("sub")], label);
        let short: String = hash.chars().take(DRAWN).collect();
        html.says("code", &[Title(hash)], &format!("{short}…"));
    });
}

/// The same with all of each hash.
fn in_words(html: &mut Html, proof: &FileProof) {
    html.element("details", &[], |html| {
        html.says("summary", &[], "The same in words, with whole hashes");
        html.element("ol", &[Class("changes")], |html| {
            html.element("li", &[], |html| {
                html.text("The entry of this file is ");
                html.says("code", &[], &proof.entry);
                html.text(". SHA-256 over a zero byte and it: ");
                html.says("code", &[], &proof.hash);
            });
            proof.steps.iter().for_each(|step| html.element("li", &[], |html| step_in_words(html, step)));
            html.element("li", &[], |html| {
                html.text(&format!(
                    "The root that was signed for {}: ",
                    counted_entries(proof.signed.tree.size)
                ));
                html.says("code", &[], &proof.signed.tree.root);
            });
        });
    });
}

fn step_in_words(html: &mut Html, step: &ProofStep) {
    let side = if step.before { "before" } else { "behind" };
    let over = match step.covers {
        (first, last) if first == last => format!("entry {}", grouped(first)),
        (first, last) => format!("entries {} to {}", grouped(first), grouped(last)),
    };
    html.text(&format!("Put {side} it the given hash over {over}, "));
    html.says("code", &[], &step.given);
    html.text(". SHA-256 over a byte of 1 and both: ");
    html.says("code", &[], &step.made);
}

fn by_yourself(html: &mut Html, proof: &FileProof, project: &str, file: &str) {
    let name = format!("{file}.tlog-proof");
    let targets = Address::root(2).folder("targets");
    html.says("h3", &[], "Check it yourself");
    html.element("p", &[], |html| {
        html.text("Get ");
        html.link(&targets.folder(project).file(file), "the file");
        html.text(", ");
        html.link(&targets.folder(project).file(&name), "its proof");
        if proof.in_force {
            html.text(" and ");
            html.link(&targets.file("tlog-policy"), "the policy");
        } else {
            html.text(" and the policy");
        }
        html.text(" that says whose signatures count; the policy from somebody you trust. No network is needed for:");
    });
    html.element("pre", &[], |html| {
        html.says("code", &[], &format!("wheelseal log verify {name} {file} --policy tlog-policy"));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{LogTree, Signed};

    fn written(outcome: &Result<FileProof, String>) -> String {
        let mut html = Html::default();
        proof(&mut html, outcome, "foo", "foo-1.0.tar.gz", DateTime::UNIX_EPOCH);
        String::from_utf8(html.document()).unwrap()
    }

    fn of_steps(steps: Vec<ProofStep>) -> FileProof {
        let signed = Signed {
            tree: LogTree { size: 4, root: "ROOT".to_owned() },
            cosigned: vec![("<w>".to_owned(), 0), ("far".to_owned(), u64::MAX)],
        };
        FileProof {
            origin: "log.example/<o>".to_owned(),
            number: 1,
            entry: "{\"path\":\"<script>\"}".to_owned(),
            hash: "LEAF".to_owned(),
            steps,
            signed,
            unwitnessed: false,
            in_force: true,
        }
    }

    fn step(given: &str, before: bool, covers: (u64, u64), made: &str) -> ProofStep {
        ProofStep { given: given.to_owned(), before, covers, made: made.to_owned() }
    }

    #[test]
    fn what_is_given_stands_on_its_side_and_what_is_computed_in_the_middle() {
        let steps =
            vec![step("GIVEN-ONE-AND-MORE", true, (0, 0), "MADE"), step("TWO", false, (2, 3), "ROOT")];
        let text = written(&Ok(of_steps(steps)));
        let places: Vec<_> = [
            "<div class=\"given before\"><span class=\"sub\">given, over 1 entry</span>",
            "<code title=\"GIVEN-ONE-AND-MORE\">GIVEN-ONE-…</code>",
            "<div class=\"made\"><span class=\"sub\">this file</span>",
            "x1=\"10\"",
            "<div class=\"made\"><span class=\"sub\">computed</span><code title=\"MADE\">",
            "<div class=\"given after\"><span class=\"sub\">given, over 2 entries</span>",
            "x1=\"50\"",
            "<div class=\"made end\"><span class=\"sub\">root, signed</span><code title=\"ROOT\">",
            "Put before it the given hash over entry 0, ",
            "Put behind it the given hash over entries 2 to 3, ",
        ]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}")))
        .collect();
        assert!(places.is_sorted(), "{places:?} in {text}");
        for word in ["&lt;script&gt;", "log.example/&lt;o&gt;", "&lt;w&gt;", "seconds after 1970"] {
            assert!(text.contains(word), "no {word} in {text}");
        }
    }

    #[test]
    fn the_only_entry_is_the_root_itself_and_no_witness_is_said() {
        let proof = FileProof { unwitnessed: true, ..of_steps(Vec::new()) };
        let text = written(&Ok(proof));
        assert!(text.contains("this file, and root: it is the only entry"), "{text}");
        assert!(text.contains("the policy says “quorum none”"), "{text}");
    }

    #[test]
    fn a_proof_that_does_not_hold_is_not_drawn() {
        let text = written(&Err("it leads to <nowhere>".to_owned()));
        assert!(text.contains("✕ There is no proof that holds"), "{text}");
        assert!(text.contains("it leads to &lt;nowhere&gt;."), "{text}");
        assert!(!text.contains("class=\"path\""), "{text}");
    }
}
