//! Owns the file that is kept between two uploads: a head, the entries in the order of ids, what was not seen, a sum over all. Never trusts it
//! unchecked.

use super::DigestError;
use super::entry::Entry;
use crate::control::InventoryBase;
use crate::domain::{IntegrationId, InventoryId};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// First bytes of the file; the last one is the version of its form.
const MAGIC: [u8; 8] = *b"apinven\x01";
/// Head: magic, integration, epoch, revision, number of entries, length of the list of unseen paths.
const HEAD: usize = 8 + 16 + 16 + 8 + 8 + 8;
/// Length of the sum at the end.
const SUM: usize = 32;
/// Entries between two marks of the index: 5 KB of the file for 16 bytes of memory, so 125 KB for a million entries.
const STRIDE: usize = 128;
/// Longest list of unseen paths: 1 MiB, thousands of databases.
const MAX_UNSEEN: u64 = 1 << 20;

/// What was last reported.
#[derive(Debug)]
pub(in crate::inventory) struct Kept {
    file: File,
    base: InventoryBase,
    count: u64,
    /// The first id of each stride.
    index: Vec<InventoryId>,
    unseen: Vec<Vec<String>>,
}

impl Kept {
    /// Reads the whole file once and checks all of it.
    pub(super) fn open(file: File, integration: IntegrationId) -> Result<Self, DigestError> {
        let size = file.metadata()?.len();
        let mut reader = Summing {
            reader: BufReader::with_capacity(1 << 16, &file),
            sum: Sha256::new(),
        };
        let head: [u8; HEAD] = reader.take_bytes()?;
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| head[at + byte]));
        let uuid = |at: usize| Uuid::from_bytes(std::array::from_fn(|byte| head[at + byte]));
        if head[..8] != MAGIC || uuid(8) != integration.as_uuid() {
            return Err(DigestError::Damaged(
                "its head is not that of this integration's file",
            ));
        }
        let (count, unseen) = (number(48), number(56));
        let wanted =
            (count as u128) * (Entry::BYTES as u128) + (HEAD + SUM) as u128 + u128::from(unseen);
        if unseen > MAX_UNSEEN || wanted != u128::from(size) {
            return Err(DigestError::Damaged("its size is not what its head says"));
        }
        let index = reader.index(count)?;
        let mut list = vec![0; usize::try_from(unseen).unwrap_or_default()];
        reader.fill(&mut list)?;
        let sum: [u8; SUM] = reader.sum.clone().finalize().into();
        if reader.take_bytes::<SUM>()? != sum {
            return Err(DigestError::Damaged("its sum does not fit"));
        }
        let unseen = serde_json::from_slice(&list)
            .map_err(|_| DigestError::Damaged("its list of unseen paths cannot be read"))?;
        let base = InventoryBase {
            epoch: uuid(24),
            revision: number(40),
        };
        Ok(Self {
            file,
            base,
            count,
            index,
            unseen,
        })
    }

    /// Returns what the entries are the state of.
    pub(in crate::inventory) fn base(&self) -> InventoryBase {
        self.base
    }

    /// Returns what was not seen when everything was reported, so that what the control plane has within is not known.
    pub(in crate::inventory) fn unseen(&self) -> &[Vec<String>] {
        &self.unseen
    }

    /// Finds the entry of an id.
    pub(in crate::inventory) fn find(&self, id: InventoryId) -> io::Result<Option<Entry>> {
        let Some(stride) = self
            .index
            .partition_point(|first| *first <= id)
            .checked_sub(1)
        else {
            return Ok(None);
        };
        let entries = self.read((stride * STRIDE) as u64)?;
        let found = entries.binary_search_by_key(&id, |entry| entry.id);
        Ok(found.ok().map(|at| entries[at]))
    }

    /// Returns the entries from the start, a stride at a time.
    pub(in crate::inventory) fn entries(&self) -> Entries<'_> {
        Entries {
            kept: self,
            next: 0,
            ahead: Vec::new(),
        }
    }

    fn read(&self, from: u64) -> io::Result<Vec<Entry>> {
        let count = usize::try_from(self.count - from.min(self.count)).unwrap_or(STRIDE);
        let mut bytes = [0; STRIDE * Entry::BYTES];
        let bytes = &mut bytes[..count.min(STRIDE) * Entry::BYTES];
        let at = HEAD as u64 + from * Entry::BYTES as u64;
        self.file.read_exact_at(bytes, at)?;
        let (entries, _) = bytes.as_chunks();
        Ok(entries.iter().map(Entry::from_bytes).collect())
    }
}

/// The entries of a file, in the order of ids.
#[derive(Debug)]
pub(in crate::inventory) struct Entries<'a> {
    kept: &'a Kept,
    next: u64,
    /// Read already, the last one first.
    ahead: Vec<Entry>,
}

impl Entries<'_> {
    pub(in crate::inventory) fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.ahead.is_empty() {
            self.ahead = self.kept.read(self.next)?;
            self.next += self.ahead.len() as u64;
            self.ahead.reverse();
        }
        Ok(self.ahead.pop())
    }
}

/// A file being written; it takes the place of the one before only when it is kept.
#[derive(Debug)]
pub(in crate::inventory) struct Writing {
    writer: BufWriter<File>,
    integration: IntegrationId,
    path: PathBuf,
    into: PathBuf,
    count: u64,
}

