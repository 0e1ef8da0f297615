//! Sorting more records than fit in memory: an external partitioning buffer on the local disk.
//!
//! A record is a 64-bit key and some bytes. Records go into partitions by the top bits of their keys, from any number
//! of threads at once. What a budget of memory does not hold is appended to one temporary file, which has no name and
//! so goes away with the process. When all are in, the partitions are read back one by one, each sorted by key and then
//! by bytes; all together they are then in that order too.
//!
//! ```text
//! push(key, bytes) ─▶ partition 0 [buffer] ─┐ full              ┌─▶ partition(0): sorted records
//!                     partition 1 [buffer] ─┼─▶ temporary file ─┼─▶ partition(1)
//!                     …                     ┘                   └─▶ …
//! ```
//!
//! Memory: the budget, and one partition for each one that is being read. Records are as many as there is disk in the
//! folder for temporary files (`TMPDIR`), each taking its bytes and 12 more. Nothing is known here of what they mean,
//! and none is dropped: equal records stand beside each other when read back.
//!
//! What is read back is what was written, unless somebody with the rights of this process interferes: the file is not
//! part of a store and is not verified.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// Memory for records that are not on disk yet, of a whole import or gc: 64 MiB hold 400,000 targets.
pub(super) const BUDGET: usize = 64 * 1024 * 1024;
/// Partitions for large sets: 256 of them keep each at 11 MiB for 18 million targets, and its buffer at 256 KiB.
pub(super) const PARTITIONS: usize = 256;
/// Bytes of one record, at most: a target path with its columns has a few hundred.
pub(super) const MAX_RECORD: usize = 64 * 1024;
/// Bytes that a [`Writer`] gathers for one partition: some twenty records, and 1 MiB for all 256 partitions.
const STAGED: usize = 4 * 1024;
/// Bytes before each record: its key, and its length as 32 bits.
const HEADER: usize = 12;

/// Why records could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpillError {
    /// The temporary file.
    #[error("cannot {what} a temporary file: {message}")]
    Io {
        /// Verb.
        what: &'static str,
        /// The system's wording.
        message: String,
    },
    /// A record longer than [`MAX_RECORD`].
    #[error("a record of {found} bytes, at most {MAX_RECORD} are sorted")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// What was read back is not what was written.
    #[error("a temporary file was changed by someone else")]
    Damaged,
}

impl SpillError {
    pub(super) fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self::Io { what, message: error.to_string() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        matches!(self, Self::Io { .. }).then_some("set TMPDIR to a folder with more room")
    }
}

/// Takes records; see the head of this file.
#[derive(Debug)]
pub(super) struct Spill {
    partitions: Vec<Mutex<Partition>>,
    /// How far a key is shifted to give its partition.
    shift: u32,
    /// Bytes in the buffer of a partition from which it is written out.
    full: usize,
    tail: Mutex<Tail>,
}

/// Records of one range of keys.
#[derive(Debug, Default)]
struct Partition {
    /// Those not on disk yet.
    buffer: Vec<u8>,
    /// Where the others are: offsets and lengths in bytes.
    extents: Vec<(u64, usize)>,
}

/// The temporary file, made when it is needed first, and where it ends.
#[derive(Debug, Default)]
struct Tail {
    file: Option<Arc<File>>,
    end: u64,
}

impl Spill {
    /// Room for records in so many partitions, a power of two, with about `budget` bytes of memory.
    pub(super) fn new(partitions: usize, budget: usize) -> Self {
        let bits = partitions.max(1).next_power_of_two().trailing_zeros();
        let count = 1_usize << bits;
        Self {
            partitions: (0..count).map(|_| Mutex::default()).collect(),
            shift: 64 - bits,
            full: (budget / count).max(HEADER),
            tail: Mutex::default(),
        }
    }

    /// How many partitions there are.
    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Takes a record, from any thread. For many of them, [`Self::writer`] is faster.
    pub(super) fn push(&self, key: u64, record: &[u8]) -> Result<(), SpillError> {
        let mut bytes = Vec::with_capacity(HEADER + record.len());
        encode(key, record, &mut bytes)?;
        self.take(self.index(key), &bytes)
    }

