//! Which part of the repository a sample looks at: drawn by hash of a seed and each name, so that the same seed draws
//! the same part, and nobody who does not know the seed can tell which it will be.

use serde::Serialize;

use super::is_bin;
use crate::crypto::sha256;
use crate::tuf::lookup::Edge;
use crate::tuf::metadata::{Table, TargetFile};

/// Parts of the whole that a share is counted in.
const MILLION: u64 = 1_000_000;

/// How much a sample looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many files, from as many different bins as there are.
    Files(u64),
    /// So many millionths of the bins, each with all that it lists; at least one bin.
    Millionths(u32),
}

/// A random part of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How much.
    pub share: Share,
    /// Which part. To be drawn anew each time, except where it must be the same again.
    pub seed: u64,
}

/// What a sample did not look at. Left-over files and the names in `metadata/` are not looked at either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// Bins, with all they list: how many files that is, only they tell.
    pub bins: u64,
    /// Files of the bins that were read.
    pub files: u64,
}

/// Which files of a role are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files {
    All,
    Some { count: u64, seed: u64 },
}

/// The roles to be looked at, with what to look at of each; and how many are left out. Only bins are.
pub(super) fn drawn(sample: Option<Sample>, edges: Vec<Edge>) -> (Vec<(Edge, Files)>, u64) {
    let Some(Sample { share, seed }) = sample.filter(|_| edges.first().is_some_and(is_bin)) else {
        return (edges.into_iter().map(|edge| (edge, Files::All)).collect(), 0);
    };
    let all = count(edges.len());
    let bins = match share {
        Share::Files(files) => files.min(all),
        Share::Millionths(part) => all.saturating_mul(part.into()).div_ceil(MILLION).clamp(1, all),
    };
    let files = |at: u64| match share {
        Share::Files(files) => Files::Some { count: files / bins + u64::from(at < files % bins), seed },
        Share::Millionths(_) => Files::All,
    };
    let chosen = choose(edges, bins, seed, |edge| edge.role().as_str());
    ((0..).zip(chosen).map(|(at, edge)| (edge, files(at))).collect(), all - bins)
}

impl Files {
    /// The files to be looked at, and how many are left out.
    pub(super) fn of(self, targets: &Table<TargetFile>) -> (Vec<(&str, &TargetFile)>, u64) {
        let all: Vec<_> = targets.iter().collect();
        let Self::Some { count: wanted, seed } = self else { return (all, 0) };
        let total = count(all.len());
        (choose(all, wanted, seed, |(name, _)| name), total.saturating_sub(wanted))
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// So many of the items, in the order they are in.
fn choose<T>(items: Vec<T>, wanted: u64, seed: u64, name: impl Fn(&T) -> &str) -> Vec<T> {
    let rank = |item: &T| sha256(&[&seed.to_be_bytes(), name(item).as_bytes()].concat());
    let mut ranked: Vec<_> = items.into_iter().map(|item| (rank(&item), item)).enumerate().collect();
    ranked.sort_by_key(|(_, (rank, _))| *rank);
    ranked.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    ranked.sort_by_key(|(at, _)| *at);
    ranked.into_iter().map(|(_, (_, item))| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        (0..100).map(|number| number.to_string()).collect()
    }

    #[test]
    fn a_seed_draws_the_same_part_and_another_seed_another() {
        let draw = |seed| choose(names(), 10, seed, String::as_str);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).len(), 10);
        let mut sorted = draw(7);
        sorted.sort_by_key(|name| name.parse::<u32>().unwrap());
        assert_eq!(draw(7), sorted, "in the order they were in");
        assert_eq!(choose(names(), 1_000, 7, String::as_str), names());
    }

    #[test]
    fn every_item_is_drawn_by_some_seed() {
        let mut never = names();
        for seed in 0..100 {
            let drawn = choose(names(), 10, seed, String::as_str);
            never.retain(|name| !drawn.contains(name));
        }
        assert_eq!(never, [""; 0]);
    }
}
