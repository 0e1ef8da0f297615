//! Which bin a target path belongs to, for millions of paths: a table over the first 16 bits of the path's digest,
//! whichever way the bins are delegated to.

use crate::repository::RepositoryError;
use crate::tuf::metadata::{DelegatedRole, DelegatedRoles, PathSet, Targets};
use crate::tuf::path::RoleName;

/// Bits of the digest that a table looks at; more bins than 2^16 make snapshot too large.
const TABLE_BITS: u32 = 16;
/// No bin answers for such a digest.
const NOBODY: u32 = u32::MAX;

/// All bins, in order of delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BinMap {
    names: Vec<RoleName>,
    /// By the first 16 bits of a digest: the position of the first bin that answers for it.
    table: Vec<u32>,
}

impl BinMap {
    /// The bins that `bins` delegates to. Refused: patterns, and more than 16 bits.
    pub(super) fn of(bins: &Targets) -> Result<Self, RepositoryError> {
        match bins.delegations.as_ref().map(|delegations| &delegations.roles) {
            None => Err(RepositoryError::Missing("the delegations of bins".to_owned())),
            Some(DelegatedRoles::Listed(roles)) => Self::listed(roles),
            Some(DelegatedRoles::Succinct(succinct)) => {
                let spare = TABLE_BITS.checked_sub(succinct.bit_length).ok_or_else(too_fine)?;
                let names = (0..succinct.count()).map(|index| succinct.role_at(index));
                let names = names.collect::<Result<Vec<_>, _>>()?;
                let table = (0..1_u32 << TABLE_BITS).map(|first| first >> spare).collect();
                Ok(Self { names, table })
            }
        }
    }

    fn listed(roles: &[DelegatedRole]) -> Result<Self, RepositoryError> {
        let mut table = vec![NOBODY; 1 << TABLE_BITS];
        for (bin, role) in (0_u32..).zip(roles) {
            let PathSet::HashPrefixes(prefixes) = &role.paths else { return Err(too_fine()) };
            for prefix in prefixes {
                let digits = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
                let spare = TABLE_BITS.checked_sub(digits.saturating_mul(4)).ok_or_else(too_fine)?;
                // A prefix that is no number in lower case matches no digest.
                let lower = prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let number = if prefix.is_empty() { Some(0) } else { u32::from_str_radix(prefix, 16).ok() };
                let Some(first) = number.filter(|_| lower).map(|number| number << spare) else { continue };
                for digest in first..first + (1 << spare) {
                    let slot = usize::try_from(digest).ok().and_then(|digest| table.get_mut(digest));
                    if let Some(slot) = slot.filter(|slot| **slot == NOBODY) {
                        *slot = bin;
                    }
                }
            }
        }
        let names = roles.iter().map(|role| role.name.clone()).collect();
        Ok(Self { names, table })
    }