impl Writing {
    pub(super) fn new(
        file: File,
        integration: IntegrationId,
        path: PathBuf,
        into: PathBuf,
    ) -> io::Result<Self> {
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        writer.seek(SeekFrom::Start(HEAD as u64))?;
        Ok(Self {
            writer,
            integration,
            path,
            into,
            count: 0,
        })
    }

    /// Adds an entry; ids must grow.
    pub(in crate::inventory) fn add(&mut self, entry: Entry) -> io::Result<()> {
        self.count += 1;
        self.writer.write_all(&entry.to_bytes())
    }

    /// Completes the file once the upload was committed, and puts it in place.
    pub(in crate::inventory) fn keep(
        mut self,
        base: InventoryBase,
        unseen: &[Vec<String>],
    ) -> io::Result<()> {
        let unseen = serde_json::to_vec(unseen)?;
        if unseen.len() as u64 > MAX_UNSEEN {
            return Err(io::Error::other("too many paths were not seen"));
        }
        self.writer.write_all(&unseen)?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend(MAGIC);
        head.extend(self.integration.as_uuid().as_bytes());
        head.extend(base.epoch.as_bytes());
        for number in [base.revision, self.count, unseen.len() as u64] {
            head.extend(number.to_be_bytes());
        }
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.write_all(&head)?;
        self.writer.flush()?;
        let file = self.writer.get_mut();
        let sum = sum_of(file)?;
        file.write_all(&sum)?;
        file.sync_all()?;
        std::fs::rename(&self.path, &self.into)?;
        File::open(self.into.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Kept by now, or worth nothing.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Sums up a whole file and leaves its place at the end.
fn sum_of(file: &mut File) -> io::Result<[u8; SUM]> {
    file.rewind()?;
    let mut sum = Sha256::new();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok(sum.finalize().into());
        }
        sum.update(&bytes[..read]);
    }
}

/// Reads and sums up what it reads.
struct Summing<'a> {
    reader: BufReader<&'a File>,
    sum: Sha256,
}

impl Summing<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), DigestError> {
        self.reader.read_exact(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                return DigestError::Damaged("it ends too early");
            }
            DigestError::Disk(error)
        })?;
        self.sum.update(bytes);
        Ok(())
    }

    fn take_bytes<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], DigestError> {
        let mut bytes = [0; LENGTH];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn index(&mut self, count: u64) -> Result<Vec<InventoryId>, DigestError> {
        let mut index = Vec::new();
        let mut before = None;
        for number in 0..count {
            let entry = Entry::from_bytes(&self.take_bytes()?);
            if before.is_some_and(|before| before >= entry.id) {
                return Err(DigestError::Damaged("its entries are not in order"));
            }
            before = Some(entry.id);
            if number % STRIDE as u64 == 0 {
                index.push(entry.id);
            }
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DigestFolder;
    use super::*;

    const COUNT: u64 = 1_000;

    fn entry(number: u64) -> Entry {
        let mut bytes = [0; Entry::BYTES];
        bytes[..8].copy_from_slice(&(number * 2).to_be_bytes());
        Entry::from_bytes(&bytes)
    }

    fn base() -> InventoryBase {
        InventoryBase {
            epoch: Uuid::from_u128(7),
            revision: 9,
        }
    }

    fn write(folder: &DigestFolder, integration: IntegrationId, count: u64) {
        let mut writing = folder.write(integration).unwrap();
        (0..count).for_each(|number| writing.add(entry(number)).unwrap());
        writing.keep(base(), &[vec!["shut".to_owned()]]).unwrap();
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = DigestFolder::new(place.path().join("inventory"));
        let integration = IntegrationId::generate();
        assert!(folder.open(integration).unwrap().is_none());
        for count in [0, 1, STRIDE as u64, STRIDE as u64 + 1, COUNT] {
            write(&folder, integration, count);
            let kept = folder.open(integration).unwrap().unwrap();
            assert_eq!(
                (kept.base(), kept.unseen()),
                (base(), &[vec!["shut".to_owned()]][..])
            );
            let mut entries = kept.entries();
            for number in 0..count {
                assert_eq!(entries.next().unwrap(), Some(entry(number)));
                assert_eq!(kept.find(entry(number).id).unwrap(), Some(entry(number)));
            }
            assert_eq!(entries.next().unwrap(), None);
            let mut odd = *entry(0).id.as_bytes();
            odd[7] = 1;
            assert_eq!(kept.find(InventoryId::new(odd)).unwrap(), None);
            assert_eq!(kept.find(entry(count).id).unwrap(), None);
        }
        // Nothing but the file is left behind.
        assert_eq!(
            std::fs::read_dir(place.path().join("inventory"))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn any_changed_byte_and_any_missing_end_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let folder = DigestFolder::new(place.path().to_owned());
        let integration = IntegrationId::generate();
        write(&folder, integration, 5);
        let path = folder.place(integration, "digests");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let opened = folder.open(integration);
            assert!(
                matches!(opened, Err(DigestError::Damaged(_))),
                "byte {at}: {opened:?}"
            );
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(folder.open(integration).is_err(), "cut at {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(folder.open(integration).is_ok());
        let other = IntegrationId::generate();
        std::fs::copy(&path, folder.place(other, "digests")).unwrap();
        assert!(folder.open(other).is_err());
    }
}
