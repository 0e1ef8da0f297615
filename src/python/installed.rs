//! What an installer leaves beside a wheel's files: `RECORD`, `WHEEL`, `entry_points.txt` and the scripts made from it.
//!
//! All of it can be changed by whoever changes the rest. So nothing here is evidence: it says where to look and what to
//! compare with, and what it says too much is a finding.

use std::collections::BTreeSet;

/// Lines of a `RECORD`, at most: the largest wheels list some 50,000 files, and their bytecode.
const MAX_LINES: usize = 400_000;
/// Where a wheel asks for the interpreter of the environment.
const PLACEHOLDER: [&str; 2] = ["#!python", "#!pythonw"];
/// What installers write around the call, with double quotes for single ones: pip, distlib and uv, all versions known.
const WRAPPER: [&str; 11] = [
    "# -*- coding: utf-8 -*-",
    "import re",
    "import sys",
    "if __name__ == \"__main__\":",
    "sys.argv[0] = re.sub(r\"(-script\\.pyw|\\.exe)?$\", \"\", sys.argv[0])",
    "sys.argv[0] = re.sub(r\"(-script\\.pyw?|\\.exe)?$\", \"\", sys.argv[0])",
    "sys.argv[0] = sys.argv[0].removesuffix(\".exe\")",
    "if sys.argv[0].endswith(\"-script.pyw\"):",
    "sys.argv[0] = sys.argv[0][:-11]",
    "elif sys.argv[0].endswith(\".exe\"):",
    "sys.argv[0] = sys.argv[0][:-4]",
];

/// Why a `RECORD` does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not text.
    #[error("RECORD is not UTF-8")]
    Encoding,
    /// A quote that does not end, or one inside a field.
    #[error("RECORD has a malformed line {line}")]
    Line {
        /// Its number.
        line: usize,
    },
    /// More lines than a distribution has files.
    #[error("RECORD has more than {MAX_LINES} lines")]
    TooMany,
}

/// The paths that a `RECORD` lists, as they stand there (CSV, one file in each line; lines are not folded).
pub fn recorded(bytes: &[u8]) -> Result<Vec<String>, RecordError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Encoding)?;
    let mut paths = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        if paths.len() == MAX_LINES {
            return Err(RecordError::TooMany);
        }
        paths.push(first_field(text).ok_or(RecordError::Line { line })?);
    }
    Ok(paths)
}

fn first_field(line: &str) -> Option<String> {
    let Some(quoted) = line.strip_prefix('"') else {
        let field = line.split(',').next().unwrap_or_default();
        return (!field.contains('"')).then(|| field.to_owned());
    };
    let (mut field, mut rest) = (String::new(), quoted);
    loop {
        let (part, more) = rest.split_once('"')?;
        field.push_str(part);
        match more.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return more.starts_with(',').then_some(field),
        }
    }
}

/// The tags that a `WHEEL` file names, each of one Python, ABI and platform.
pub fn tags_of(wheel: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(wheel);
    let tags = text
        .lines()
        .filter_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("Tag")));
    tags.map(|(_, tag)| tag.trim().to_ascii_lowercase()).collect()
}

/// A script that an installer makes: `NAME = MODULE:ATTRIBUTE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name.
    pub name: String,
    module: String,
    attribute: String,
}

/// The scripts in an `entry_points.txt`. A line that says nothing makes none.
pub fn scripts(entry_points: &[u8]) -> Vec<Script> {
    let text = String::from_utf8_lossy(entry_points);
    let (mut inside, mut all) = (false, Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = matches!(group.trim(), "console_scripts" | "gui_scripts");
        } else if inside && !line.starts_with(['#', ';']) {
            all.extend(script(line));
        }
    }
    all
}

fn script(line: &str) -> Option<Script> {
    let (name, object) = line.split_once('=')?;
    let object = object.split('[').next().unwrap_or_default();
    let (module, attribute) = object.split_once(':')?;
    let part = |text: &str| text.trim().to_owned();
    Some(Script { name: part(name), module: part(module), attribute: part(attribute) })
}

impl Script {
    /// Whether a file is what an installer makes for this script: nothing but the call, run by a Python of the environment.
    /// `is_python` says of a path whether it is one.
    pub fn made(&self, file: &[u8], is_python: impl Fn(&str) -> bool) -> bool {
        let Some(body) = after_shebang(file, is_python).and_then(|body| std::str::from_utf8(body).ok())
        else {
            return false;
        };
        let import = self.attribute.split('.').next().unwrap_or_default();
        let import = format!("from {} import {import}", self.module);
        let call = format!("sys.exit({}())", self.attribute);
        let lines = || body.lines().map(|line| line.trim().replace('\'', "\""));
        let known = |line: &String| {
            line.is_empty() || *line == import || *line == call || WRAPPER.contains(&line.as_str())
        };
        lines().all(|line| known(&line))
            && lines().any(|line| line == call)
            && lines().any(|line| line == import)
    }
}

/// Whether a script of a wheel is installed as it is, but for the interpreter of the environment in its first line.
pub fn is_script(wheel: &[u8], installed: &[u8], is_python: impl Fn(&str) -> bool) -> bool {
    match placeholder_end(wheel) {
        None => wheel == installed,
        Some(body) => after_shebang(installed, is_python) == Some(body),
    }
}

