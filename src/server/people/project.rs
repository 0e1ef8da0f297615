//! `/project/…`: a project, its files, who may sign them, and why they are trusted.

use std::str::FromStr;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};

use super::frame::{Section, search};
use super::html::Attribute::{Class, Id};
use super::html::{Address, Html};
use super::log::NO_LOG;
use super::parts::{self, Part, facts, section, table};
use super::trail::trust;
use super::words::{grouped, number, size};
use super::{Shown, View, proof};
use crate::python::{PageFile, ProjectName, ProjectPage, Status, StatusMarker, Yanked};
use crate::repository::{FileProof, Portrait, RepositoryError, Signer, Trail};

/// Files on one page, at most: the largest projects have more than ten thousand.
const MAX_FILES: usize = 100;

impl View<'_> {
    /// To the project that was typed, or the form.
    pub(super) fn search(&self, name: Option<&str>) -> Shown {
        match name.map(ProjectName::from_str) {
            Some(Ok(project)) => {
                Shown::Elsewhere(StatusCode::SEE_OTHER, Address::root(0).folder(project.as_str()))
            }
            Some(Err(_)) => self.form(StatusCode::BAD_REQUEST, name.unwrap_or_default()),
            None => self.form(StatusCode::OK, ""),
        }
    }

    fn form(&self, status: StatusCode, typed: &str) -> Shown {
        let frame = self.frame("Projects", Section::Projects, 1, &["wheelseal explain FILE"]);
        let page = frame.around(|html| {
            html.says("h1", &[], "Projects");
            html.says(
                "p",
                &[],
                "Type the whole name. Case does not matter, nor whether it has -, _ or dots.",
            );
            if status != StatusCode::OK {
                html.element("div", &[Class("box bad"), Id("wrong")], |html| {
                    let rule =
                        "✕ That is no project name: it has letters, digits, and -, _ or dots between them.";
                    html.says("p", &[], rule);
                });
            }
            search(html, &Address::root(1), typed, "name");
        });
        Shown::Page(status, page)
    }

    /// A project.
    pub(super) async fn project(&self, project: &ProjectName, part: usize) -> Result<Shown, RepositoryError> {
        let Some(portrait) = self.repository.portrait(&self.state, project).await? else {
            return Ok(self.no_project(project));
        };
        let Portrait { page, trail, claimed } = &portrait;
        let newest = page.files().last().map(|file| format!("wheelseal explain {}", file.filename));
        let check: Vec<_> = newest.iter().map(String::as_str).collect();
        let frame = self.frame(project.as_str(), Section::Projects, 2, &check);
        let bytes = frame.around(|html| {
            html.says("h1", &[], project.as_str());
            owner(html, *claimed);
            page.status.iter().for_each(|status| standing(html, status));
            numbers(html, page);
            section(html, "signers", "Who may sign for it", |html| signers(html, trail, *claimed));
            section(html, "files", "Files", |html| files(html, page, part, self.now));
            let heading = "Why this list of files is trusted";
            section(html, "trust", heading, |html| trust(html, trail, None, self.now));
        });
        Ok(Shown::Page(StatusCode::OK, bytes))
    }

    /// A file of a project.
    pub(super) async fn file(&self, project: &ProjectName, name: &str) -> Result<Shown, RepositoryError> {
        let Some(portrait) = self.repository.portrait(&self.state, project).await? else {
            return Ok(self.no_project(project));
        };
        let Some(file) = portrait.page.file(name) else {
            return Ok(self.nothing(Section::Projects, 2, "The project has no file of that name."));
        };
        let trail = self.repository.file_trail(&self.state, project, name).await?;
        let proof = self.proof_of(&trail, file).await?;
        let check =
            [format!("wheelseal explain {}", file.filename), format!("wheelseal download {}", file.filename)];
        let check: Vec<_> = check.iter().map(String::as_str).collect();
        let frame = self.frame(file.filename.as_str(), Section::Projects, 2, &check);
        let bytes = frame.around(|html| {
            html.element("p", &[], |html| html.link(&Address::root(0), project.as_str()));
            html.says("h1", &[], file.filename.as_str());
            about(html, file, self.now);
            let heading = "Why it is trusted";
            section(html, "trust", heading, |html| trust(html, &trail, Some(file), self.now));
            section(html, "log", "In the transparency log", |html| {
                let Some(proof) = &proof else { return html.says("p", &[], NO_LOG) };
                proof::proof(html, proof, project.as_str(), file.filename.as_str(), self.now);
            });
        });
        Ok(Shown::Page(StatusCode::OK, bytes))
    }

    /// The proof that a file is logged as its role lists it.
    async fn proof_of(
        &self,
        trail: &Trail,
        file: &PageFile,
    ) -> Result<Option<Result<FileProof, String>>, RepositoryError> {
        let signed = trail.listed.as_ref().and_then(|listed| Some((listed.length, listed.hashes.sha256?)));
        let of_page = || {
            let mut digest = [0; 32];
            hex::decode_to_slice(file.sha256.as_str(), &mut digest).ok().map(|()| (file.size, digest))
        };
        let Some((length, sha256)) = signed.or_else(of_page) else { return Ok(None) };
        self.repository.file_proof(&self.state, &trail.target, length, sha256).await
    }

    fn no_project(&self, project: &ProjectName) -> Shown {
        self.nothing(Section::Projects, 2, &format!("There is no project {project} here."))
    }
}

