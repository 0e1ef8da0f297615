//! What one project's page said: a file of lines, whole or not there.
//!
//! `LINE` for each file that can be imported, `!WHY` for each that cannot, and last `= 1 TAB serial TAB entity tag`.
//! Without its last line a note is not whole, and the page is asked for again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{CrawlError, local};
use crate::python::{PageFile, ProjectName, Yanked};

/// Characters of a file name that are repeated in a reason.
pub(super) const SHOWN: usize = 120;
/// Begins the last line; the number is that of the format.
const END: &str = "= 1\t";
/// Begins a reason.
const UNFIT: char = '!';

/// What one page said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Of the page.
    pub(super) serial: Option<u64>,
    /// By which to ask for a newer one.
    pub(super) tag: Option<String>,
    /// Files, as lines of a list.
    pub(super) lines: Vec<String>,
    /// Files that cannot be imported, and why.
    pub(super) unfit: Vec<String>,
}

/// Where the note of a project lies.
pub(super) fn path(notes: &Path, project: &ProjectName) -> PathBuf {
    let name = project.as_str();
    notes.join(name.get(..1).unwrap_or_default()).join(name)
}

/// Other crawls are kept out of a folder as long as this is there.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a program that was just started still has the file open.
        drop(self.0.unlock());
    }
}

/// Keeps other crawls out of a folder.
pub(super) fn lock(notes: &Path) -> Result<Lock, CrawlError> {
    std::fs::create_dir_all(notes).map_err(|error| local("making", notes, &error))?;
    let at = notes.join(".lock");
    let file = OpenOptions::new().append(true).create(true).open(&at);
    let file = file.map_err(|error| local("opening", &at, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            Err(local("locking", &at, &"another run that reads this index is under way"))
        }
        Err(TryLockError::Error(error)) => Err(local("locking", &at, &error)),
    }
}

/// Forgets a project.
pub(super) fn remove(at: &Path) -> Result<(), CrawlError> {
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(local("removing", at, &error)),
        _ => Ok(()),
    }
}

/// A file as a line of a list that `import` reads; without a line feed.
pub fn line(file: &PageFile) -> String {
    let text = |text: Option<&crate::python::FreeText>| text.map_or("", |text| text.as_str()).to_owned();
    let requires = text(file.requires_python.as_ref());
    // A reason that reads as a flag is one that says nothing more.
    let yanked = match &file.yanked {
        Yanked::No => String::new(),
        Yanked::Yes(reason) => {
            let reason = text(reason.as_ref());
            if matches!(reason.as_str(), "" | "false") { "true".to_owned() } else { reason }
        }
    };
    let uploaded = file.upload_time.as_ref().map_or("", |time| time.as_str());
    let core = file.core_metadata_sha256.as_ref().map_or("", |sha256| sha256.as_str());
    let (project, size, sha256) = (file.filename.project(), file.size, &file.sha256);
    format!("{project}/{}\t{size}\t{sha256}\t{requires}\t{yanked}\t{uploaded}\t{core}", file.filename)
}

impl Note {
    /// Reads a note; nothing if there is none, or none that is whole.
    pub(super) fn read(at: &Path) -> Result<Option<Self>, CrawlError> {
        let text = match std::fs::read(at) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(local("reading", at, &error)),
        };
        let Some((body, end)) = text.rsplit_once(END) else { return Ok(None) };
        let Some((serial, tag)) = end.strip_suffix('\n').and_then(|end| end.split_once('\t')) else {
            return Ok(None);
        };
        let (mut lines, mut unfit) = (Vec::new(), Vec::new());
        for line in body.lines() {
            match line.strip_prefix(UNFIT) {
                Some(why) => unfit.push(why.to_owned()),
                None => lines.push(line.to_owned()),
            }
        }
        let tag = (!tag.is_empty()).then(|| tag.to_owned());
        Ok(Some(Self { serial: serial.parse().ok(), tag, lines, unfit }))
    }

    /// Puts it in place of an older one.
    pub(super) fn write(&self, at: &Path) -> Result<(), CrawlError> {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&format!("{line}\n"));
        }
        for why in &self.unfit {
            // A reason is one line.
            text.push_str(&format!("{UNFIT}{}\n", why.replace(char::is_control, " ")));
        }
        let serial = self.serial.map(|serial| serial.to_string()).unwrap_or_default();
        let tag = self.tag.as_deref().filter(|tag| !tag.contains(char::is_control)).unwrap_or_default();
        text.push_str(&format!("{END}{serial}\t{tag}\n"));
        replace(at, &text)
    }
}

/// Puts a text in the place of an older one, whole.
pub(super) fn replace(at: &Path, text: &str) -> Result<(), CrawlError> {
    let folder = at.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(at).map(drop).map_err(|refused| refused.error)
    });
    written.map_err(|error| local("writing", at, &error))
}

/// Forgets all projects.
pub(super) fn remove_all(notes: &Path) -> Result<(), CrawlError> {
    let failed = |error: std::io::Error| local("removing notes in", notes, &error);
    for entry in std::fs::read_dir(notes).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_one_that_is_torn_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(folder.path(), &"six".parse().unwrap());
        assert_eq!(Note::read(&at), Ok(None));
        for (serial, tag) in [(Some(7), Some("W/\"a b\"".to_owned())), (None, None)] {
            let (lines, unfit) = (vec!["a\t1".to_owned(), "b\t2".to_owned()], vec!["odd".to_owned()]);
            let note = Note { serial, tag, lines, unfit };
            note.write(&at).unwrap();
            assert_eq!(Note::read(&at), Ok(Some(note)));
        }
        let whole = std::fs::read(&at).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&at, &whole[..cut]).unwrap();
            assert_eq!(Note::read(&at), Ok(None), "{cut}");
        }
        remove(&at).unwrap();
        remove(&at).unwrap();
    }

    #[test]
    fn what_an_index_says_stays_on_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("note");
        let unfit = vec!["a\nb\t1\t2".to_owned()];
        Note { unfit, tag: Some("x\n= 1\t9\t".to_owned()), ..Note::default() }.write(&at).unwrap();
        let read = Note::read(&at).unwrap().unwrap();
        assert_eq!(read, Note { unfit: vec!["a b 1 2".to_owned()], ..Note::default() });
    }

    #[test]
    fn one_crawl_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).unwrap_err().to_string().ends_with("is under way"));
        drop(first);
        lock(folder.path()).unwrap();
    }
}