/// What follows a first line that asks for the interpreter of the environment.
fn placeholder_end(wheel: &[u8]) -> Option<&[u8]> {
    let (first, body) = split_line(wheel)?;
    let first = std::str::from_utf8(first).ok()?.trim_end();
    let word = first.split(' ').next().unwrap_or_default();
    PLACEHOLDER.contains(&word).then_some(body)
}

/// What follows the lines that start a Python of the environment: `#!PYTHON`, or a shell that does so where the path is too
/// long or has a space.
fn after_shebang(file: &[u8], is_python: impl Fn(&str) -> bool) -> Option<&[u8]> {
    let (first, rest) = split_line(file)?;
    let first = std::str::from_utf8(first).ok()?.trim_end().strip_prefix("#!")?;
    if first != "/bin/sh" {
        let quoted = first.strip_prefix('"').and_then(|path| path.strip_suffix('"'));
        return is_python(quoted.unwrap_or(first)).then_some(rest);
    }
    let (second, rest) = split_line(rest)?;
    let (third, rest) = split_line(rest)?;
    let path = std::str::from_utf8(second).ok()?.strip_prefix("'''exec' ")?.strip_suffix(" \"$0\" \"$@\"")?;
    let quoted = |mark: char| path.strip_prefix(mark).and_then(|path| path.strip_suffix(mark));
    let path =
        quoted('"').or_else(|| quoted('\'')).or((!path.contains(char::is_whitespace)).then_some(path))?;
    let plain = !path.contains(['"', '\'', '$', '`', '\\', ';', '&', '|', '<', '>', '(', ')']);
    (plain && third == b"' '''" && is_python(path)).then_some(rest)
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(path: &str) -> bool {
        ["/env/bin/python", "/en v/bin/python"].contains(&path)
    }

    #[test]
    fn a_record_is_read_line_by_line() {
        let text = b"a.py,sha256=x,1\r\n\"b,\"\"c\"\".py\",,\n\n../../bin/d,,\n";
        assert_eq!(recorded(text).unwrap(), ["a.py", "b,\"c\".py", "../../bin/d"]);
        for (text, line) in [("a,,\n\"b", 2), ("\"a\"b,,", 1), ("a\"b,,", 1), ("\"a\"", 1)] {
            assert_eq!(recorded(text.as_bytes()), Err(RecordError::Line { line }), "{text}");
        }
        assert_eq!(recorded(b"\xff"), Err(RecordError::Encoding));
        assert_eq!(recorded("a\n".repeat(MAX_LINES + 1).as_bytes()), Err(RecordError::TooMany));
    }

    #[test]
    fn tags_and_scripts_are_found() {
        let tags = tags_of(b"Wheel-Version: 1.0\nTag: py3-none-any\r\ntag: CP311-abi3-win32\nBuild: 1\n");
        assert_eq!(Vec::from_iter(tags), ["cp311-abi3-win32", "py3-none-any"]);
        let text =
            b"[console_scripts]\na = m.n:f.g [x]\n# b = m:f\nc\n[other]\nd = m:f\n[gui_scripts]\ne=m:f\n";
        let names: Vec<_> = scripts(text).into_iter().map(|script| script.name).collect();
        assert_eq!(names, ["a", "e"]);
        assert_eq!(scripts(text)[0].attribute, "f.g");
    }

    fn call(shebang: &str, more: &str) -> Vec<u8> {
        let body = "import sys\nfrom m import f\nif __name__ == '__main__':\n    sys.exit(f.g())\n";
        format!("{shebang}\n{body}{more}").into_bytes()
    }

    #[test]
    fn a_made_script_has_nothing_but_the_call() {
        let script = scripts(b"[console_scripts]\na = m:f.g\n").remove(0);
        let shell = "#!/bin/sh\n'''exec' '/en v/bin/python' \"$0\" \"$@\"\n' '''";
        for shebang in ["#!/env/bin/python", "#!/en v/bin/python", "#!\"/en v/bin/python\"", shell] {
            assert!(script.made(&call(shebang, ""), ours), "{shebang}");
            assert!(!script.made(&call(shebang, "import os\n"), ours), "{shebang}");
        }
        for shebang in [
            "#!/bin/sh",
            "#!/usr/bin/env python",
            "#!/evil/python",
            "# a",
            "#!/bin/sh\n'''exec' /evil/python \"$0\" \"$@\"\n' '''",
            "#!/bin/sh\n'''exec' /en v/bin/python \"$0\" \"$@\"\n' '''",
            "#!/bin/sh\n'''exec' /env/bin/python \"$0\" \"$@\"; evil\n' '''",
            "#!/bin/sh\nevil\n'''exec' /env/bin/python \"$0\" \"$@\"\n' '''",
        ] {
            assert!(!script.made(&call(shebang, ""), ours), "{shebang}");
        }
        assert!(!script.made(b"#!/env/bin/python\nimport sys\n", ours));
        assert!(!script.made(b"", ours));
    }

    #[test]
    fn a_script_may_differ_in_its_interpreter_alone() {
        let wheel = b"#!python\nprint(1)\n";
        assert!(is_script(wheel, b"#!/env/bin/python\nprint(1)\n", ours));
        assert!(!is_script(wheel, b"#!/env/bin/python\nprint(2)\n", ours));
        assert!(!is_script(wheel, b"#!/evil/python\nprint(1)\n", ours));
        assert!(!is_script(wheel, wheel, ours));
        assert!(is_script(b"#!/bin/sh\na\n", b"#!/bin/sh\na\n", ours));
        assert!(!is_script(b"#!/bin/sh\na\n", b"#!/env/bin/python\na\n", ours));
    }
}