fn owner(html: &mut Html, claimed: Option<&'static str>) {
    let text = match claimed {
        Some("claimed") => "Claimed: its maintainers sign for it, with keys that the index does not have.",
        Some(_) => {
            "Recently claimed: its maintainers sign for it. Until the next ceremony, the index’s online keys vouch for theirs."
        }
        None => "Not claimed: the index signs for it, with its online keys.",
    };
    html.says("p", &[Class("lead")], text);
}

/// The status of a project (PEP 792).
fn standing(html: &mut Html, status: &Status) {
    let (class, text) = match status.marker {
        StatusMarker::Active => ("box", "Active."),
        StatusMarker::Archived => ("box", "! Archived: no more releases are expected."),
        StatusMarker::Quarantined => ("box bad", "✕ Quarantined as unsafe: installers are offered no file."),
        StatusMarker::Deprecated => ("box", "! Deprecated: use something else."),
    };
    html.element("div", &[Class(class)], |html| {
        html.says("p", &[Class("state")], text);
        status.reason.iter().for_each(|reason| html.says("p", &[], reason.as_str()));
    });
}

fn numbers(html: &mut Html, page: &ProjectPage) {
    let newest = page.files().iter().rev().find(|file| file.yanked == Yanked::No);
    let newest = newest.map_or_else(|| "none".to_owned(), |file| file.filename.version().to_string());
    let told = [
        ("Newest version", newest),
        ("Versions", grouped(number(page.versions().len()))),
        ("Files", grouped(number(page.files().len()))),
        ("Changed in snapshot", grouped(page.serial)),
    ];
    facts(html, &told);
}

fn signers(html: &mut Html, trail: &Trail, claimed: Option<&'static str>) {
    let Some(last) = trail.links.last() else { return };
    let whose = if claimed.is_some() { "of its maintainers" } else { "that the index has online" };
    let text = match last.keys {
        1 => format!("Each change must be signed by the one key {whose}, in the role "),
        all => format!(
            "Each change must be signed by {} of the {} keys {whose}, in the role ",
            last.threshold, all
        ),
    };
    html.element("p", &[], |html| {
        html.text(&text);
        html.says("strong", &[], &last.role);
        html.text(".");
    });
    let caption = format!("“Signed” is about the present version of that role, {}.", grouped(last.version));
    table(html, &caption, &["Key id", "Scheme", "Signed"], |rows| {
        for signer in &last.may_sign {
            rows.row(|row| {
                row.head(|html| html.says("code", &[], &signer.keyid));
                row.says(&signer.scheme);
                row.says(signed(&last.signed_by, signer));
            });
        }
    });
}

fn signed(by: &[Signer], signer: &Signer) -> &'static str {
    if by.contains(signer) { "✓ yes" } else { "no" }
}

