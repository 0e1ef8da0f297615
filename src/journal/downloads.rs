//! Sums of downloads: per file, day, country, tool and version. No request is ever written, nor can one be found by
//! looking at the sums twice.
//!
//! # Rules
//!
//! 1. A count is written in whole fives ([`LEAST`]). What is left over waits in memory for more of its kind. So every
//!    number in a file is a multiple of five, and so is every change of one.
//! 2. At the end of a day, and of the process, what is left over is folded: first the version is left out, then the
//!    country, the tool, the file, the project, and whole fives are written at each step. What is left of the whole
//!    index, four at most, is dropped.
//!
//! Five requests may be one person's: a sum says nothing about persons, in either direction.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::event::Word;
use super::tool::{Tool, ToolVersion};
use super::values::{Country, FileName};
use super::{Journal, JournalError};
use crate::python::ProjectName;

/// Requests that a number is made of, at least, and by which it grows.
const LEAST: u64 = 5;
/// Cells in memory, at most; more are counted for the whole index.
const MAX_CELLS: usize = 100_000;
/// Cells of a day's file, at most; more are counted under a wider one that is there.
const MAX_DAY_CELLS: usize = 100_000;
/// Bytes of a day's file, at most: some 400 for each cell.
const MAX_FILE: u64 = 64 * 1_024 * 1_024;
const FORMAT: &str = "wheelseal-downloads-1";

/// What was downloaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Anything.
    #[default]
    Index,
    /// Any file of a project.
    Project(ProjectName),
    /// A file.
    File(FileName),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("all"),
            Self::Project(project) => write!(f, "{project} (all)"),
            Self::File(file) => file.fmt(f),
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// What.
    pub of: Of,
    /// With which tool.
    pub tool: Option<Tool>,
    /// In which country.
    pub country: Option<Country>,
    /// With which version of the tool.
    pub version: Option<ToolVersion>,
}

impl Cell {
    /// The project, if it is of one alone.
    pub fn project(&self) -> Option<&ProjectName> {
        match &self.of {
            Of::Index => None,
            Of::Project(project) => Some(project),
            Of::File(file) => Some(file.project()),
        }
    }

    /// The next wider one.
    fn wider(&self) -> Option<Self> {
        let mut wider = self.clone();
        if wider.version.take().is_some() || wider.country.take().is_some() || wider.tool.take().is_some() {
            return Some(wider);
        }
        wider.of = match wider.of {
            Of::File(file) => Of::Project(file.project().clone()),
            Of::Project(_) => Of::Index,
            Of::Index => return None,
        };
        Some(wider)
    }
}

/// Counts in memory.
#[derive(Debug, Default)]
pub struct Downloads {
    days: Mutex<BTreeMap<NaiveDate, BTreeMap<Cell, u64>>>,
}

impl Downloads {
    /// Counts one.
    pub fn count(&self, day: NaiveDate, cell: Cell) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = days.values().map(BTreeMap::len).sum();
        let cells = days.entry(day).or_default();
        let cell = if held < MAX_CELLS || cells.contains_key(&cell) { cell } else { Cell::default() };
        *cells.entry(cell).or_default() += 1;
    }

    /// Takes out what may be written: of `today` whole fives, of other days everything, folded. With `end`, today is over
    /// too.
    pub(super) fn take(&self, today: NaiveDate, end: bool) -> BTreeMap<NaiveDate, BTreeMap<Cell, u64>> {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = BTreeMap::new();
        for (day, mut cells) in std::mem::take(&mut *days) {
            if day == today && !end {
                taken.insert(day, cells.iter_mut().filter_map(whole).collect::<BTreeMap<_, _>>());
                cells.retain(|_, count| *count > 0);
                days.insert(day, cells);
            } else {
                taken.insert(day, folded(cells));
            }
        }
        taken.retain(|_, cells| !cells.is_empty());
        taken
    }
}

/// The whole fives of a cell, which has the rest afterwards.
fn whole((cell, count): (&Cell, &mut u64)) -> Option<(Cell, u64)> {
    let rest = *count % LEAST;
    let fives = *count - rest;
    *count = rest;
    (fives > 0).then(|| (cell.clone(), fives))
}

fn folded(mut cells: BTreeMap<Cell, u64>) -> BTreeMap<Cell, u64> {
    let mut written = BTreeMap::new();
    while !cells.is_empty() {
        // The narrowest first: nothing is added to them any more.
        let depth = cells.keys().map(depth).max().unwrap_or_default();
        let (narrow, rest): (BTreeMap<_, _>, _) =
            cells.into_iter().partition(|(cell, _)| self::depth(cell) == depth);
        cells = rest;
        for (cell, mut count) in narrow {
            written.extend(whole((&cell, &mut count)));
            if let Some(wider) = cell.wider().filter(|_| count > 0) {
                *cells.entry(wider).or_default() += count;
            }
        }
    }
    written
}

