//! [`Together`]: everything written to a file system made durable by one call, where that can be relied upon.
//!
//! `syncfs` is relied upon on Linux alone, from version 5.8 on, which is the first to report failed writes by it, and on
//! the file systems listed here. Network file systems and those of other programs may keep what they were given.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// What `statfs` calls the file systems whose `syncfs` leaves nothing unwritten: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs.
/// Source: `linux/magic.h`.
#[cfg(target_os = "linux")]
const KNOWN: [u64; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];

/// The first Linux whose `syncfs` reports failed writes: major and minor version.
#[cfg(target_os = "linux")]
const REPORTS_ERRORS: (u32, u32) = (5, 8);

/// A file system that can be made durable as a whole. Errors are reported for writes after this was opened.
#[derive(Debug)]
pub(super) struct Together {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "it is never made there"))]
    root: File,
}

impl Together {
    /// The file system that `root` is on, or `None` if it is not to be relied upon, which `known` remembers.
    #[cfg(target_os = "linux")]
    pub(super) fn open(root: &Path, known: &OnceLock<bool>) -> Option<Self> {
        let root = File::open(root).ok()?;
        known.get_or_init(|| reliable(&root).unwrap_or(false)).then_some(Self { root })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(_: &Path, _: &OnceLock<bool>) -> Option<Self> {
        None
    }

    /// Makes all that was written to it durable, whoever wrote it.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.root)?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn reliable(root: &File) -> Option<bool> {
    let kind = u64::try_from(rustix::fs::fstatfs(root).ok()?.f_type).ok()?;
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(KNOWN.contains(&kind) && version_of(&version)? >= REPORTS_ERRORS)
}

#[cfg(target_os = "linux")]
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_that_are_known_are_relied_upon() {
        assert!(Together::open(Path::new("/proc"), &OnceLock::new()).is_none());
        assert!(Together::open(Path::new("/nonexistent"), &OnceLock::new()).is_none());
    }

    #[test]
    fn the_version_is_read_from_the_release() {
        assert_eq!(version_of("6.18.44-fc-v669\n"), Some((6, 18)));
        assert_eq!(version_of("5.8\n"), Some((5, 8)));
        assert_eq!(version_of("five"), None);
    }
}