    /// Takes many records from one thread.
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer { spill: self, staged: vec![Vec::new(); self.partitions.len()] }
    }

    fn index(&self, key: u64) -> usize {
        usize::try_from(key.checked_shr(self.shift).unwrap_or(0)).unwrap_or(0)
    }

    /// Takes whole records of one partition.
    fn take(&self, index: usize, bytes: &[u8]) -> Result<(), SpillError> {
        let Some(partition) = self.partitions.get(index) else { return Ok(()) };
        let mut partition = locked(partition);
        if !partition.buffer.is_empty() && partition.buffer.len() + bytes.len() > self.full {
            self.write_out(&mut partition)?;
        }
        if partition.buffer.capacity() == 0 {
            partition.buffer.reserve(self.full.max(bytes.len()));
        }
        partition.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn write_out(&self, partition: &mut Partition) -> Result<(), SpillError> {
        let (file, at) = self.append(partition.buffer.len())?;
        file.write_all_at(&partition.buffer, at).map_err(|error| SpillError::io("write", &error))?;
        partition.extents.push((at, partition.buffer.len()));
        partition.buffer.clear();
        Ok(())
    }

    /// The file, and the offset from which `len` bytes are the caller's.
    fn append(&self, len: usize) -> Result<(Arc<File>, u64), SpillError> {
        let mut tail = locked(&self.tail);
        let file = match &tail.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(tempfile::tempfile().map_err(|error| SpillError::io("make", &error))?),
        };
        tail.file = Some(Arc::clone(&file));
        let at = tail.end;
        tail.end = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        Ok((file, at))
    }

    /// The records of one partition, sorted. It can be read again; records pushed meanwhile may be in it or not.
    pub(super) fn partition(&self, index: usize) -> Result<Records, SpillError> {
        let Some(partition) = self.partitions.get(index) else { return Ok(Records::default()) };
        let partition = locked(partition);
        let total = partition.extents.iter().map(|(_, len)| len).sum::<usize>() + partition.buffer.len();
        let mut bytes = vec![0; total];
        let mut rest = bytes.as_mut_slice();
        for (at, len) in &partition.extents {
            let file = locked(&self.tail).file.clone().ok_or(SpillError::Damaged)?;
            let (here, after) = rest.split_at_mut_checked(*len).ok_or(SpillError::Damaged)?;
            file.read_exact_at(here, *at).map_err(|error| SpillError::io("read", &error))?;
            rest = after;
        }
        rest.copy_from_slice(&partition.buffer);
        drop(partition);
        Records::sorted(bytes)
    }
}

/// One thread's records on their way into a spill: some for each partition, so that threads seldom wait for each other.
/// What is not [finished](Self::finish) is lost.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    spill: &'a Spill,
    staged: Vec<Vec<u8>>,
}

impl Writer<'_> {
    /// Takes a record.
    pub(super) fn push(&mut self, key: u64, record: &[u8]) -> Result<(), SpillError> {
        let index = self.spill.index(key);
        let Some(staged) = self.staged.get_mut(index) else { return Ok(()) };
        encode(key, record, staged)?;
        if staged.len() >= STAGED {
            self.spill.take(index, staged)?;
            staged.clear();
        }
        Ok(())
    }

    /// Hands over what is left.
    pub(super) fn finish(self) -> Result<(), SpillError> {
        let mut left = self.staged.iter().enumerate().filter(|(_, staged)| !staged.is_empty());
        left.try_for_each(|(index, staged)| self.spill.take(index, staged))
    }
}

/// Writes a record to the end of `out`.
fn encode(key: u64, record: &[u8], out: &mut Vec<u8>) -> Result<(), SpillError> {
    let too_long = SpillError::TooLong { found: record.len() };
    let Some(len) = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD) else {
        return Err(too_long);
    };
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(record);
    Ok(())
}

/// Nothing is left half done by a thread that panicked: each change is one append.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of one partition, sorted by key and then by bytes.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    /// The bytes after those that all records of its key begin with, as a number that sorts as they do.
    head: u64,
    start: usize,
    len: usize,
}

impl Slot {
    fn text<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// Sorts the records of one key. They often begin alike, so what follows is compared first, eight bytes as one number.
fn sort_by_bytes(bytes: &[u8], run: &mut [Slot]) {
    let Some(first) = run.first().map(|slot| slot.text(bytes)) else { return };
    let alike = |slot: &Slot| first.iter().zip(slot.text(bytes)).take_while(|(a, b)| a == b).count();
    let shared = run.iter().map(alike).min().unwrap_or(0);
    for slot in run.iter_mut() {
        let mut head = [0; 8];
        head.iter_mut().zip(slot.text(bytes).iter().skip(shared)).for_each(|(to, byte)| *to = *byte);
        slot.head = u64::from_be_bytes(head);
    }
    run.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| a.text(bytes).cmp(b.text(bytes))));
}

