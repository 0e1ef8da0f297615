//! Dependencies (PEP 508), and for which machines they and wheels are.
//!
//! ```text
//! METADATA ── Requires-Dist ──▶ Dependency ── applies(Machine, extras)? ──▶ wanted
//! wheel's tags (PEP 425) ────────────────── takes(Machine)? ──────────────▶ wanted
//! ```
//!
//! What is not known of the machine is taken either way: a marker that may hold counts as holding, a wheel that may fit
//! as fitting. So the answer is never too little for the machine that was meant.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{
    ExtraName, MarkerTree, MarkerTreeKind, MarkerValueExtra, MarkerValueString, MarkerValueVersion,
    Requirement, VerbatimUrl, VersionOrUrl,
};

use super::filename::Kind;
use super::metadata::{MetadataError, requires_dist};
use super::simple::PageFile;
use super::{NameError, ProjectName};

/// Bytes of one requirement, at most: the longest published ones, with long markers, have some 500.
const MAX_REQUIREMENT: usize = 4_096;
/// Times that a marker mixes `and` and `or`, at most: the smaller number of the two. The parser makes a decision diagram
/// of a marker, whose size may double each time; published ones come to 3.
const MAX_MIXED: usize = 10;
/// What all markers of a document come to, each doubled so often, at most: real ones come to a few thousand.
const MAX_DECISIONS: usize = 50_000;
/// Opening brackets in a requirement, at most: the parser goes down a step for each.
const MAX_BRACKETS: usize = 64;
/// Dependencies of one distribution, at most: those with the most extras have some 500.
const MAX_DEPENDENCIES: usize = 10_000;
/// Characters of a tangled requirement that are shown.
const SHOWN: usize = 60;
/// Patch releases that a Python given as `3.11` may be.
const PATCHES: u64 = 100;

/// Why a requirement does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// More bytes than a requirement has.
    #[error("a requirement has {found} bytes; expected at most {MAX_REQUIREMENT}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// A marker that would take too long to read.
    #[error("a requirement has a marker too tangled to be read: {text:?}")]
    Tangled {
        /// Its beginning.
        text: String,
    },
    /// More dependencies than a distribution has.
    #[error("the metadata has {found} dependencies; expected at most {MAX_DEPENDENCIES}")]
    TooMany {
        /// Dependencies found.
        found: usize,
    },
    /// Not of the grammar of PEP 508.
    #[error("{text:?} is no requirement: {reason}")]
    Grammar {
        /// The requirement.
        text: String,
        /// What the parser says.
        reason: String,
    },
    /// The name of the project is refused.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The metadata is.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Not the name of a platform.
    #[error(
        "{text:?} is no platform; expected one like linux-x86_64, musllinux-aarch64, macosx-arm64 or win-amd64"
    )]
    Platform {
        /// What was given.
        text: String,
    },
}

/// What a distribution, or a person, wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The project.
    pub project: ProjectName,
    /// Its extras, normalised.
    pub extras: BTreeSet<ExtraName>,
    /// Where it comes from, and which versions.
    pub source: Source,
    /// When it is wanted.
    pub marker: MarkerTree,
}

/// Where a dependency comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An index, in these versions.
    Index(VersionSpecifiers),
    /// A URL.
    Elsewhere(String),
}

impl FromStr for Dependency {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        is_readable(text)?;
        let read = Requirement::<VerbatimUrl>::from_str(text).map_err(|error| DependencyError::Grammar {
            text: text.to_owned(),
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        })?;
        let source = match read.version_or_url {
            None => Source::Index(VersionSpecifiers::empty()),
            Some(VersionOrUrl::VersionSpecifier(versions)) => Source::Index(versions),
            Some(VersionOrUrl::Url(url)) => Source::Elsewhere(url.to_string()),
        };
        let project = ProjectName::from_str(read.name.as_ref())?;
        Ok(Self { project, extras: read.extras.into_iter().collect(), source, marker: read.marker })
    }
}

/// Refuses a requirement on which the parser would spend more than a moment.
pub(super) fn is_readable(text: &str) -> Result<(), DependencyError> {
    if text.len() > MAX_REQUIREMENT {
        return Err(DependencyError::TooLong { found: text.len() });
    }
    if mixed(text) > MAX_MIXED || text.matches('(').count() > MAX_BRACKETS {
        return Err(tangled(text));
    }
    Ok(())
}

