//! Owns what a walk came by: collected, sorted piece by piece on disk, and merged. Never holds more than one piece.

use super::entry::Entry;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Entries sorted in memory: 1.3 MB.
const PIECE: usize = 32_768;
/// Entries read of one piece at a time while merging: 16 KB, so 0.5 MB for a million entries.
const READ_AHEAD: u64 = 400;

/// What a walk came by so far.
#[derive(Debug)]
pub(in crate::inventory) struct Runs {
    file: File,
    path: PathBuf,
    piece: Vec<Entry>,
    /// Where each sorted piece ends, in entries.
    ends: Vec<u64>,
    size: usize,
}

impl Runs {
    pub(super) fn new(file: File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            piece: Vec::new(),
            ends: Vec::new(),
            size: PIECE,
        }
    }

    pub(in crate::inventory) fn add(&mut self, entry: Entry) -> io::Result<()> {
        self.piece.push(entry);
        if self.piece.len() >= self.size {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.piece.sort_unstable_by_key(|entry| entry.id);
        let from = self.ends.last().copied().unwrap_or_default();
        let bytes: Vec<u8> = self.piece.iter().flat_map(|e| e.to_bytes()).collect();
        self.file.write_all_at(&bytes, from * Entry::BYTES as u64)?;
        self.ends.push(from + self.piece.len() as u64);
        self.piece.clear();
        Ok(())
    }

    /// Returns everything in the order of ids, each id once.
    pub(in crate::inventory) fn merge(mut self) -> io::Result<Seen> {
        self.spill()?;
        self.piece = Vec::new();
        let mut seen = Seen {
            pieces: Vec::new(),
            next: BinaryHeap::new(),
            runs: self,
        };
        let mut from = 0;
        for end in seen.runs.ends.clone() {
            seen.pieces.push(Piece {
                next: from,
                end,
                ahead: Vec::new(),
            });
            from = end;
            seen.pull(seen.pieces.len() - 1)?;
        }
        Ok(seen)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        // Disposable; the next walk writes over what is left.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Everything a walk came by, in the order of ids.
#[derive(Debug)]
pub(in crate::inventory) struct Seen {
    runs: Runs,
    pieces: Vec<Piece>,
    /// The smallest id first.
    next: BinaryHeap<Reverse<Head>>,
}

#[derive(Debug)]
struct Piece {
    next: u64,
    end: u64,
    /// Read already, the last one first.
    ahead: Vec<Entry>,
}

#[derive(Debug)]
struct Head {
    entry: Entry,
    piece: usize,
}

impl Head {
    fn key(&self) -> impl Ord {
        (self.entry.id, self.piece)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Seen {
    /// Returns the next entry.
    pub(in crate::inventory) fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse(head)) = self.next.pop() else {
            return Ok(None);
        };
        let mut entry = head.entry;
        self.pull(head.piece)?;
        while let Some(Reverse(same)) = self.next.peek()
            && same.entry.id == entry.id
        {
            entry = entry.met_again(same.entry);
            let piece = same.piece;
            self.next.pop();
            self.pull(piece)?;
        }
        Ok(Some(entry))
    }

    /// Takes the next entry of a piece; entries with one id become one.
    fn pull(&mut self, number: usize) -> io::Result<()> {
        let piece = &mut self.pieces[number];
        let Some(mut entry) = piece.take(&self.runs.file)? else {
            return Ok(());
        };
        while let Some(later) = piece.take(&self.runs.file)? {
            if later.id != entry.id {
                piece.ahead.push(later);
                break;
            }
            entry = later.met_again(entry);
        }
        self.next.push(Reverse(Head {
            entry,
            piece: number,
        }));
        Ok(())
    }
}

impl Piece {
    fn take(&mut self, file: &File) -> io::Result<Option<Entry>> {
        if self.ahead.is_empty() {
            let count = READ_AHEAD.min(self.end - self.next);
            self.ahead = read(file, self.next, count)?;
            self.ahead.reverse();
            self.next += count;
        }
        Ok(self.ahead.pop())
    }
}

fn read(file: &File, from: u64, count: u64) -> io::Result<Vec<Entry>> {
    let size = Entry::BYTES * usize::try_from(count).unwrap_or_default();
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, from * Entry::BYTES as u64)?;
    let (entries, _) = bytes.as_chunks();
    Ok(entries.iter().map(Entry::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::super::DigestFolder;
    use super::*;
    use crate::domain::{IntegrationId, InventoryId};
    use std::collections::BTreeMap;

    fn entry(id: u8, digest: u8) -> Entry {
        let mut bytes = [0; Entry::BYTES];
        (bytes[0], bytes[16]) = (id, digest);
        Entry::from_bytes(&bytes)
    }

    proptest::proptest! {
        #[test]
        fn everything_comes_back_sorted_and_an_id_that_changed_meanwhile_equals_nothing(
            found in proptest::collection::vec((0_u8..20, 1_u8..4), 0..60),
            size in 1_usize..9,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut runs = DigestFolder::new(folder.path().to_owned())
                .runs(IntegrationId::generate())
                .unwrap();
            runs.size = size;
            let mut wanted = BTreeMap::new();
            for (id, digest) in found {
                runs.add(entry(id, digest)).unwrap();
                wanted
                    .entry(entry(id, 0).id)
                    .and_modify(|kept| {
                        if *kept != entry(id, digest) {
                            *kept = entry(id, 0);
                        }
                    })
                    .or_insert_with(|| entry(id, digest));
            }
            let mut seen = runs.merge().unwrap();
            let mut got: Vec<(InventoryId, Entry)> = Vec::new();
            while let Some(entry) = seen.next().unwrap() {
                got.push((entry.id, entry));
            }
            proptest::prop_assert_eq!(got, wanted.into_iter().collect::<Vec<_>>());
        }
    }
}
