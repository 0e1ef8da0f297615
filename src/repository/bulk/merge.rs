//! New targets and what a bin lists already, as the bin's next file.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::bins::BinMap;
use super::forge::{Bench, Content};
use super::import::ImportError;
use super::reader::Reader;
use super::record::Record;
use crate::repository::RepositoryError;
use crate::spill::{Spill, SpillError};
use crate::tuf::json::Json;
use crate::tuf::metadata::{Common, Extra, Hashes, TargetFile, Targets};
use crate::tuf::render::{Line, RenderError, bin};
use crate::tuf::signed::{Draft, Payload, Verified};

/// Bins whose present content is read at once by one worker.
pub(super) const READ_TOGETHER: usize = 32;

/// What became of the records of one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Targets that are new.
    pub(super) added: u64,
    /// Targets listed already, with the same hash and length.
    pub(super) present: u64,
    /// Records that repeat another.
    pub(super) repeated: u64,
}

/// Adds the records of a spill, sorted by the keys of `bins`, to what the bins list.
pub(super) struct Merge {
    pub(super) spill: Arc<Spill>,
    pub(super) bins: Arc<BinMap>,
    pub(super) reader: Reader,
    pub(super) tallies: Arc<Mutex<HashMap<usize, Tally>>>,
}

impl Content for Merge {
    fn group(&self, group: usize, wanted: &[usize], bench: &mut Bench) -> Result<(), RepositoryError> {
        let records = self.spill.partition(group)?;
        let mut runs: Vec<(usize, Vec<Record<'_>>)> = Vec::with_capacity(records.len().min(wanted.len()));
        for (key, bytes) in records.iter() {
            let (bin, record) = (self.bins.position(key), Record::read(bytes)?);
            match runs.last_mut() {
                Some((last, run)) if *last == bin => run.push(record),
                _ => runs.push((bin, vec![record])),
            }
        }
        runs.retain(|(bin, _)| wanted.binary_search(bin).is_ok());
        for some in runs.chunks(READ_TOGETHER) {
            let bins: Vec<usize> = some.iter().map(|(bin, _)| *bin).collect();
            let present = self.reader.read(&bins, bench.handle())?;
            for ((bin, records), present) in some.iter().zip(present) {
                self.one(*bin, records, &present, bench)?;
            }
        }
        Ok(())
    }
}

impl Merge {
    fn one(
        &self,
        bin: usize,
        records: &[Record<'_>],
        present: &Verified<Targets>,
        bench: &mut Bench,
    ) -> Result<(), RepositoryError> {
        let (new, tally) = select(records, present)?;
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).insert(bin, tally);
        if new.is_empty() {
            return Ok(());
        }
        let common = bench.common(bin, Some(&present.common));
        let (version, payload) = (common.version, render(common, present, &new)?);
        bench.put(bin, version, payload)
    }
}

/// Those of the sorted records that the bin does not list yet, each once; of a page the last that was made.
fn select<'a>(
    records: &[Record<'a>],
    present: &Targets,
) -> Result<(Vec<Record<'a>>, Tally), RepositoryError> {
    let (mut new, mut tally) = (Vec::<Record<'_>>::with_capacity(records.len()), Tally::default());
    let mut last: Option<&Record<'_>> = None;
    for record in records {
        if record.attempt().is_some() {
            match new.last_mut().filter(|last| last.path == record.path) {
                Some(page) if page.attempt() < record.attempt() => *page = *record,
                Some(_) => {}
                None => new.push(*record),
            }
            continue;
        }
        if let Some(last) = last.replace(record).filter(|last| last.path == record.path) {
            if !last.same(record) {
                let (path, first, second) = (record.path.to_owned(), last.line, record.line);
                let (first, second) = (first.min(second), first.max(second));
                return Err(ImportError::Contradiction { path, first, second }.into());
            }
            tally.repeated += 1;
            continue;
        }
        match present.targets.get(record.path) {
            None => new.push(*record),
            Some(file) if says_the_same(file, record) => tally.present += 1,
            Some(file) => return Err(contradicted(file, record)),
        }
    }
    let listed =
        |page: &Record<'_>| present.targets.get(page.path).is_some_and(|file| says_the_same(file, page));
    new.retain(|record| record.attempt().is_none() || !listed(record));
    let files = new.iter().filter(|record| record.attempt().is_none()).count();
    tally.added = u64::try_from(files).unwrap_or(u64::MAX);
    Ok((new, tally))
}

fn says_the_same(file: &TargetFile, record: &Record<'_>) -> bool {
    file.length == record.length && file.hashes.sha256.map(hex::encode).as_deref() == Some(record.sha256)
}

fn contradicted(file: &TargetFile, record: &Record<'_>) -> RepositoryError {
    let published = file.hashes.name().unwrap_or_else(|| "unknown".to_owned());
    ImportError::Published {
        line: record.line,
        path: record.path.to_owned(),
        published: format!("{published} ({} bytes)", file.length),
        found: format!("{} ({} bytes)", record.sha256, record.length),
    }
    .into()
}

/// The bin with the new records among what it lists.
pub(super) fn render(
    common: Common,
    present: &Targets,
    new: &[Record<'_>],
) -> Result<Payload, RepositoryError> {
    let plain = present.delegations.is_none() && present.targets.values().all(is_plain);
    if !plain {
        return by_draft(common, present, new);
    }
    let customs = new.iter().map(Record::custom).collect::<Result<Vec<_>, SpillError>>()?;
    let pages = new.iter().filter(|record| record.attempt().is_some()).map(|page| page.path);
    let replaced: HashSet<&str> = pages.filter(|path| present.targets.contains_key(path)).collect();
    let hashes: Vec<String> = present.targets.values().map(hash_text).collect();
    let old = present.targets.iter().zip(&hashes).filter(|((path, _), _)| !replaced.contains(path));
    let old = old.map(|((path, file), sha256)| Line {
        path,
        length: file.length,
        sha256,
        custom: file.extra.first().map(|(_, custom)| custom),
    });
    let new = new.iter().zip(&customs).map(|(record, custom)| Line {
        path: record.path,
        length: record.length,
        sha256: record.sha256,
        custom: custom.as_ref(),
    });
    let mut lines: Vec<Line<'_>> = new.collect();
    if !hashes.is_empty() {
        lines.extend(old);
        lines.sort_unstable_by(|a, b| a.path.cmp(b.path));
    }
    bin(&common, lines).map_err(|error| unrendered(&error))
}

fn unrendered(error: &RenderError) -> RepositoryError {
    RepositoryError::Plan(error.to_string())
}

/// Whether an entry is what this project writes: SHA-256, length, perhaps `custom`.
pub(super) fn is_plain(file: &TargetFile) -> bool {
    let hashes = &file.hashes;
    let sha256_alone = hashes.sha256.is_some() && hashes.sha512.is_none() && hashes.other.is_empty();
    sha256_alone
        && (file.extra.is_empty() || matches!(file.extra.as_slice(), [(name, _)] if name == "custom"))
}

fn hash_text(file: &TargetFile) -> String {
    file.hashes.sha256.map(hex::encode).unwrap_or_default()
}

/// The same for a bin with entries of any other kind, which are kept.
fn by_draft(common: Common, present: &Targets, new: &[Record<'_>]) -> Result<Payload, RepositoryError> {
    let mut content = Targets { common, ..present.clone() };
    for record in new {
        let mut digest = [0; 32];
        hex::decode_to_slice(record.sha256, &mut digest).map_err(|_| SpillError::Damaged)?;
        let custom = record.custom()?.map(|custom| ("custom".into(), Json::into_owned(custom)));
        let extra: Extra = custom.into_iter().collect();
        let file = TargetFile { length: record.length, hashes: Hashes::sha256(digest), extra };
        content.targets.insert(record.path, file);
    }
    Ok(Draft::new(content).payload())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn record(path: &str) -> Record<'_> {
        Record { path, sha256: SHA256, length: 7, line: 1, custom: "" }
    }

    fn file(extra: &[(&'static str, Json<'static>)]) -> TargetFile {
        let extra = extra.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        TargetFile { length: 5, hashes: Hashes::sha256([9; 32]), extra }
    }

    fn common() -> Common {
        Common::new(3, "2030-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_merged_bin_is_what_a_draft_would_be_whatever_it_lists() {
        let custom = Json::object([("a", Json::int(1))]);
        let odd = ("x", Json::Null);
        for present in [
            vec![],
            vec![("a", file(&[])), ("n", file(&[("custom", custom.clone())]))],
            vec![("a", file(std::slice::from_ref(&odd)))],
        ] {
            let targets = present.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect();
            let present = Targets { common: common(), targets, delegations: None };
            let marked = Record { custom: "{\"m\":true}", ..record("z \"quoted\"") };
            let new = [record("b"), record("m/n"), marked];
            let rendered = render(common(), &present, &new).unwrap();
            assert_eq!(rendered, by_draft(common(), &present, &new).unwrap());
        }
    }

    #[test]
    fn of_a_page_the_last_attempt_counts_and_takes_the_place_of_what_is_listed() {
        let targets = [("a", file(&[])), ("p", file(&[]))].into_iter().collect();
        let present = Targets { common: common(), targets, delegations: None };
        let (ones, nines) = ("01".repeat(32), "09".repeat(32));
        let (first, second) = (Record::page("p", SHA256, 7, 0), Record::page("p", &ones, 8, 1));
        for records in [[first, second], [second, first]] {
            let (new, tally) = select(&records, &present).unwrap();
            assert_eq!((new.as_slice(), tally), ([second].as_slice(), Tally::default()));
            let rendered = render(common(), &present, &new).unwrap();
            assert_eq!(rendered, by_draft(common(), &present, &new).unwrap());
        }
        let as_listed = Record::page("p", &nines, 5, 2);
        assert_eq!(select(&[first, as_listed], &present).unwrap().0, []);
    }

    #[test]
    fn records_are_taken_once_and_contradictions_refused() {
        let targets = [("old", file(&[]))].into_iter().collect();
        let present = Targets { common: common(), targets, delegations: None };
        let nines = "09".repeat(32);
        let old = Record { path: "old", sha256: &nines, length: 5, line: 4, custom: "" };
        let again = Record { line: 9, ..record("a") };
        let (new, tally) = select(&[record("a"), again, record("b"), old], &present).unwrap();
        assert_eq!(new, [record("a"), record("b")]);
        assert_eq!(tally, Tally { added: 2, present: 1, repeated: 1 });
        let other = Record { length: 8, ..again };
        let refused = select(&[other, record("a")], &present).unwrap_err();
        let expected = ImportError::Contradiction { path: "a".to_owned(), first: 1, second: 9 };
        assert_eq!(refused, expected.into());
        let refused = select(&[Record { length: 6, ..old }], &present).unwrap_err();
        let expected = ImportError::Published {
            line: 4,
            path: "old".to_owned(),
            published: format!("{nines} (5 bytes)"),
            found: format!("{nines} (6 bytes)"),
        };
        assert_eq!(refused, expected.into());
    }
}