impl Records {
    fn sorted(bytes: Vec<u8>) -> Result<Self, SpillError> {
        let mut slots = Vec::new();
        let (mut rest, mut start) = (bytes.as_slice(), 0);
        while !rest.is_empty() {
            let (key, after) = rest.split_first_chunk().ok_or(SpillError::Damaged)?;
            let (len, after) = after.split_first_chunk().ok_or(SpillError::Damaged)?;
            let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| SpillError::Damaged)?;
            slots.push(Slot { key: u64::from_le_bytes(*key), head: 0, start: start + HEADER, len });
            rest = after.get(len..).ok_or(SpillError::Damaged)?;
            start += HEADER + len;
        }
        slots.sort_unstable_by_key(|slot| slot.key);
        for run in slots.chunk_by_mut(|a, b| a.key == b.key) {
            sort_by_bytes(&bytes, run);
        }
        Ok(Self { bytes, slots })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keys and bytes, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.slots.iter().map(|slot| (slot.key, slot.text(&self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records of all partitions, in the order they are read back.
    fn read_back(spill: &Spill) -> Vec<(u64, Vec<u8>)> {
        let partitions = (0..spill.partitions()).map(|index| spill.partition(index).unwrap());
        partitions
            .flat_map(|records| records.iter().map(|(key, bytes)| (key, bytes.to_vec())).collect::<Vec<_>>())
            .collect()
    }

    /// Records in no order: keys all over the range, lengths from 0 up, some of them twice.
    fn jumble(count: u64) -> Vec<(u64, Vec<u8>)> {
        let key = |index: u64| (index % 997).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = |index: u64| index.to_string().repeat(usize::try_from(index % 5).unwrap()).into_bytes();
        let alike =
            |index: u64| format!("files/{}\0{}", index % 3, "\0".repeat(usize::try_from(index % 7).unwrap()));
        let each = |index: u64| match index % 2 {
            0 => (key(index), bytes(index % 1_500)),
            _ => (7, alike(index).into_bytes()),
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn records_come_back_sorted_and_complete_whether_they_fit_in_memory_or_not() {
        let records = jumble(5_000);
        let mut sorted = records.clone();
        sorted.sort();
        for (partitions, budget, on_disk) in
            [(1, 1 << 20, false), (1, 0, true), (16, 1 << 20, false), (16, 2_000, true), (256, 0, true)]
        {
            let spill = Spill::new(partitions, budget);
            for (key, bytes) in &records {
                spill.push(*key, bytes).unwrap();
            }
            assert_eq!(locked(&spill.tail).file.is_some(), on_disk, "{partitions} {budget}");
            assert_eq!(read_back(&spill), sorted, "{partitions} {budget}");
            assert_eq!(read_back(&spill), sorted, "a second time");
        }
    }

    #[test]
    fn memory_stays_within_the_budget() {
        let spill = Spill::new(8, 8_000);
        for (key, bytes) in jumble(20_000) {
            spill.push(key, &bytes).unwrap();
        }
        let held: usize = spill.partitions.iter().map(|partition| locked(partition).buffer.capacity()).sum();
        assert!(held <= 8_000, "{held}");
    }

    #[test]
    fn threads_push_at_once_and_nothing_is_lost() {
        let spill = Spill::new(4, 1_000);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let spill = &spill;
                scope.spawn(move || {
                    let mut writer = spill.writer();
                    for (key, _) in jumble(1_000) {
                        writer.push(key, &thread.to_le_bytes()).unwrap();
                    }
                    writer.finish().unwrap();
                });
            }
        });
        let back = read_back(&spill);
        assert_eq!(back.len(), 4_000);
        assert!(back.is_sorted());
    }

    #[test]
    fn a_record_goes_to_the_partition_of_its_top_bits() {
        let spill = Spill::new(4, 1_000);
        for key in [0, 1 << 62, 2 << 62, u64::MAX] {
            spill.push(key, b"").unwrap();
        }
        for index in 0..4 {
            assert_eq!(spill.partition(index).unwrap().len(), 1, "{index}");
        }
        assert_eq!(spill.partition(4).unwrap().len(), 0);
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_and_one_longer_than_the_budget_is_not() {
        let spill = Spill::new(2, 100);
        let long = vec![7; MAX_RECORD + 1];
        assert_eq!(spill.push(1, &long), Err(SpillError::TooLong { found: MAX_RECORD + 1 }));
        spill.push(1, long.get(1..).unwrap()).unwrap();
        spill.push(2, b"short").unwrap();
        assert_eq!(
            read_back(&spill).iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(),
            [MAX_RECORD, 5]
        );
    }

    #[test]
    fn bytes_that_are_no_records_are_refused() {
        for bytes in [vec![0; 5], vec![0; 11], [[0; 8].as_slice(), &9_u32.to_le_bytes(), b"short"].concat()] {
            assert_eq!(Records::sorted(bytes).map(|records| records.len()), Err(SpillError::Damaged));
        }
    }
}