/// How often its marker mixes `and` and `or`, or more.
fn mixed(text: &str) -> usize {
    let words = |wanted: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| word.eq_ignore_ascii_case(wanted))
            .count()
    };
    words("and").min(words("or"))
}

fn tangled(text: &str) -> DependencyError {
    DependencyError::Tangled { text: text.chars().take(SHOWN).collect() }
}

/// Without the marker.
impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.project.as_str())?;
        if !self.extras.is_empty() {
            let extras: Vec<&str> = self.extras.iter().map(AsRef::as_ref).collect();
            write!(f, "[{}]", extras.join(","))?;
        }
        match &self.source {
            Source::Index(versions) => versions.fmt(f),
            Source::Elsewhere(place) => write!(f, " @ {place}"),
        }
    }
}

impl Dependency {
    /// The dependencies in the bytes of a `METADATA` or `PKG-INFO` file of at most `limit` bytes.
    pub fn of_metadata(bytes: &[u8], limit: usize) -> Result<Vec<Self>, DependencyError> {
        let texts = requires_dist(bytes, limit)?;
        if texts.len() > MAX_DEPENDENCIES {
            return Err(DependencyError::TooMany { found: texts.len() });
        }
        let mut left = MAX_DECISIONS;
        let read = |text: &String| {
            let decisions = u32::try_from(mixed(text)).ok().and_then(|mixed| 1_usize.checked_shl(mixed));
            left =
                decisions.and_then(|decisions| left.checked_sub(decisions)).ok_or_else(|| tangled(text))?;
            text.parse()
        };
        texts.iter().map(read).collect()
    }

    /// Whether it may be wanted on this machine by who asked for these extras.
    pub fn applies(&self, machine: &Machine, extras: &BTreeSet<ExtraName>) -> bool {
        holds(&self.marker, machine, extras, &mut HashSet::new())
    }

    /// Whether it is wanted for certain, given that it applies: on every machine.
    pub fn is_certain(&self, extras: &BTreeSet<ExtraName>) -> bool {
        self.marker.clone().simplify_extras_with(|extra| extras.contains(extra)).is_true()
    }
}

/// What is known of the machines that files are for. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Python, as `3.11` or `3.11.4`.
    pub python: Option<Version>,
    /// System and processor.
    pub platform: Option<Platform>,
}

/// System and processor, as wheels name them, without the system's version: `linux_x86_64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    system: System,
    /// Such as `x86_64`; empty: `win32`.
    processor: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Linux,
    Musl,
    Mac,
    Windows,
}

impl FromStr for Platform {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let refused = || DependencyError::Platform { text: text.to_owned() };
        let name = text.replace('-', "_");
        if name == "win32" {
            return Ok(Self { system: System::Windows, processor: String::new() });
        }
        let (system, processor) = name.split_once('_').ok_or_else(refused)?;
        let system = match system {
            "linux" => System::Linux,
            "musllinux" => System::Musl,
            "macosx" => System::Mac,
            "win" => System::Windows,
            _ => return Err(refused()),
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let version = processor.starts_with(|c: char| c.is_ascii_digit());
        if processor.is_empty() || version || !processor.chars().all(plain) {
            return Err(refused());
        }
        Ok(Self { system, processor: processor.to_owned() })
    }
}

impl Platform {
    /// Whether a platform tag of a wheel is for it.
    fn fits(&self, tag: &str) -> bool {
        let named = |systems: &[&str]| systems.iter().any(|system| tag.starts_with(system));
        let mine = tag.strip_suffix(self.processor.as_str()).is_some_and(|system| system.ends_with('_'));
        match self.system {
            _ if tag == "any" => true,
            System::Linux => named(&["manylinux", "linux_"]) && mine,
            System::Musl => named(&["musllinux_", "linux_"]) && mine,
            System::Mac => named(&["macosx_"]) && (mine || self.fits_several(tag)),
            System::Windows if self.processor.is_empty() => tag == "win32",
            System::Windows => named(&["win_"]) && mine,
        }
    }

    /// macOS has tags for several processors at once.
    fn fits_several(&self, tag: &str) -> bool {
        let intel = ["_intel", "_fat64", "_fat3", "_universal"];
        tag.ends_with("_universal2")
            || self.processor == "x86_64" && intel.iter().any(|end| tag.ends_with(end))
    }

