//! A signed page, as tools are shown it, and those of a session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Bytes;
use reqwest::Url;
use tokio::sync::OnceCell;

use super::refusal::Fault;
use crate::client::Session;
use crate::coding::{self, Coding, Effort};
use crate::crypto::sha256;
use crate::python::{FileUrl, PageFile, ProjectName, ProjectPage};
use crate::tuf::path::TargetPath;

/// Bytes of a page, at most: the largest real ones have some 20 MB.
const MAX_PAGE: u64 = 64 * 1_024 * 1_024;
/// Bytes of pages of an index that are held, at most; with more, a session forgets its own and makes them again when asked for.
const MAX_HELD: usize = 128 * 1_024 * 1_024;
/// A page is held parsed, as JSON and as HTML, and each of these in two codings, which are a tenth as large.
const FORMS: usize = 4;
/// Hexadecimal digits of an entity tag.
const TAG_DIGITS: usize = 32;

/// A page that is signed. There is no other way to make one than to read it from a session.
#[derive(Debug)]
pub(super) struct Page {
    content: ProjectPage,
    /// Its own address.
    at: Option<Url>,
    json: OnceLock<Rendered>,
    html: OnceLock<Rendered>,
}

/// A page in one form.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) bytes: Bytes,
    /// An entity tag, weak: of the content, whatever its coding.
    pub(super) tag: String,
    zstd: OnceLock<Option<Bytes>>,
    gzip: OnceLock<Option<Bytes>>,
}

impl Rendered {
    fn new(text: String) -> Self {
        let digest = hex::encode(sha256(text.as_bytes()));
        let tag = format!("W/\"{}\"", digest.get(..TAG_DIGITS).unwrap_or(&digest));
        Self { bytes: text.into(), tag, zstd: OnceLock::new(), gzip: OnceLock::new() }
    }

    /// Compressed, if that makes it smaller. Made once.
    pub(super) fn coded(&self, coding: Coding) -> Option<&Bytes> {
        let place = match coding {
            Coding::Zstd => &self.zstd,
            Coding::Gzip => &self.gzip,
        };
        let make = || {
            let coded = coding::encode(coding, &self.bytes, Effort::Quick).ok();
            coded.filter(|coded| coded.len() < self.bytes.len()).map(Bytes::from)
        };
        place.get_or_init(make).as_ref()
    }
}

impl Page {
    /// The page of a project as it is signed, and its bytes.
    async fn read(shared: &Session, project: &ProjectName) -> Result<(ProjectPage, usize), Fault> {
        let path = format!("simple/{project}/index.json");
        let path = TargetPath::new(path)
            .map_err(|error| Fault::Local { what: "naming a page", reason: error.to_string() })?;
        let found = shared.find(&path).await?;
        let bytes = shared.read(&found, MAX_PAGE).await?;
        Ok((ProjectPage::from_json(&bytes)?, bytes.len()))
    }

    pub(super) fn json(&self) -> &Rendered {
        self.json.get_or_init(|| {
            Rendered::new(self.content.to_json_for_tools(|file| provenance(self.at.as_ref()?, file)))
        })
    }

    pub(super) fn html(&self) -> &Rendered {
        self.html.get_or_init(|| {
            Rendered::new(self.content.to_html_for_tools(|file| provenance(self.at.as_ref()?, file)))
        })
    }
}

/// Bytes of pages that all sessions of an index hold together. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// The pages of one session, each read once, however many ask for it at the same time.
#[derive(Debug)]
pub(super) struct Pages {
    held: Mutex<Held>,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Held {
    cells: HashMap<ProjectName, Arc<OnceCell<Arc<Page>>>>,
    bytes: usize,
}

/// How the addresses of files come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// As they are signed: what a lock file keeps is the index's own.
    AsSigned,
    /// Below the page, wherever they are signed to be.
    Below,
}

impl Pages {
    /// None yet. What will be held counts as part of this budget.
    pub(super) fn within(budget: &Budget) -> Self {
        Self { held: Mutex::default(), budget: budget.clone() }
    }

