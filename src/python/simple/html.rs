//! Pages and the project list as HTML (PEP 503, with the attributes of PEP 592, 658, 714, 740 and 792).
//!
//! Everything between the tags and in attributes goes through [`escape`], also what cannot hold markup by
//! construction: nobody has to know which.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{API_VERSION, FileUrl, PageFile, ProjectName, ProjectPage, Yanked};

impl ProjectPage {
    /// The page as HTML5, without scripts, styles or other assets. Equal pages give equal text.
    pub fn to_html(&self) -> String {
        self.to_html_for_tools(|_| None)
    }

    /// The same with the absolute URLs of provenance objects, as far as `provenance` knows them (PEP 740).
    pub fn to_html_for_tools(&self, provenance: impl Fn(&PageFile) -> Option<FileUrl>) -> String {
        let mut head = String::new();
        if let Some(status) = &self.status {
            head.push_str(&meta("pypi:project-status", status.marker.as_str()));
            if let Some(reason) = &status.reason {
                head.push_str(&meta("pypi:project-status-reason", reason.as_str()));
            }
        }
        let links = self.offered().iter().map(|file| link(file, file.provenance_at(&provenance).as_ref()));
        document(self.api_version(), &head, &format!("Links for {}", self.name), links)
    }
}

/// The list of projects as HTML5 (PEP 503): sorted, each once, with links relative to the list.
pub fn index_html<'a>(names: impl IntoIterator<Item = &'a ProjectName>) -> String {
    let names: BTreeSet<&str> = names.into_iter().map(ProjectName::as_str).collect();
    let links = names.into_iter().map(|name| {
        let name = escape(name);
        ["<a href=\"", &name, "/\">", &name, "</a><br>\n"].concat()
    });
    document(API_VERSION, "", "Simple index", links)
}

/// `head` and `links` are markup, `title` is text.
fn document(api_version: &str, head: &str, title: &str, links: impl Iterator<Item = String>) -> String {
    let version = meta("pypi:repository-version", api_version);
    let title = escape(title);
    let links: String = links.collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{version}{head}\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n{links}</body>\n</html>\n"
    )
}

fn meta(name: &str, content: &str) -> String {
    format!("<meta{}{}>\n", attribute("name", name), attribute("content", content))
}

fn link(file: &PageFile, provenance: Option<&FileUrl>) -> String {
    let mut attributes = attribute("href", &format!("{}#sha256={}", file.url.as_str(), file.sha256));
    if let Some(requires_python) = &file.requires_python {
        attributes.push_str(&attribute("data-requires-python", requires_python.as_str()));
    }
    if let Yanked::Yes(reason) = &file.yanked {
        let reason = reason.as_ref().map_or("", |reason| reason.as_str());
        attributes.push_str(&attribute("data-yanked", reason));
    }
    if let Some(sha256) = &file.core_metadata_sha256 {
        let digest = format!("sha256={sha256}");
        attributes.push_str(&attribute("data-core-metadata", &digest));
        attributes.push_str(&attribute("data-dist-info-metadata", &digest));
    }
    if let Some(url) = provenance {
        attributes.push_str(&attribute("data-provenance", url.as_str()));
    }
    format!("<a{attributes}>{}</a><br>\n", escape(file.filename.as_str()))
}

fn attribute(name: &str, value: &str) -> String {
    format!(" {name}=\"{}\"", escape(value))
}

/// Text that means itself, both between tags and in a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            plain => escaped.push(plain),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::simple::{Status, StatusMarker};

    const HOSTILE: &str = "\"><script>alert('&')</script>";
    const ESCAPED: &str = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;";

    fn page() -> ProjectPage {
        let mut page = ProjectPage::new("foo".parse().unwrap(), 1);
        page.insert(PageFile {
            filename: "foo-1.0+cpu-py3-none-any.whl".parse().unwrap(),
            url: "../f/foo-1.0%2Bcpu-py3-none-any.whl?a=1&b='2'".parse().unwrap(),
            sha256: "a".repeat(64).parse().unwrap(),
            size: 1,
            upload_time: None,
            requires_python: Some(">=3.8,<4".parse().unwrap()),
            yanked: Yanked::No,
            core_metadata_sha256: Some("b".repeat(64).parse().unwrap()),
            provenance_sha256: None,
        });
        page
    }

    #[test]
    fn a_page_is_a_plain_document() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(
            page().to_html(),
            format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                 <meta name=\"pypi:repository-version\" content=\"1.1\">\n\
                 <title>Links for foo</title>\n</head>\n<body>\n<h1>Links for foo</h1>\n\
                 <a href=\"../f/foo-1.0%2Bcpu-py3-none-any.whl?a=1&amp;b=&#39;2&#39;#sha256={a}\" \
                 data-requires-python=\"&gt;=3.8,&lt;4\" data-core-metadata=\"sha256={b}\" \
                 data-dist-info-metadata=\"sha256={b}\">foo-1.0+cpu-py3-none-any.whl</a><br>\n\
                 </body>\n</html>\n"
            )
        );
    }

    #[test]
    fn markup_in_any_text_is_escaped() {
        let mut page = page();
        let hostile = || Some(HOSTILE.parse().unwrap());
        let mut file = page.files().first().unwrap().clone();
        file.filename = "foo-2.0.tar.gz".parse().unwrap();
        file.requires_python = hostile();
        page.insert(file);
        page.yank("foo-2.0.tar.gz", hostile());
        page.status = Some(Status { marker: StatusMarker::Deprecated, reason: hostile() });
        let html = page.to_html();
        assert!(!html.contains("<script"));
        for attribute in ["data-requires-python", "data-yanked", "content"] {
            assert!(html.contains(&format!(" {attribute}=\"{ESCAPED}\"")), "{attribute}: {html}");
        }
        assert!(html.contains("content=\"1.4\""));
    }

    #[test]
    fn a_yank_without_a_reason_is_an_empty_attribute() {
        let mut page = page();
        page.yank("foo-1.0+cpu-py3-none-any.whl", None);
        assert!(page.to_html().contains(" data-yanked=\"\" "));
    }

    #[test]
    fn a_quarantined_project_has_no_links() {
        let mut page = page();
        page.status = Some(Status { marker: StatusMarker::Quarantined, reason: None });
        let html = page.to_html();
        assert!(html.contains("<meta name=\"pypi:project-status\" content=\"quarantined\">"));
        assert!(!html.contains("<a "));
    }

    #[test]
    fn the_project_list_links_to_the_pages() {
        let names: Vec<ProjectName> = ["Zope.Interface", "a"].map(|name| name.parse().unwrap()).into();
        let html = index_html(&names);
        assert!(html.contains(
            "<body>\n<h1>Simple index</h1>\n<a href=\"a/\">a</a><br>\n\
             <a href=\"zope-interface/\">zope-interface</a><br>\n</body>"
        ));
    }
}