    /// Whether some digest has no bin.
    pub(super) fn leaves_out(&self) -> bool {
        self.table.contains(&NOBODY)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a bin by position.
    pub(super) fn name(&self, bin: usize) -> Result<&RoleName, RepositoryError> {
        self.names.get(bin).ok_or_else(|| RepositoryError::Missing(format!("bin number {bin}")))
    }

    /// The position of the bin that answers for a path with this digest.
    pub(super) fn bin(&self, digest: &[u8; 32]) -> Option<usize> {
        let [high, low, ..] = digest;
        let bin = self.table.get((usize::from(*high) << 8) | usize::from(*low))?;
        usize::try_from(*bin).ok().filter(|bin| *bin < self.names.len())
    }

    /// The same as a sorting key, in whose top bits the position is.
    pub(super) fn key(&self, digest: &[u8; 32]) -> Option<u64> {
        u64::try_from(self.bin(digest)?).ok()?.checked_shl(64 - self.bits())
    }

    /// The position in a sorting key.
    pub(super) fn position(&self, key: u64) -> usize {
        usize::try_from(key >> (64 - self.bits())).unwrap_or(usize::MAX)
    }

    /// Into how many groups of neighbours they are best taken apart: at most `most`, a power of two.
    pub(super) fn groups(&self, most: usize) -> usize {
        most.min(1 << self.bits())
    }

    /// The group that a bin is in.
    pub(super) fn group_of(&self, bin: usize, groups: usize) -> usize {
        bin / ((1 << self.bits()) / groups.max(1)).max(1)
    }

    /// Bits that number them, at least 1.
    fn bits(&self) -> u32 {
        self.names.len().next_power_of_two().trailing_zeros().max(1)
    }
}

fn too_fine() -> RepositoryError {
    RepositoryError::Plan(
        "these bins are not told apart by the first 16 bits of path hashes alone".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tuf::metadata::{Common, Delegations, Extra, SuccinctRoles};
    use crate::tuf::path::TargetPath;

    fn targets(roles: DelegatedRoles) -> Targets {
        let delegations = Delegations { keys: BTreeMap::new(), roles, extra: Extra::new() };
        let common = Common::new(1, "2030-01-01T00:00:00Z".parse().unwrap());
        Targets { common, targets: std::iter::empty::<(&str, _)>().collect(), delegations: Some(delegations) }
    }

    fn succinct(bit_length: u32) -> DelegatedRoles {
        let (keyids, extra) = (Vec::new(), Extra::new());
        DelegatedRoles::Succinct(SuccinctRoles {
            keyids,
            threshold: 1,
            bit_length,
            name_prefix: "bins".into(),
            extra,
        })
    }

    fn listed(roles: &[(&str, &[&str])]) -> DelegatedRoles {
        let role = |(name, prefixes): &(&str, &[&str])| DelegatedRole {
            name: RoleName::delegated(*name).unwrap(),
            keyids: Vec::new(),
            threshold: 1,
            terminating: false,
            paths: PathSet::HashPrefixes(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect()),
            extra: Extra::new(),
        };
        DelegatedRoles::Listed(roles.iter().map(role).collect::<Vec<_>>().into())
    }

    #[test]
    fn the_table_agrees_with_the_delegations_themselves() {
        let wide: Vec<String> = (0..256).map(|n| format!("{n:02x}")).collect();
        let (low, high) = wide.split_at(128);
        let low: Vec<&str> = low.iter().map(String::as_str).collect();
        let high: Vec<&str> = high.iter().map(String::as_str).collect();
        let sixteen: Vec<(String, String)> =
            (0..16).map(|n| (format!("b-{n:x}"), format!("{n:x}"))).collect();
        let sixteen: Vec<_> =
            sixteen.iter().map(|(name, prefix)| (name.as_str(), [prefix.as_str()])).collect();
        let sixteen: Vec<_> = sixteen.iter().map(|(name, prefix)| (*name, prefix.as_slice())).collect();
        let styles = [
            succinct(1),
            succinct(5),
            succinct(14),
            succinct(16),
            listed(&[("low", &low), ("high", &high)]),
            listed(&sixteen),
            // The first that answers wins; the empty prefix is everything.
            listed(&[("some", &["0a", "0abc", "F0", "zz"]), ("rest", &[""])]),
        ];
        for roles in styles {
            let targets = targets(roles);
            let map = BinMap::of(&targets).unwrap();
            for index in 0..2_000 {
                let path = TargetPath::new(format!("project-{index}/file")).unwrap();
                let matched = targets.delegations.as_ref().unwrap().matching(&path).unwrap();
                let bin = map.bin(&path.digest()).unwrap();
                assert_eq!(*map.name(bin).unwrap(), matched[0].role);
                assert_eq!(map.position(map.key(&path.digest()).unwrap()), bin);
            }
        }
    }

    #[test]
    fn a_bin_is_in_the_group_of_its_keys_top_bits() {
        let three = listed(&[("a", &["0"]), ("b", &["1"]), ("c", &["2"])]);
        for (roles, most, expected) in [(succinct(1), 256, 2), (succinct(3), 4, 4), (three, 256, 4)] {
            let map = BinMap::of(&targets(roles)).unwrap();
            let groups = map.groups(most);
            assert_eq!(groups, expected);
            for first in 0..0x30 {
                let digest = [first; 32];
                let (bin, key) = (map.bin(&digest).unwrap(), map.key(&digest).unwrap());
                let top = usize::try_from(key >> (64 - groups.trailing_zeros())).unwrap();
                assert_eq!(map.group_of(bin, groups), top);
            }
        }
    }

    #[test]
    fn what_nobody_answers_for_has_no_bin_and_finer_bins_are_refused() {
        let map = BinMap::of(&targets(listed(&[("some", &["00"])]))).unwrap();
        assert_eq!(map.bin(&[1; 32]), None);
        assert_eq!(map.key(&[1; 32]), None);
        assert!(BinMap::of(&targets(succinct(17))).is_err());
        assert!(BinMap::of(&targets(listed(&[("some", &["00000"])]))).is_err());
    }
}
