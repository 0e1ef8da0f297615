//! The one way to write markup: elements, a closed set of attributes, and text.
//!
//! ```text
//! html.element("p", &[Attribute::Class("note")], |html| html.text(reason));
//! ```
//!
//! - Every word goes through [`Html::text`] or an attribute, and both escape. There is no way to add markup as a string.
//! - The attributes are an enum, so no handler, no inline style and no address of another host can be written. Addresses
//!   are [`Address`]es: relative, made of segments that are quoted.
//! - What is invisible or turns text around (controls, bidi marks, zero-width characters) is written as its number, `U+202E`, in an
//!   element of its own: a name must not look like another one.
//! - Names of elements are `&'static str`: part of this program.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a segment of an address may hold as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Elements that have no end.
const VOID: [&str; 2] = ["meta", "input"];

/// Markup as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// An attribute of an element.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    /// A class of the style sheet.
    Class(&'static str),
    /// A name to link to within the page.
    Id(&'a str),
    /// Where a link leads.
    Href(&'a Address),
    /// Where a form leads.
    Action(&'a Address),
    /// A word of HTML or ARIA whose value is part of this program.
    Fixed(&'static str, &'static str),
    /// What a screen reader says in its place.
    Label(&'a str),
    /// The name of the element that labels it.
    LabelledBy(&'a str),
    /// More of it, for pointers.
    Title(&'a str),
    /// The heading of a column, for narrow screens.
    Column(&'a str),
    /// A time as machines read it.
    DateTime(&'a str),
    /// What a field holds.
    Value(&'a str),
    /// A measure of a drawing, in its own units.
    Measure(&'static str, u64),
    /// Width and height of a drawing, in its own units.
    ViewBox(u64, u64),
}

/// A relative address: so many folders up, then down again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(String);

impl Address {
    /// The root of the server, seen from a page that lies `depth` folders below it.
    pub(super) fn root(depth: usize) -> Self {
        Self(if depth == 0 { "./".to_owned() } else { "../".repeat(depth) })
    }

    /// A place on the same page.
    pub(super) fn here(id: &str) -> Self {
        Self(format!("#{}", utf8_percent_encode(id, PLAIN)))
    }

    /// A folder in this one.
    pub(super) fn folder(&self, name: &str) -> Self {
        Self(format!("{}{}/", self.0, quoted(name)))
    }

    /// A file in this one.
    pub(super) fn file(&self, name: &str) -> Self {
        Self(format!("{}{}", self.0, quoted(name)))
    }

    /// The same with a page number.
    pub(super) fn page(&self, number: usize) -> Self {
        if number <= 1 { self.clone() } else { Self(format!("{}?page={number}", self.0)) }
    }

    /// As it stands in the markup, and in `Location`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A segment. `.` and `..` would mean another folder.
fn quoted(segment: &str) -> String {
    match segment {
        "." | ".." => segment.replace('.', "%2E"),
        _ => utf8_percent_encode(segment, PLAIN).to_string(),
    }
}

impl Html {
    /// An element with what `inside` writes.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) {
        self.0.push('<');
        self.0.push_str(name);
        for attribute in attributes {
            self.attribute(attribute);
        }
        self.0.push('>');
        if !VOID.contains(&name) {
            inside(self);
            self.0.push_str("</");
            self.0.push_str(name);
            self.0.push('>');
        }
    }

    /// An element that holds one text.
    pub(super) fn says(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.element(name, attributes, |html| html.text(text));
    }

    /// A link that says where it leads.
    pub(super) fn link(&mut self, to: &Address, text: &str) {
        self.says("a", &[Attribute::Href(to)], text);
    }

    /// Words, whoever wrote them.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            if misleads(c) {
                self.element("span", &[Attribute::Class("code-point")], |html| html.0.push_str(&number(c)));
            } else {
                self.escaped(c);
            }
        }
    }

    /// A style sheet of this program.
    pub(super) fn style(&mut self, sheet: &'static str) {
        self.0.push_str("<style>");
        self.0.push_str(sheet);
        self.0.push_str("</style>");
    }

    /// The whole document.
    pub(super) fn document(self) -> Vec<u8> {
        let mut document = String::from("<!DOCTYPE html>\n");
        document.push_str(&self.0);
        document.push('\n');
        document.into_bytes()
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) {
        let number;
        let (name, value) = match *attribute {
            Attribute::Class(name) => ("class", name),
            Attribute::Id(id) => ("id", id),
            Attribute::Href(address) => ("href", address.as_str()),
            Attribute::Action(address) => ("action", address.as_str()),
            Attribute::Fixed(name, value) => (name, value),
            Attribute::Label(label) => ("aria-label", label),
            Attribute::LabelledBy(id) => ("aria-labelledby", id),
            Attribute::Title(title) => ("title", title),
            Attribute::Column(heading) => ("data-column", heading),
            Attribute::DateTime(time) => ("datetime", time),
            Attribute::Value(value) => ("value", value),
            Attribute::Measure(name, measure) => {
                number = measure.to_string();
                (name, number.as_str())
            }
            Attribute::ViewBox(width, height) => {
                number = format!("0 0 {width} {height}");
                ("viewBox", number.as_str())
            }
        };
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            if misleads(c) { self.0.push_str(&self::number(c)) } else { self.escaped(c) }
        }
        self.0.push('"');
    }

    fn escaped(&mut self, c: char) {
        match c {
            '&' => self.0.push_str("&amp;"),
            '<' => self.0.push_str("&lt;"),
            '>' => self.0.push_str("&gt;"),
            '"' => self.0.push_str("&quot;"),
            '\'' => self.0.push_str("&#39;"),
            c => self.0.push(c),
        }
    }
}

/// Whether a character is not seen as what it is: controls, marks that turn the direction, what has no width, private
/// use, and separators that break lines.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

fn number(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::default();
        write(&mut html);
        html.0
    }

    #[test]
    fn markup_in_text_stays_text() {
        let text = written(|html| html.text("</p><script>alert('1')</script> & \"x\""));
        assert_eq!(text, "&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;");
    }

    #[test]
    fn an_attribute_cannot_be_left() {
        let title = "\"><img src=x onerror=1>";
        let text = written(|html| html.says("b", &[Attribute::Title(title)], "x"));
        assert_eq!(text, "<b title=\"&quot;&gt;&lt;img src=x onerror=1&gt;\">x</b>");
    }

    #[test]
    fn what_turns_text_around_or_hides_is_written_as_its_number() {
        for (c, number) in [
            ('\u{202e}', "U+202E"),
            ('\u{2066}', "U+2066"),
            ('\u{200b}', "U+200B"),
            ('\u{feff}', "U+FEFF"),
            ('\u{61c}', "U+061C"),
            ('\u{ad}', "U+00AD"),
            ('\0', "U+0000"),
            ('\u{1b}', "U+001B"),
            ('\n', "U+000A"),
            ('\u{85}', "U+0085"),
            ('\u{e0041}', "U+E0041"),
        ] {
            let text = format!("a{c}b");
            assert_eq!(
                written(|html| html.text(&text)),
                format!("a<span class=\"code-point\">{number}</span>b"),
            );
            let title = written(|html| html.says("b", &[Attribute::Title(&text)], "x"));
            assert_eq!(title, format!("<b title=\"a{number}b\">x</b>"));
        }
        assert_eq!(written(|html| html.text("Grüße 東京 עברית")), "Grüße 東京 עברית");
    }

    #[test]
    fn an_address_stays_on_this_server() {
        let root = Address::root(2);
        for (segment, expected) in [
            ("javascript:alert(1)", "../../javascript%3Aalert%281%29/"),
            ("//evil.example", "../../%2F%2Fevil.example/"),
            ("..", "../../%2E%2E/"),
            ("a b?c#d", "../../a%20b%3Fc%23d/"),
            ("\"><x", "../../%22%3E%3Cx/"),
        ] {
            assert_eq!(root.folder(segment).as_str(), expected);
        }
        assert_eq!(Address::root(0).folder("project").page(2).as_str(), "./project/?page=2");
        assert_eq!(Address::here("k\"").as_str(), "#k%22");
    }
}
