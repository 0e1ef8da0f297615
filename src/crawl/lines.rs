//! All notes as one list.

use std::io::{Cursor, Error, ErrorKind, Read};
use std::path::PathBuf;
use std::vec::IntoIter;

use super::note::{self, Lock, Note};
use crate::python::ProjectName;

/// The lines of all projects, note by note. Nobody changes the notes while it is there.
#[derive(Debug)]
pub struct Lines {
    notes: PathBuf,
    projects: IntoIter<ProjectName>,
    current: Cursor<Vec<u8>>,
    _lock: Lock,
}

impl Lines {
    pub(super) fn new(notes: PathBuf, projects: Vec<ProjectName>, lock: Lock) -> Self {
        Self { notes, projects: projects.into_iter(), current: Cursor::default(), _lock: lock }
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(project) = self.projects.next() else { return Ok(0) };
            let at = note::path(&self.notes, &project);
            let note = Note::read(&at).map_err(|error| Error::other(error.to_string()))?;
            let gone = || Error::new(ErrorKind::NotFound, format!("{} is gone", at.display()));
            let text: String = note.ok_or_else(gone)?.lines.iter().flat_map(|line| [line, "\n"]).collect();
            self.current = Cursor::new(text.into_bytes());
        }
    }
}