    /// What Python says of it where markers ask; none: not known.
    fn value(&self, key: &MarkerValueString) -> Option<&str> {
        use MarkerValueString as Key;
        let (os, sys, system) = match self.system {
            System::Linux | System::Musl => ("posix", "linux", "Linux"),
            System::Mac => ("posix", "darwin", "Darwin"),
            System::Windows => ("nt", "win32", "Windows"),
        };
        match key {
            Key::OsName | Key::OsNameDeprecated => Some(os),
            Key::SysPlatform | Key::SysPlatformDeprecated => Some(sys),
            Key::PlatformSystem => Some(system),
            Key::PlatformMachine | Key::PlatformMachineDeprecated => {
                match (self.system, self.processor.as_str()) {
                    (System::Windows, "") => Some("x86"),
                    (System::Windows, "amd64") => Some("AMD64"),
                    (System::Windows, "arm64") => Some("ARM64"),
                    (_, processor) => Some(processor),
                }
            }
            _ => None,
        }
    }
}

impl Machine {
    /// Whether a file on a page may be for it: its tags and its `Requires-Python`.
    pub fn takes(&self, file: &PageFile) -> bool {
        self.takes_kind(file.filename.kind()) && self.takes_python(file)
    }

    fn takes_python(&self, file: &PageFile) -> bool {
        let wanted = file.requires_python.as_ref().map(|text| text.as_str().parse::<VersionSpecifiers>());
        match (&self.python, wanted) {
            // As installers have it: what does not parse is passed over.
            (None, _) | (_, None | Some(Err(_))) => true,
            (Some(python), Some(Ok(wanted))) => {
                full_versions(python).iter().any(|full| wanted.contains(full))
            }
        }
    }

    fn takes_kind(&self, kind: &Kind) -> bool {
        let Kind::Wheel { python, abi, platform, .. } = kind else { return true };
        let platforms = |mine: &Platform| platform.split('.').any(|tag| mine.fits(tag));
        let abi3 = abi.split('.').any(|abi| abi == "abi3");
        let pythons = |mine: &Version| python.split('.').any(|tag| fits_python(mine, tag, abi3));
        self.platform.as_ref().is_none_or(platforms) && self.python.as_ref().is_none_or(pythons)
    }
}

/// Whether a Python tag is for this `CPython`.
fn fits_python(mine: &Version, tag: &str, abi3: bool) -> bool {
    let (major, minor) = match *mine.release() {
        [major] => (major, None),
        [major, minor, ..] => (major, Some(minor)),
        [] => return true,
    };
    let Some((kind, number)) = tag.split_at_checked(2) else { return false };
    let own = major.to_string();
    let Some(rest) = number.strip_prefix(own.as_str()).filter(|_| matches!(kind, "py" | "cp")) else {
        return false;
    };
    let Some(minor) = minor else { return true };
    match rest.parse::<u64>() {
        Err(_) => rest.is_empty(),
        Ok(theirs) if kind == "py" || abi3 => theirs <= minor,
        Ok(theirs) => theirs == minor,
    }
}

/// The releases that a Python given as `3.11` may be; those that a whole one is: itself.
fn full_versions(python: &Version) -> Vec<Version> {
    match *python.release() {
        [major, minor] => (0..PATCHES).map(|patch| Version::new([major, minor, patch])).collect(),
        _ => vec![python.clone()],
    }
}

/// Whether a marker may hold. `failed` has what was looked at and cannot: nodes are shared, paths are many.
fn holds(
    tree: &MarkerTree,
    machine: &Machine,
    extras: &BTreeSet<ExtraName>,
    failed: &mut HashSet<MarkerTree>,
) -> bool {
    if failed.contains(tree) {
        return false;
    }
    let below = |node: MarkerTree, failed: &mut HashSet<MarkerTree>| holds(&node, machine, extras, failed);
    let found = match tree.kind() {
        MarkerTreeKind::True => true,
        MarkerTreeKind::False => false,
        MarkerTreeKind::Version(node) => {
            let known = machine.versions(node.key());
            let may =
                |within: &dyn Fn(&Version) -> bool| known.as_ref().is_none_or(|all| all.iter().any(within));
            node.edges().any(|(range, node)| may(&|version| range.contains(version)) && below(node, failed))
        }
        MarkerTreeKind::String(node) => {
            let known = machine.text(node.key()).map(ToOwned::to_owned);
            node.children().any(|(range, node)| {
                known.as_ref().is_none_or(|text| range.contains(text)) && below(node, failed)
            })
        }
        MarkerTreeKind::In(node) => {
            let known = machine.text(node.key()).map(|text| node.value().contains(text));
            node.children()
                .any(|(value, node)| known.is_none_or(|known| known == value) && below(node, failed))
        }
        MarkerTreeKind::Contains(node) => {
            let known = machine.text(node.key()).map(|text| text.contains(node.value()));
            node.children()
                .any(|(value, node)| known.is_none_or(|known| known == value) && below(node, failed))
        }
        MarkerTreeKind::Extra(node) => {
            let active = matches!(node.name(), MarkerValueExtra::Extra(extra) if extras.contains(extra));
            below(node.edge(active), failed)
        }
    };
    if !found {
        failed.insert(tree.clone());
    }
    found
}

