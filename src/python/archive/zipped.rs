//! Zip archives: the listing, judged as a whole, and one entry read.

use std::{
    collections::HashSet,
    io::{self, Read, Seek},
};

use zip::{
    ZipArchive,
    read::{ArchiveOffset, Config},
};

use super::{
    ArchiveError, ArchiveLimits, Member,
    budget::Budget,
    budget::Metered,
    entry::EntryPath,
    layout::{self, Listed},
    read_capped, unreadable,
};

/// The bits of a Unix mode that tell the type of a file.
const FILE_TYPE: u64 = 0o170_000;

/// The type of a symbolic link. Some readers of zips make a link of it, Python's makes a file.
const SYMBOLIC_LINK: u64 = 0o120_000;

/// A zip archive whose listing was found in order.
///
/// Invariants: `paths` has the path of each entry at the entry's index, no two are equal, no entry is
/// encrypted or a symbolic link, local headers and central directory agree, and the parts of the archive fill
/// the file.
pub(super) struct Zip<'a, R> {
    archive: ZipArchive<Metered<'a, R>>,
    paths: Vec<EntryPath>,
}

impl<'a, R: Read + Seek> Zip<'a, R> {
    /// Opens an archive and judges its listing. `budget` is what reading the listing may cost.
    pub(super) fn open(
        mut reader: R,
        budget: &'a Budget,
        limits: &ArchiveLimits,
    ) -> Result<Self, ArchiveError> {
        let listed = layout::list(&mut reader, limits)?;
        let from_the_first_byte = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(from_the_first_byte, Metered::new(reader, budget))
            .map_err(|error| {
                if budget.is_exceeded() {
                    ArchiveError::TooLarge { limit: limits.directory_bytes }
                } else {
                    unreadable(&error)
                }
            })?;
        budget.lift();
        if u64::try_from(archive.len()).map_or(true, |entries| entries > limits.entries) {
            return Err(ArchiveError::TooManyEntries { limit: limits.entries });
        }
        check_agreement(&archive, &listed)?;
        let paths = list(&archive)?;
        archive
            .validate_header_consistency()
            .map_err(|error| ArchiveError::Inconsistent { detail: error.to_string() })?;
        Ok(Self { archive, paths })
    }

    /// The paths of all entries.
    pub(super) fn paths(&self) -> &[EntryPath] {
        &self.paths
    }

    /// Reads the one file at `directory/file`. On file systems that ignore case, an entry of the same letters
    /// would overwrite it; so the comparison ignores case, and a second match is refused.
    pub(super) fn read(
        &mut self,
        directory: &str,
        file: &str,
        limit: usize,
    ) -> Result<Vec<u8>, ArchiveError> {
        let entry = format!("{directory}/{file}");
        let index =
            self.index_of(directory, file)?.ok_or(ArchiveError::MissingEntry { entry: entry.clone() })?;
        let content = self.archive.by_index(index).map_err(|error| unreadable(&error))?;
        let declared = content.size();
        let bytes = read_capped(content, &entry, limit)?;
        if u64::try_from(bytes.len()) != Ok(declared) {
            return Err(unreadable(&format!("{entry:?} has {} bytes, not {declared}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Shows `visit` each entry that is no directory; no more of it can be read than its header declares.
    pub(super) fn each(
        &mut self,
        visit: &mut dyn FnMut(Member<'_>) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        for index in 0..self.archive.len() {
            let entry = self.archive.by_index(index).map_err(|error| unreadable(&error))?;
            if entry.is_dir() {
                continue;
            }
            let path = self.paths.get(index).map(|path| path.components().join("/")).unwrap_or_default();
            let size = entry.size();
            let mut content = entry.take(size);
            let member = Member { path: &path, size, content: &mut content };
            visit(member).map_err(|error| unreadable(&error))?;
        }
        Ok(())
    }

    /// Whether there is a file at `directory/file`; refuses a second one, as [`read`](Self::read) does.
    pub(super) fn expect(&self, directory: &str, file: &str) -> Result<(), ArchiveError> {
        match self.index_of(directory, file)? {
            Some(_) => Ok(()),
            None => Err(ArchiveError::MissingEntry { entry: format!("{directory}/{file}") }),
        }
    }

    fn index_of(&self, directory: &str, file: &str) -> Result<Option<usize>, ArchiveError> {
        let alike = |path: &EntryPath| match path.components() {
            [top, name] => top.eq_ignore_ascii_case(directory) && name.eq_ignore_ascii_case(file),
            _ => false,
        };
        let found: Vec<usize> =
            self.paths.iter().enumerate().filter(|(_, path)| alike(path)).map(|(index, _)| index).collect();
        match found.as_slice() {
            [] => Ok(None),
            [index] => {
                let name = self.archive.name_for_index(*index).and_then(Result::ok);
                Ok(name.filter(|name| *name == format!("{directory}/{file}")).map(|_| *index))
            }
            _ => Err(ArchiveError::DuplicateEntry { entry: format!("{directory}/{file}") }),
        }
    }
}

/// The library lists the entries that the layout has, under the same names and at the same places.
fn check_agreement<R: Read + Seek>(archive: &ZipArchive<R>, listed: &[Listed]) -> Result<(), ArchiveError> {
    let disagree = || ArchiveError::Inconsistent { detail: "two readers list different entries".to_owned() };
    if archive.offset() != 0 || archive.len() != listed.len() {
        return Err(disagree());
    }
    for (index, listed) in listed.iter().enumerate() {
        let entry = archive.by_index_data(index).map_err(|error| unreadable(&error))?;
        let found = (entry.name_raw(), entry.header_start(), entry.compressed_size(), entry.size());
        if found != (listed.name.as_slice(), listed.header_start, listed.compressed_size, listed.size) {
            return Err(disagree());
        }
        if listed.mode & FILE_TYPE == SYMBOLIC_LINK {
            let entry = String::from_utf8_lossy(&listed.name).into_owned();
            return Err(ArchiveError::UnexpectedKind { entry, found: "a symbolic link in a zip" });
        }
    }
    Ok(())
}

/// The entries' paths. Names are written in the one way that needs no tidying: readers differ in whether they
/// tidy up, and whether a backslash is a letter.
fn list<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<Vec<EntryPath>, ArchiveError> {
    let mut seen = HashSet::new();
    let mut paths = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|error| unreadable(&error))?;
        let name = entry.name().map_err(|error| unreadable(&error))?;
        let path = EntryPath::parse(&name)?;
        if name.strip_suffix('/').unwrap_or(&name) != path.components().join("/") {
            return Err(ArchiveError::UnsafeName { entry: name.into_owned() });
        }
        if entry.encrypted() {
            return Err(ArchiveError::Encrypted { entry: name.into_owned() });
        }
        if !seen.insert(path.clone()) {
            return Err(ArchiveError::DuplicateEntry { entry: name.into_owned() });
        }
        paths.push(path);
    }
    Ok(paths)
}