/// How many steps it is to the whole index.
fn depth(cell: &Cell) -> usize {
    let of = match cell.of {
        Of::Index => 0,
        Of::Project(_) => 1,
        Of::File(_) => 2,
    };
    of + [cell.tool.is_some(), cell.country.is_some(), cell.version.is_some()]
        .iter()
        .filter(|is| **is)
        .count()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    cells: Vec<WireCell>,
    format: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCell {
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl WireCell {
    fn new(cell: &Cell, count: u64) -> Self {
        let (project, file) = match &cell.of {
            Of::Index => (None, None),
            Of::Project(project) => (Some(project.to_string()), None),
            Of::File(file) => (None, Some(file.to_string())),
        };
        let (country, version) = (cell.country.as_ref(), cell.version.as_ref());
        Self {
            count,
            country: country.map(ToString::to_string),
            file,
            project,
            tool: cell.tool.map(|tool| tool.word().to_owned()),
            version: version.map(ToString::to_string),
        }
    }

    fn cell(&self) -> Option<Cell> {
        let of = match (&self.project, &self.file) {
            (None, None) => Of::Index,
            (Some(project), None) => Of::Project(ProjectName::from_normalised(project).ok()?),
            (None, Some(file)) => Of::File(file.parse().ok()?),
            (Some(_), Some(_)) => return None,
        };
        let tool = self.tool.as_ref().map(|tool| Tool::of(tool).ok_or(())).transpose().ok()?;
        let country = self.country.as_ref().map(|country| country.parse()).transpose().ok()?;
        let version = self.version.as_ref().map(|version| version.parse()).transpose().ok()?;
        Some(Cell { of, tool, country, version })
    }
}

impl Journal {
    /// Adds counts to those of their days.
    pub(super) fn add_downloads(
        &self,
        days: BTreeMap<NaiveDate, BTreeMap<Cell, u64>>,
    ) -> Result<(), JournalError> {
        if days.is_empty() {
            return Ok(());
        }
        let locked = self.folder.lock()?;
        for (day, cells) in days {
            let mut sums = self.downloads_of(day)?;
            for (mut cell, count) in cells {
                while sums.len() >= MAX_DAY_CELLS
                    && !sums.contains_key(&cell)
                    && let Some(wider) = cell.wider()
                {
                    cell = wider;
                }
                let sum = sums.entry(cell).or_default();
                *sum = sum.saturating_add(count);
            }
            let cells = sums.iter().map(|(cell, count)| WireCell::new(cell, *count)).collect();
            let wire = Wire { cells, format: FORMAT.to_owned() };
            // Strings and numbers alone: there is nothing that JSON cannot write.
            locked.replace(&name(day), serde_json::to_string(&wire).unwrap_or_default().as_bytes())?;
        }
        Ok(())
    }

    /// The sums of a day.
    pub fn downloads_of(&self, day: NaiveDate) -> Result<BTreeMap<Cell, u64>, JournalError> {
        let Some(bytes) = self.folder.read(&name(day), MAX_FILE)? else { return Ok(BTreeMap::new()) };
        let malformed = |reason: &str| JournalError::Malformed {
            path: self.path().join(name(day)).display().to_string(),
            reason: reason.to_owned(),
        };
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| malformed(&error.to_string()))?;
        if wire.format != FORMAT {
            return Err(malformed("it has another format"));
        }
        let cell = |wire: &WireCell| Some((wire.cell()?, wire.count));
        wire.cells
            .iter()
            .map(cell)
            .collect::<Option<_>>()
            .ok_or_else(|| malformed("a cell has another shape"))
    }

    /// The days that have sums, in order.
    pub fn days_of_downloads(&self) -> Result<Vec<NaiveDate>, JournalError> {
        Ok(self.folder.names()?.iter().filter_map(|name| day(name)).collect())
    }
}

pub(super) fn name(day: NaiveDate) -> String {
    format!("downloads-{day}.json")
}

fn day(file: &str) -> Option<NaiveDate> {
    let day = file.strip_prefix("downloads-")?.strip_suffix(".json")?.parse().ok()?;
    (name(day) == file).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2030, 1, day).unwrap()
    }

    fn cell(file: &str, country: &str, version: &str) -> Cell {
        Cell {
            of: Of::File(file.parse().unwrap()),
            tool: Some(Tool::Pip),
            country: country.parse().ok(),
            version: version.parse().ok(),
        }
    }

    fn counted(cells: &[(&Cell, u64)]) -> Downloads {
        let downloads = Downloads::default();
        for (cell, times) in cells {
            (0..*times).for_each(|_| downloads.count(on(1), (*cell).clone()));
        }
        downloads
    }

    const SIX: &str = "six-1.0.tar.gz";

    #[test]
    fn during_a_day_whole_fives_are_written_and_the_rest_waits() {
        let (pt, de) = (cell(SIX, "PT", "24.0"), cell(SIX, "DE", "24.0"));
        let downloads = counted(&[(&pt, 12), (&de, 4)]);
        assert_eq!(downloads.take(on(1), false), [(on(1), [(pt.clone(), 10)].into())].into());
        assert_eq!(downloads.take(on(1), false), BTreeMap::new());
        (0..3).for_each(|_| downloads.count(on(1), pt.clone()));
        assert_eq!(downloads.take(on(1), false), [(on(1), [(pt, 5)].into())].into());
    }

    #[test]
    fn at_the_end_of_a_day_what_is_left_is_folded_and_no_number_is_below_five() {
        let wide = |cell: &Cell, version: bool, country: bool| {
            let mut wide = cell.clone();
            wide.version = wide.version.filter(|_| version);
            wide.country = wide.country.filter(|_| country);
            wide
        };
        let (a, b, c) = (cell(SIX, "PT", "24.0"), cell(SIX, "PT", "24.1"), cell(SIX, "DE", "24.1"));
        let other = cell("seven-1.0.tar.gz", "PT", "24.0");
        // Portugal: 3 + 4 = 7, so 5 without a version and 2 over; with Germany's 3, 5 without a country.
        let downloads = counted(&[(&a, 3), (&b, 4), (&c, 3), (&other, 4)]);
        let taken = downloads.take(on(2), false).remove(&on(1)).unwrap();
        assert_eq!(taken, [(wide(&a, false, true), 5), (wide(&a, false, false), 5)].into());
        // Four of seven alone are nothing: not even that seven was downloaded is written.
        assert_eq!(downloads.take(on(2), true), BTreeMap::new());
    }

    #[test]
    fn files_of_one_project_fold_into_it_and_projects_into_the_index() {
        let (one, two) = (cell(SIX, "PT", "24.0"), cell("six-2.0.tar.gz", "DE", "24.1"));
        let other = cell("seven-1.0.tar.gz", "PT", "24.0");
        let taken = counted(&[(&one, 4), (&two, 4), (&other, 3)]).take(on(1), true).remove(&on(1)).unwrap();
        let six = Cell { of: Of::Project("six".parse().unwrap()), ..Cell::default() };
        assert_eq!(taken, [(six, 5), (Cell::default(), 5)].into());
    }

    proptest::proptest! {
        /// Whatever was counted, and however often it was looked at: only whole fives, four at most are lost in a day.
        #[test]
        fn every_number_grows_by_five_at_least_and_nearly_all_is_counted(
            requests in proptest::collection::vec((0..4_usize, 0..3_usize, 0..3_usize, proptest::bool::ANY), 0..200)
        ) {
            let downloads = Downloads::default();
            let mut total = 0;
            let mut written = BTreeMap::<Cell, u64>::new();
            let mut add = |taken: BTreeMap<NaiveDate, BTreeMap<Cell, u64>>| {
                for (cell, count) in taken.into_values().flatten() {
                    assert!(count > 0 && count % LEAST == 0, "{cell:?} {count}");
                    *written.entry(cell).or_default() += count;
                }
            };
            for (file, country, version, look) in requests {
                let file = ["a-1.tar.gz", "a-2.tar.gz", "b-1.tar.gz", "c-1.tar.gz"][file];
                downloads.count(on(1), cell(file, ["PT", "DE", ""][country], ["24.0", "24.1", ""][version]));
                total += 1;
                if look {
                    add(downloads.take(on(1), false));
                }
            }
            add(downloads.take(on(1), true));
            let sum: u64 = written.values().sum();
            assert!(sum <= total && total - sum < LEAST, "{sum} of {total}");
            assert_eq!(downloads.take(on(1), true), BTreeMap::new());
        }
    }

    #[test]
    fn sums_of_several_processes_are_added() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal"), &[]).unwrap();
        let (a, b) = (cell(SIX, "PT", "24.0"), cell(SIX, "", ""));
        journal.add_downloads([(on(1), [(a.clone(), 5)].into())].into()).unwrap();
        journal.add_downloads([(on(1), [(a.clone(), 10), (b.clone(), 5)].into())].into()).unwrap();
        assert_eq!(journal.downloads_of(on(1)).unwrap(), [(a, 15), (b, 5)].into());
        assert_eq!(journal.days_of_downloads().unwrap(), [on(1)]);
    }
}
