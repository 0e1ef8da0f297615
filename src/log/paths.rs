//! [`Paths`]: whether a path stands twice among millions, in bounded memory: sorted in runs on the local disk, which are
//! then merged.
//!
//! A record is 16 bytes of a path's SHA-256 and the number of its leaf. Memory: one run; disk: 24 bytes a path.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::entries::EntriesError;
use crate::crypto::sha256;

/// Bytes of a record.
const RECORD: usize = 24;
/// Records of a run: 48 MiB.
const RUN: usize = 2 * 1024 * 1024;
/// Records read at once from a run that is merged: 96 KiB.
const PART: usize = 4 * 1024;

/// Paths with the numbers of their leaves.
#[derive(Debug)]
pub(super) struct Paths {
    run: Vec<[u8; RECORD]>,
    most: usize,
    /// Records in each run in the file, one after another.
    runs: Vec<usize>,
    file: Option<File>,
    end: u64,
}

impl Default for Paths {
    fn default() -> Self {
        Self::with_runs_of(RUN)
    }
}

impl Paths {
    fn with_runs_of(most: usize) -> Self {
        Self { run: Vec::new(), most, runs: Vec::new(), file: None, end: 0 }
    }

    pub(super) fn push(&mut self, path: &str, index: u64) -> Result<(), EntriesError> {
        let mut record = [0; RECORD];
        let bytes = sha256(path.as_bytes()).into_iter().take(16).chain(index.to_be_bytes());
        record.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        self.run.push(record);
        if self.run.len() >= self.most { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), EntriesError> {
        self.run.sort_unstable();
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile().map_err(|error| EntriesError::io("make", &error))?,
        };
        let file = self.file.insert(file);
        for part in self.run.chunks(PART) {
            let bytes = part.as_flattened();
            file.write_all_at(bytes, self.end).map_err(|error| EntriesError::io("write", &error))?;
            self.end = self.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        self.runs.push(self.run.len());
        self.run.clear();
        Ok(())
    }

    /// Two leaves of one path, if there are such: their numbers, the smaller first.
    pub(super) fn twice(mut self) -> Result<Option<(u64, u64)>, EntriesError> {
        self.run.sort_unstable();
        let Some(file) = self.file else {
            let mut pairs = self.run.array_windows().filter_map(|[one, next]| same(one, next));
            return Ok(pairs.next());
        };
        let mut runs: Vec<Run<'_>> = Vec::with_capacity(self.runs.len() + 1);
        let mut at = 0;
        for left in self.runs {
            runs.push(Run { file: &file, at, left, part: Vec::new() });
            at = at.saturating_add(u64::try_from(left * RECORD).unwrap_or(u64::MAX));
        }
        self.run.reverse();
        runs.push(Run { file: &file, at, left: 0, part: self.run });
        merged(runs)
    }
}

fn merged(mut runs: Vec<Run<'_>>) -> Result<Option<(u64, u64)>, EntriesError> {
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter_mut().enumerate() {
        heap.extend(run.next()?.map(|record| Reverse((record, number))));
    }
    let mut last = None;
    while let Some(Reverse((record, number))) = heap.pop() {
        if let Some(pair) = last.and_then(|last| same(&last, &record)) {
            return Ok(Some(pair));
        }
        last = Some(record);
        if let Some(run) = runs.get_mut(number) {
            heap.extend(run.next()?.map(|record| Reverse((record, number))));
        }
    }
    Ok(None)
}

/// The numbers of two records, if their paths are the same.
fn same(one: &[u8; RECORD], next: &[u8; RECORD]) -> Option<(u64, u64)> {
    let (path, first) = one.split_last_chunk()?;
    let (other, second) = next.split_last_chunk()?;
    (path == other).then(|| (u64::from_be_bytes(*first), u64::from_be_bytes(*second)))
}

/// A sorted run that is read in parts.
struct Run<'a> {
    file: &'a File,
    at: u64,
    /// Records not read yet.
    left: usize,
    /// Records read, the next one last.
    part: Vec<[u8; RECORD]>,
}

impl Run<'_> {
    fn next(&mut self) -> Result<Option<[u8; RECORD]>, EntriesError> {
        if self.part.is_empty() && self.left > 0 {
            let count = self.left.min(PART);
            let mut part = vec![[0; RECORD]; count];
            let bytes = part.as_flattened_mut();
            self.file.read_exact_at(bytes, self.at).map_err(|error| EntriesError::io("read", &error))?;
            self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.left -= count;
            part.reverse();
            self.part = part;
        }
        Ok(self.part.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(run: usize, paths: &[u64]) -> Option<(u64, u64)> {
        let mut all = Paths::with_runs_of(run);
        for (index, path) in (0..).zip(paths) {
            all.push(&path.to_string(), index).unwrap();
        }
        all.twice().unwrap()
    }

    #[test]
    fn a_path_that_stands_twice_is_found_wherever_it_stands() {
        for run in [1, 3, 7, 10_000, 100_000] {
            let mut paths: Vec<u64> = (0..20_000).collect();
            assert_eq!(of(run, &paths[..1_000]), None, "runs of {run}");
            paths[19_998] = 17;
            let few = if run < 10 { &paths[19_000..] } else { &paths[..] };
            assert_eq!(of(run, few), if run < 10 { None } else { Some((17, 19_998)) }, "runs of {run}");
            paths[700] = 699;
            assert_eq!(of(run, &paths[..1_000]), Some((699, 700)), "runs of {run}");
        }
        assert_eq!(of(1, &[]), None);
        assert_eq!(of(1, &[5, 5]), Some((0, 1)));
    }
}
