//! [`Paths`]: whether a path stands twice among millions, in bounded memory: sorted on the local disk.

use crate::crypto::sha256;
use crate::spill::{BUDGET, PARTITIONS, Spill, SpillError};

/// Paths with the numbers of their leaves. A record is 16 bytes of a path's SHA-256, half of them its key, and the number.
#[derive(Debug)]
pub(super) struct Paths(Spill);

impl Default for Paths {
    fn default() -> Self {
        Self(Spill::new(PARTITIONS, BUDGET))
    }
}

impl Paths {
    pub(super) fn push(&mut self, path: &str, index: u64) -> Result<(), SpillError> {
        let digest = sha256(path.as_bytes());
        let (key, rest) = digest.split_first_chunk().ok_or(SpillError::Damaged)?;
        let record: Vec<u8> = rest.iter().copied().take(8).chain(index.to_be_bytes()).collect();
        self.0.push(u64::from_be_bytes(*key), &record)
    }

    /// Two leaves of one path, if there are such: their numbers, the smaller first.
    pub(super) fn twice(self) -> Result<Option<(u64, u64)>, SpillError> {
        for partition in 0..self.0.partitions() {
            let records = self.0.partition(partition)?;
            let mut last: Option<((u64, &[u8]), u64)> = None;
            for (key, record) in records.iter() {
                let (hash, number) = record.split_last_chunk().ok_or(SpillError::Damaged)?;
                let (path, number) = ((key, hash), u64::from_be_bytes(*number));
                if let Some((_, first)) = last.filter(|(before, _)| *before == path) {
                    return Ok(Some((first, number)));
                }
                last = Some((path, number));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(budget: usize, paths: &[u64]) -> Option<(u64, u64)> {
        let mut all = Paths(Spill::new(PARTITIONS, budget));
        for (index, path) in (0..).zip(paths) {
            all.push(&path.to_string(), index).unwrap();
        }
        all.twice().unwrap()
    }

    #[test]
    fn a_path_that_stands_twice_is_found_wherever_it_stands() {
        for budget in [1, 10_000, BUDGET] {
            let mut paths: Vec<u64> = (0..20_000).collect();
            assert_eq!(of(budget, &paths[..1_000]), None, "{budget} bytes");
            paths[19_998] = 17;
            assert_eq!(of(budget, &paths), Some((17, 19_998)), "{budget} bytes");
            paths[700] = 699;
            assert_eq!(of(budget, &paths[..1_000]), Some((699, 700)), "{budget} bytes");
        }
        assert_eq!(of(1, &[]), None);
        assert_eq!(of(1, &[5, 5]), Some((0, 1)));
    }
}
