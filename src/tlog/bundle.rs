//! Entry bundles (c2sp.org/tlog-tiles, "Log entries"): 256 entries to a file, each after its length in two bytes, the
//! larger first. The bundle beside a tile of level 0 has the entries whose hashes are in that tile.

use thiserror::Error;

use super::tile::FULL_WIDTH;

/// Bytes of an entry, at most: what two bytes of length can say.
pub const MAX_ENTRY_LEN: usize = 0xffff;

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// The entry does not fit.
    #[error("an entry of {found} bytes, at most {MAX_ENTRY_LEN} are possible")]
    EntryTooLong {
        /// Bytes of the entry.
        found: usize,
    },
    /// The bundle ends inside an entry.
    #[error("the bundle ends inside entry {number}")]
    Truncated {
        /// Number of the entry in the bundle, from 0.
        number: usize,
    },
    /// Not as many entries as the name of the bundle says.
    #[error("the bundle has {found} entries, expected {expected}")]
    Count {
        /// Entries found; one more than expected stands for any number above.
        found: usize,
        /// Entries of a bundle of this width.
        expected: u16,
    },
}

/// Writes an entry to the end of a bundle.
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong { found: entry.len() })?;
    bundle.extend(length.to_be_bytes());
    bundle.extend(entry);
    Ok(())
}

/// The entries of a bundle that has exactly `width` of them, at most 256. Their hashes are not looked at.
pub fn entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let expected = width.min(FULL_WIDTH);
    let (mut rest, mut entries) = (bundle, Vec::new());
    while !rest.is_empty() {
        if entries.len() == usize::from(expected) {
            return Err(BundleError::Count { found: entries.len() + 1, expected });
        }
        let (entry, after) = split_first(rest, entries.len())?;
        entries.push(entry);
        rest = after;
    }
    if entries.len() < usize::from(expected) {
        return Err(BundleError::Count { found: entries.len(), expected });
    }
    Ok(entries)
}

/// The first entry, which has this number for errors, and what follows it.
pub fn split_first(bundle: &[u8], number: usize) -> Result<(&[u8], &[u8]), BundleError> {
    let split = bundle
        .split_first_chunk()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
    split.ok_or(BundleError::Truncated { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bundle(entries: &[&[u8]]) -> Vec<u8> {
        let mut bundle = Vec::new();
        for entry in entries {
            push(&mut bundle, entry).unwrap();
        }
        bundle
    }

    #[test]
    fn lengths_stand_before_entries_with_the_larger_byte_first() {
        let long = [7; 259];
        let bytes = bundle(&[b"ab", b"", &long]);
        assert_eq!(bytes[..8], [0, 2, b'a', b'b', 0, 0, 1, 3]);
        assert_eq!(entries(&bytes, 3).unwrap(), [b"ab".as_slice(), b"", &long]);
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused_and_the_longest_is_not() {
        let (mut bytes, long) = (Vec::new(), vec![0; 65_536]);
        assert_eq!(push(&mut bytes, &long), Err(BundleError::EntryTooLong { found: 65_536 }));
        assert_eq!(bytes.len(), 0);
        push(&mut bytes, &long[1..]).unwrap();
        assert_eq!(entries(&bytes, 1).unwrap(), [&long[1..]]);
    }

    #[test]
    fn a_bundle_of_another_count_or_cut_short_is_refused() {
        let bytes = bundle(&[b"one", b"two"]);
        assert_eq!(entries(&bytes, 1), Err(BundleError::Count { found: 2, expected: 1 }));
        assert_eq!(entries(&bytes, 3), Err(BundleError::Count { found: 2, expected: 3 }));
        assert_eq!(entries(&bytes[..9], 2), Err(BundleError::Truncated { number: 1 }));
        assert_eq!(entries(&bytes[..6], 2), Err(BundleError::Truncated { number: 1 }));
        assert_eq!(entries(&[], 1), Err(BundleError::Count { found: 0, expected: 1 }));
        let many = vec![0; 2 * 257];
        assert_eq!(entries(&many, 257), Err(BundleError::Count { found: 257, expected: 256 }));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(written: Vec<Vec<u8>>) {
            let bytes = bundle(&written.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(entries(&bytes, u16::try_from(written.len()).unwrap()).unwrap(), written);
        }

        #[test]
        fn bytes_that_are_read_are_written_the_same(bytes: Vec<u8>, width in 0_u16..9) {
            if let Ok(read) = entries(&bytes, width) {
                prop_assert_eq!(bundle(&read), bytes);
            }
        }
    }
}
