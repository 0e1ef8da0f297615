//! Which tool downloads, from a closed list: nothing else of a user agent gets in.

use std::fmt;
use std::str::FromStr;

use super::event::Word;
use super::values::ValueError;

/// Numbers of a version that are kept: `24.0.1`. What comes after them tells machines apart, not releases.
const MAX_NUMBERS: usize = 3;
/// Digits of each.
const MAX_DIGITS: usize = 4;

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// pip.
    Pip,
    /// uv.
    Uv,
    /// Poetry.
    Poetry,
    /// PDM.
    Pdm,
    /// twine.
    Twine,
    /// wheelseal's client and proxies.
    Wheelseal,
    /// A browser; which one is not kept.
    Browser,
    /// Anything else.
    Other,
}

impl Word for Tool {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Pip, "pip"),
        (Self::Uv, "uv"),
        (Self::Poetry, "poetry"),
        (Self::Pdm, "pdm"),
        (Self::Twine, "twine"),
        (Self::Wheelseal, "wheelseal"),
        (Self::Browser, "browser"),
        (Self::Other, "other"),
    ];
}

/// A version of a tool: up to three numbers with dots between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolVersion(String);

impl Tool {
    /// The tool and version that a user agent begins with.
    pub fn of_agent(agent: &str) -> (Self, Option<ToolVersion>) {
        let word = agent.split(' ').next().unwrap_or_default();
        let (name, version) = word.split_once('/').unwrap_or((word, ""));
        let name = name.to_ascii_lowercase();
        match Self::of(&name) {
            None if name == "mozilla" => (Self::Browser, None),
            None | Some(Self::Browser | Self::Other) => (Self::Other, None),
            Some(tool) => (tool, release(version)),
        }
    }
}

/// The numbers that a version begins with.
fn release(version: &str) -> Option<ToolVersion> {
    let numbers = version.split('.').take(MAX_NUMBERS);
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut kept = Vec::new();
    for part in numbers {
        let number = digits(part);
        let ends = number.len() != part.len();
        if !number.is_empty() {
            kept.push(number);
        }
        // `25.0b1` is of the release 25.0.
        if ends {
            break;
        }
    }
    kept.join(".").parse().ok()
}

impl FromStr for ToolVersion {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = |part: &str| {
            (1..=MAX_DIGITS).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let fits = text.split('.').count() <= MAX_NUMBERS && text.split('.').all(number);
        let shape = ValueError { what: "version of a tool", expected: "up to three numbers" };
        if fits { Ok(Self(text.to_owned())) } else { Err(shape) }
    }
}

impl fmt::Display for ToolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_agent_the_tool_and_its_release_are_kept_and_nothing_else() {
        for (agent, tool, version) in [
            ("pip/24.0 {\"ci\":null,\"installer\":{\"name\":\"pip\"},\"user\":\"jane\"}", Tool::Pip, "24.0"),
            ("pip/25.0b1", Tool::Pip, "25.0"),
            ("uv/0.12.17 {\"installer\":{}}", Tool::Uv, "0.12.17"),
            ("poetry/1.8.2 CPython/3.12", Tool::Poetry, "1.8.2"),
            ("pdm/2.12.4.dev3+jane", Tool::Pdm, "2.12.4"),
            ("wheelseal/0.1.0", Tool::Wheelseal, "0.1.0"),
            ("pip/20300101123456", Tool::Pip, ""),
            ("pip/jane@example.org", Tool::Pip, ""),
            ("Mozilla/5.0 (X11; Linux)", Tool::Browser, ""),
            ("Browser/1.0", Tool::Other, ""),
            ("jane/1.0", Tool::Other, ""),
            ("", Tool::Other, ""),
        ] {
            let (found, release) = Tool::of_agent(agent);
            let release = release.map(|version| version.to_string()).unwrap_or_default();
            assert_eq!((found, release.as_str()), (tool, version), "{agent}");
        }
    }
}
