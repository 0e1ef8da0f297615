//! What is around every page: head, navigation, search, and the word that the page proves nothing.

use super::html::Attribute::{Action, Class, Fixed, Href, Id, Label, Value};
use super::html::{Address, Html};

/// The style of all pages. It is part of each, and the policy names it by its hash.
pub(super) const STYLE: &str = include_str!("style.css");

/// Characters of a project name that a browser lets somebody type: what `ProjectName` takes.
const NAME_FIELD: &str = "100";

/// What every page says of itself.
const NO_PROOF: &str = "The server read the signed metadata and checked signatures, versions and hashes before it wrote \
                        this page. But the page itself is not signed: who controls the server can show anything. Check on \
                        your own machine, against a root that you got over a channel you trust:";

/// Where a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Health,
    Projects,
    Tree,
    Log,
    Ceremonies,
}

/// What all pages of one kind have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// What the page is about, before "· wheelseal".
    pub(super) title: &'a str,
    pub(super) section: Section,
    /// Folders that the page lies below the root of the server.
    pub(super) depth: usize,
    /// Whether there is a log to link to.
    pub(super) log: bool,
    /// Whether there are pages of ceremonies to link to.
    pub(super) ceremonies: bool,
    /// What to type to learn the same without trusting the server.
    pub(super) check: &'a [&'a str],
}

impl Frame<'_> {
    /// The document around what `main` writes.
    pub(super) fn around(&self, main: impl FnOnce(&mut Html)) -> Vec<u8> {
        let mut html = Html::default();
        html.element("html", &[Fixed("lang", "en")], |html| {
            html.element("head", &[], |html| self.head(html));
            html.element("body", &[], |html| {
                html.says("a", &[Class("skip"), Href(&Address::here("main"))], "Skip to the content");
                html.element("div", &[Class("top")], |html| self.header(html));
                html.element("main", &[Id("main"), Fixed("tabindex", "-1")], main);
                html.element("div", &[Class("end")], |html| {
                    html.element("footer", &[], |html| self.footer(html));
                });
            });
        });
        html.document()
    }

    fn head(&self, html: &mut Html) {
        html.element("meta", &[Fixed("charset", "utf-8")], |_| {});
        let viewport = [Fixed("name", "viewport"), Fixed("content", "width=device-width, initial-scale=1")];
        html.element("meta", &viewport, |_| {});
        html.says("title", &[], &format!("{} · wheelseal", self.title));
        html.style(STYLE);
    }

    fn header(&self, html: &mut Html) {
        let root = Address::root(self.depth);
        html.element("header", &[], |html| {
            html.element("nav", &[Label("Pages")], |html| {
                html.element("ul", &[], |html| {
                    self.entry(html, Section::Health, &root, "Health");
                    self.entry(html, Section::Projects, &root.folder("project"), "Projects");
                    self.entry(html, Section::Tree, &root.folder("tree"), "Delegations");
                    if self.log {
                        self.entry(html, Section::Log, &root.folder("log"), "Log");
                    }
                    if self.ceremonies {
                        self.entry(html, Section::Ceremonies, &root.folder("ceremony"), "Ceremonies");
                    }
                });
            });
            // The page of the search has the same form, larger.
            if self.section != Section::Projects || self.depth != 1 {
                search(html, &root, "", "search");
            }
        });
    }

    fn entry(&self, html: &mut Html, section: Section, to: &Address, text: &str) {
        let current = [Href(to), Fixed("aria-current", "page")];
        let attributes = if section == self.section { &current[..] } else { &[Href(to)] };
        html.element("li", &[], |html| html.says("a", attributes, text));
    }

    fn footer(&self, html: &mut Html) {
        html.says("h2", &[], "Do not take this page’s word for it");
        html.says("p", &[], NO_PROOF);
        html.element("pre", &[], |html| {
            for line in self.check {
                html.says("code", &[], line);
            }
        });
    }
}

/// The form that leads to a project. `typed`: what was typed, if it is no name; the element `wrong` says why.
pub(super) fn search(html: &mut Html, root: &Address, typed: &str, id: &'static str) {
    let to = root.folder("project");
    let form = [Action(&to), Fixed("method", "get"), Fixed("role", "search"), Label("Projects")];
    html.element("form", if id == "search" { &form } else { &form[..2] }, |html| {
        html.says("label", &[Fixed("for", id)], "Project");
        let field = [
            Id(id),
            Fixed("name", "name"),
            Fixed("type", "search"),
            Fixed("required", ""),
            Fixed("maxlength", NAME_FIELD),
            Fixed("autocomplete", "off"),
            Fixed("spellcheck", "false"),
            Value(typed),
        ];
        let wrong = [Fixed("aria-invalid", "true"), Fixed("aria-describedby", "wrong")];
        let more = if typed.is_empty() { &[][..] } else { &wrong };
        html.element("input", &[&field, more].concat(), |_| {});
        html.says("button", &[], "Find");
    });
}