impl Machine {
    /// The values that a version in a marker may have; none: any.
    fn versions(&self, key: &MarkerValueVersion) -> Option<Vec<Version>> {
        let python = self.python.as_ref()?;
        Some(match key {
            MarkerValueVersion::PythonVersion => {
                vec![Version::new(python.release().iter().copied().take(2))]
            }
            MarkerValueVersion::PythonFullVersion | MarkerValueVersion::ImplementationVersion => {
                full_versions(python)
            }
        })
    }

    /// The value that a text in a marker has; none: any.
    fn text(&self, key: &MarkerValueString) -> Option<&str> {
        self.platform.as_ref().and_then(|platform| platform.value(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extras(names: &[&str]) -> BTreeSet<ExtraName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn machine(python: &str, platform: &str) -> Machine {
        let python = (!python.is_empty()).then(|| python.parse().unwrap());
        Machine { python, platform: (!platform.is_empty()).then(|| platform.parse().unwrap()) }
    }

    fn applies(marker: &str, machine: &Machine, of: &[&str]) -> bool {
        format!("x; {marker}").parse::<Dependency>().unwrap().applies(machine, &extras(of))
    }

    #[test]
    fn what_is_not_known_holds_either_way_and_extras_are_always_known() {
        let nothing = Machine::default();
        for marker in [
            "sys_platform == 'win32'",
            "sys_platform != 'win32'",
            "python_version < '3'",
            "'a' in platform_release",
        ] {
            assert!(applies(marker, &nothing, &[]), "{marker}");
        }
        assert!(!applies("extra == 'a'", &nothing, &[]));
        assert!(applies("extra == 'A'", &nothing, &["a"]));
        assert!(!applies("extra == 'a' and sys_platform == 'win32'", &nothing, &["b"]));
        assert!(applies("extra == 'a' or extra == 'b'", &nothing, &["b"]));
    }

    #[test]
    fn what_is_known_decides() {
        let known = machine("3.11", "linux_x86_64");
        for (marker, expected) in [
            ("python_version >= '3.11'", true),
            ("python_version < '3.11'", false),
            ("python_version < '3.9' or sys_platform == 'win32'", false),
            ("python_full_version < '3.11.4'", true),
            ("python_full_version < '3.11.0a6'", false),
            ("os_name == 'nt'", false),
            ("platform_machine == 'x86_64' and platform_system == 'Linux'", true),
            ("platform_machine == 'aarch64'", false),
            ("'linux' in sys_platform", true),
            ("sys_platform in 'win32 darwin'", false),
            ("platform_release == 'x'", true),
        ] {
            assert_eq!(applies(marker, &known, &[]), expected, "{marker}");
        }
        assert!(!applies("python_full_version < '3.11.4'", &machine("3.11.9", ""), &[]));
        assert!(applies("platform_machine == 'AMD64'", &machine("", "win_amd64"), &[]));
    }

    fn tangled(pairs: usize) -> String {
        let pair = |at| format!("('a{at}' in platform_release or 'b{at}' in platform_version)");
        let pairs: Vec<String> = (0..pairs).map(pair).collect();
        format!("x; {} and extra == 'never'", pairs.join(" and "))
    }

    #[test]
    fn a_marker_that_the_parser_would_choke_on_is_refused() {
        let fair: Dependency = tangled(MAX_MIXED).parse().unwrap();
        assert!(!fair.applies(&Machine::default(), &extras(&[])));
        let refused = tangled(MAX_MIXED + 1).parse::<Dependency>();
        assert!(matches!(refused, Err(DependencyError::Tangled { .. })));
        let deep = format!("x; {}os_name == 'a'{}", "(".repeat(65), ")".repeat(65));
        assert!(matches!(deep.parse::<Dependency>(), Err(DependencyError::Tangled { .. })));
        // Each is fair, all of them are not.
        let metadata = |lines| {
            let line = format!("Requires-Dist: {}\n", tangled(MAX_MIXED));
            format!("Metadata-Version: 2.1\nName: x\nVersion: 1\n{}", line.repeat(lines)).into_bytes()
        };
        let fair = MAX_DECISIONS >> MAX_MIXED;
        assert_eq!(Dependency::of_metadata(&metadata(fair), usize::MAX).unwrap().len(), fair);
        let refused = Dependency::of_metadata(&metadata(fair + 1), usize::MAX);
        assert!(matches!(refused, Err(DependencyError::Tangled { .. })));
    }

    fn takes(python: &str, platform: &str, wheel: &str) -> bool {
        let name: super::super::DistributionFilename = format!("a-1-{wheel}.whl").parse().unwrap();
        machine(python, platform).takes_kind(name.kind())
    }

    #[test]
    fn wheels_are_taken_by_their_tags() {
        for (python, platform, wheel, expected) in [
            ("", "", "cp39-cp39-win_amd64", true),
            ("3.11", "", "py3-none-any", true),
            ("3.11", "", "py2-none-any", false),
            ("3.11", "", "py2.py3-none-any", true),
            ("3.11", "", "py312-none-any", false),
            ("3.11", "", "py310-none-any", true),
            ("3.11.4", "", "cp311-cp311-win_amd64", true),
            ("3.11", "", "cp310-cp310-win_amd64", false),
            ("3.11", "", "cp38-abi3-win_amd64", true),
            ("3.11", "", "cp312-abi3-win_amd64", false),
            ("3.11", "", "pp310-pypy310_pp73-win_amd64", false),
            ("", "linux_x86_64", "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", true),
            ("", "linux_x86_64", "cp311-cp311-manylinux_2_17_aarch64", false),
            ("", "linux_x86_64", "cp311-cp311-musllinux_1_1_x86_64", false),
            ("", "musllinux_x86_64", "cp311-cp311-musllinux_1_1_x86_64", true),
            ("", "macosx_arm64", "cp311-cp311-macosx_11_0_universal2", true),
            ("", "macosx_arm64", "cp311-cp311-macosx_11_0_x86_64", false),
            ("", "macosx_x86_64", "cp27-none-macosx_10_6_intel", true),
            ("", "win_amd64", "py3-none-win_amd64", true),
            ("", "win_amd64", "py3-none-win32", false),
            ("", "win32", "py3-none-win32", true),
            ("", "linux_x86_64", "py3-none-any", true),
        ] {
            assert_eq!(takes(python, platform, wheel), expected, "{python} {platform} {wheel}");
        }
    }

    #[test]
    fn only_names_of_platforms_are_platforms() {
        for text in [
            "",
            "linux",
            "linux_",
            "linux_2_x86_64",
            "manylinux_2_17_x86_64",
            "macosx_11_0_arm64",
            "win_A",
            "x_y",
        ] {
            assert_eq!(text.parse::<Platform>(), Err(DependencyError::Platform { text: text.to_owned() }));
        }
    }

    #[test]
    fn dependencies_are_read_from_metadata_and_bad_ones_refused() {
        let text = "Metadata-Version: 2.1\nRequires-Dist: B (>=1)\nrequires-dist: c[x,Y]>=2; extra == 'd'\nRequires-Dist: e @ https://f.example/e.zip\n\nRequires-Dist: body\n";
        let all = Dependency::of_metadata(text.as_bytes(), 1_000).unwrap();
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["b>=1", "c[x,y]>=2", "e @ https://f.example/e.zip"]);
        assert_eq!(all[2].source, Source::Elsewhere("https://f.example/e.zip".to_owned()));
        assert!(
            all[0].is_certain(&extras(&[]))
                && all[1].is_certain(&extras(&["d"]))
                && !all[1].is_certain(&extras(&[]))
        );
        assert!(matches!(
            Dependency::of_metadata(b"Requires-Dist: b or so\n", 1_000),
            Err(DependencyError::Grammar { .. })
        ));
        let long = format!("Requires-Dist: b{}\n", ">=1,".repeat(2_000));
        assert!(matches!(
            Dependency::of_metadata(long.as_bytes(), 10_000),
            Err(DependencyError::TooLong { found: 8_001 })
        ));
        let many = "Requires-Dist: b\n".repeat(MAX_DEPENDENCIES + 1);
        assert_eq!(
            Dependency::of_metadata(many.as_bytes(), many.len()),
            Err(DependencyError::TooMany { found: MAX_DEPENDENCIES + 1 })
        );
    }
}