fn files(html: &mut Html, page: &ProjectPage, part: usize, now: DateTime<Utc>) {
    if page.files().is_empty() {
        return html.says("p", &[], "There are none.");
    }
    let part = Part::of(page.files().len(), part, MAX_FILES);
    let caption = format!("{}, newest version first.", part.told("file"));
    table(html, &caption, &["File, SHA-256", "#Size", "Uploaded", "Python", "State"], |rows| {
        for file in part.pick(page.files().iter().rev()) {
            rows.row(|row| {
                row.head(|html| {
                    html.link(&Address::root(0).file(file.filename.as_str()), file.filename.as_str());
                    html.says("code", &[Class("sub digest")], file.sha256.as_str());
                });
                row.says(&size(file.size));
                row.cell(|html| uploaded(html, file, now));
                row.says(python(file));
                row.cell(|html| state(html, file));
            });
        }
    });
    part.links(html, &Address::root(0));
}

fn python(file: &PageFile) -> &str {
    file.requires_python.as_ref().map_or("any", |wanted| wanted.as_str())
}

fn state(html: &mut Html, file: &PageFile) {
    match &file.yanked {
        Yanked::No => html.text("offered"),
        Yanked::Yes(reason) => {
            html.says("span", &[Class("soon state")], "! yanked");
            let reason = reason.as_ref().map_or("without a reason", |reason| reason.as_str());
            html.says("span", &[Class("sub")], reason);
        }
    }
}

fn uploaded(html: &mut Html, file: &PageFile, now: DateTime<Utc>) {
    let Some(time) = &file.upload_time else { return html.text("not told") };
    match DateTime::parse_from_rfc3339(time.as_str()) {
        Ok(then) => parts::time(html, then.to_utc(), now),
        // Its form is right, yet there is no such day.
        Err(_) => html.text(time.as_str()),
    }
}

fn about(html: &mut Html, file: &PageFile, now: DateTime<Utc>) {
    let told = [
        ("Version", file.filename.version().to_string()),
        ("Size", size(file.size)),
        ("Python", python(file).to_owned()),
    ];
    facts(html, &told);
    html.element("p", &[], |html| {
        html.text("Uploaded: ");
        uploaded(html, file, now);
    });
    html.element("p", &[], |html| {
        html.text("State: ");
        state(html, file);
    });
    html.element("p", &[], |html| {
        html.text("SHA-256 ");
        html.says("code", &[], file.sha256.as_str());
    });
    if let Some(provenance) = &file.provenance_sha256 {
        html.element("p", &[], |html| {
            html.text("Attestations came with it (PEP 740), and are signed as part of it; who made them was not judged. SHA-256 ");
            html.says("code", &[], provenance.as_str());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::default();
        write(&mut html);
        String::from_utf8(html.document()).unwrap()
    }

    fn file() -> PageFile {
        PageFile {
            filename: "foo-1.0-py3-none-any.whl".parse().unwrap(),
            url: "foo-1.0-py3-none-any.whl".parse().unwrap(),
            sha256: "a".repeat(64).parse().unwrap(),
            size: 1,
            upload_time: Some("2026-02-31T00:00:00Z".parse().unwrap()),
            requires_python: Some(">=3<script>\u{202e}".parse().unwrap()),
            yanked: Yanked::Yes(Some("\"><img src=x>".parse().unwrap())),
            core_metadata_sha256: None,
            provenance_sha256: None,
        }
    }

    #[test]
    fn what_a_page_says_of_a_file_or_a_project_stays_words() {
        let mut page = ProjectPage::new("foo".parse().unwrap(), 1);
        page.insert(file());
        let text = written(|html| files(html, &page, 1, DateTime::UNIX_EPOCH));
        assert!(text.contains("&gt;=3&lt;script&gt;<span class=\"code-point\">U+202E</span>"), "{text}");
        assert!(text.contains("&quot;&gt;&lt;img src=x&gt;"), "{text}");
        assert!(text.contains("2026-02-31T00:00:00Z"), "a day that is none is shown as it is: {text}");
        for (marker, words) in [
            (StatusMarker::Active, "Active."),
            (StatusMarker::Archived, "! Archived"),
            (StatusMarker::Quarantined, "✕ Quarantined as unsafe: installers are offered no file."),
            (StatusMarker::Deprecated, "! Deprecated"),
        ] {
            let status = Status { marker, reason: Some("<script>\u{2067}".parse().unwrap()) };
            let text = written(|html| standing(html, &status));
            assert!(text.contains(words), "{text}");
            assert!(text.contains("&lt;script&gt;<span class=\"code-point\">U+2067</span>"), "{text}");
        }
    }
}