    /// The page of a project. `at` is its own address as tools see it; `judge` says whether a file would be verified where it is.
    pub(super) async fn page(
        &self,
        shared: &Session,
        project: &ProjectName,
        view: View,
        at: Option<Url>,
        judge: impl Fn(&str) -> bool,
    ) -> Result<Arc<Page>, Fault> {
        let cell = Arc::clone(self.held().cells.entry(project.clone()).or_default());
        let made = cell
            .get_or_try_init(async || {
                let (page, bytes) = Page::read(shared, project).await?;
                let page = addressed(page, view, judge)?;
                self.weigh(bytes.saturating_mul(FORMS));
                let (json, html) = (OnceLock::new(), OnceLock::new());
                Ok::<_, Fault>(Arc::new(Page { content: page, at, json, html }))
            })
            .await;
        match made {
            Ok(page) => Ok(Arc::clone(page)),
            Err(fault) => {
                self.held().cells.remove(project);
                Err(fault)
            }
        }
    }

    fn weigh(&self, bytes: usize) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_add(bytes);
        let before = self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_HELD {
            self.budget.0.fetch_sub(held.bytes, Ordering::Relaxed);
            *held = Held::default();
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let bytes = self.held().bytes;
        self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where the provenance object of a file is: an absolute address at a secure origin, or none (PEP 740).
fn provenance(page: &Url, file: &PageFile) -> Option<FileUrl> {
    let url = page.join(file.url.as_str()).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let here = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let secure = url.scheme() == "https" || url.scheme() == "http" && here;
    format!("{url}.provenance").parse().ok().filter(|_| secure && url.query().is_none())
}

fn addressed(page: ProjectPage, view: View, judge: impl Fn(&str) -> bool) -> Result<ProjectPage, Fault> {
    if view == View::Below {
        return Ok(page.relocated());
    }
    match page.files().iter().find(|file| !judge(file.url.as_str())) {
        None => Ok(page),
        Some(file) => {
            let (filename, url) = (file.filename.to_string(), file.url.as_str().to_owned());
            Err(Fault::Elsewhere { filename, url })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Yanked;

    fn page(url: &str) -> ProjectPage {
        let mut page = ProjectPage::new("foo".parse().unwrap(), 1);
        page.insert(PageFile {
            filename: "foo-1.0+a.tar.gz".parse().unwrap(),
            url: url.parse().unwrap(),
            sha256: "a".repeat(64).parse().unwrap(),
            size: 7,
            upload_time: None,
            requires_python: None,
            yanked: Yanked::No,
            core_metadata_sha256: None,
            provenance_sha256: None,
        });
        page
    }

    #[test]
    fn a_page_that_leads_where_nothing_is_verified_is_refused() {
        let signed = page("https://evil.example/foo-1.0+a.tar.gz");
        let url = "https://evil.example/foo-1.0+a.tar.gz".to_owned();
        let fault = Fault::Elsewhere { filename: "foo-1.0+a.tar.gz".to_owned(), url };
        assert_eq!(addressed(signed.clone(), View::AsSigned, |_| false), Err(fault));
        assert_eq!(addressed(signed.clone(), View::AsSigned, |_| true), Ok(signed));
    }

    #[test]
    fn sessions_hold_no_more_pages_together_than_one_may() {
        let budget = Budget::default();
        let counted = || budget.0.load(Ordering::Relaxed);
        let (first, second) = (Pages::within(&budget), Pages::within(&budget));
        first.weigh(MAX_HELD - 10);
        second.weigh(10);
        assert_eq!(counted(), MAX_HELD);
        second.weigh(1);
        assert_eq!((counted(), second.held().bytes), (MAX_HELD - 10, 0));
        drop(first);
        assert_eq!(counted(), 0);
    }

    #[test]
    fn provenance_is_told_where_it_is_verified_and_only_by_a_secure_address() {
        let page = page("../../files/foo-1.0%2Ba.tar.gz");
        let file = page.files().first().unwrap();
        for (at, told) in [
            ("https://i.example/root/simple/foo/", Some("https://i.example/root/files/foo-1.0%2Ba.tar.gz")),
            ("http://127.0.0.1:9/mine/simple/foo/", Some("http://127.0.0.1:9/mine/files/foo-1.0%2Ba.tar.gz")),
            ("http://i.example/root/simple/foo/", None),
        ] {
            let told = told.map(|told| format!("{told}.provenance"));
            let shown = provenance(&at.parse().unwrap(), file);
            assert_eq!(shown.map(|url| url.as_str().to_owned()), told, "{at}");
        }
    }

    #[test]
    fn a_page_of_our_own_port_leads_below_it_wherever_its_files_are() {
        let shown = addressed(page("https://evil.example/x"), View::Below, |_| false).unwrap();
        assert_eq!(shown, page("../../targets/foo/foo-1.0%2Ba.tar.gz"));
    }
}
