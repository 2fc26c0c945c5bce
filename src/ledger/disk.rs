//! Owns the bytes under the store. Never changes a file before it is known to be understood.
//!
//! Opening a store repairs it, and so writes. Those writes are kept in memory until every record was read, then played
//! to the file in order, syncs included: a damaged file stays as it was found.

use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::Faults;

/// Where the bytes are. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    medium: Medium,
    road: Mutex<Road>,
    faults: Faults,
}

/// Where writes go.
#[derive(Debug)]
enum Road {
    /// To memory, to be played to the medium later. At most about the size of the file.
    Staged(Vec<Write>),
    /// To the medium.
    Through,
    /// Nowhere: playing them failed half-way, and what would follow makes sense only after the rest of them.
    Cut,
}

/// What bytes are kept on.
#[derive(Debug)]
pub(super) enum Medium {
    File(FileBackend),
    /// For tests; shared, because a store that failed is opened anew.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(dead_code, reason = "made by tests only")
    )]
    Memory(Arc<InMemoryBackend>),
}

#[derive(Debug)]
enum Write {
    At { offset: u64, data: Vec<u8> },
    Resize(u64),
    Sync,
}

impl Medium {
    fn backend(&self) -> &dyn StorageBackend {
        match self {
            Self::File(file) => file,
            Self::Memory(memory) => memory.as_ref(),
        }
    }
}

impl Disk {
    /// Takes a medium over; nothing is written to it until [`Self::promote`].
    pub(super) fn new(medium: Medium, faults: Faults) -> Self {
        Self(Arc::new(Inner {
            medium,
            road: Mutex::new(Road::Staged(Vec::new())),
            faults,
        }))
    }

    /// Plays what was written so far to the medium, in order; from here on writes go straight there.
    pub(super) fn promote(&self) -> io::Result<()> {
        let mut road = self.road();
        if let Road::Staged(writes) = std::mem::replace(&mut *road, Road::Cut) {
            for write in writes {
                self.play(&write)?;
            }
            *road = Road::Through;
        }
        Ok(())
    }

    fn play(&self, write: &Write) -> io::Result<()> {
        self.0.faults.check()?;
        match write {
            Write::At { offset, data } => self.medium().write(*offset, data),
            Write::Resize(len) => self.medium().set_len(*len),
            Write::Sync => self.medium().sync_data(),
        }
    }

    fn take(&self, write: Write) -> io::Result<()> {
        match &mut *self.road() {
            Road::Staged(writes) => {
                writes.push(write);
                Ok(())
            }
            Road::Through => self.play(&write),
            Road::Cut => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Tells the switch for faults that a commit begins.
    pub(super) fn begin_commit(&self) {
        self.0.faults.begin_commit();
    }

    fn road(&self) -> MutexGuard<'_, Road> {
        self.0.road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn medium(&self) -> &dyn StorageBackend {
        self.0.medium.backend()
    }

    /// Reads the medium as if the staged writes had been done.
    fn read_staged(&self, writes: &[Write], offset: u64, out: &mut [u8]) -> io::Result<()> {
        let wanted = out.len() as u64;
        out.fill(0);
        let held = self.medium().len()?.saturating_sub(offset).min(wanted);
        self.medium().read(offset, &mut out[..index(held)?])?;
        for write in writes {
            match write {
                Write::At { offset: at, data } => {
                    let from = (*at).max(offset);
                    let to = (at + data.len() as u64).min(offset + wanted);
                    if from < to {
                        out[index(from - offset)?..index(to - offset)?]
                            .copy_from_slice(&data[index(from - at)?..index(to - at)?]);
                    }
                }
                Write::Resize(len) => {
                    out[index(len.saturating_sub(offset).min(wanted))?..].fill(0);
                }
                Write::Sync => {}
            }
        }
        Ok(())
    }
}

fn index(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let resized = match &*self.road() {
            Road::Staged(writes) => writes.iter().rev().find_map(|write| match write {
                Write::Resize(len) => Some(*len),
                Write::At { .. } | Write::Sync => None,
            }),
            Road::Through | Road::Cut => None,
        };
        resized.map_or_else(|| self.medium().len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.road() {
            Road::Staged(writes) => self.read_staged(writes, offset, out),
            Road::Through | Road::Cut => self.medium().read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.take(Write::Resize(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.take(Write::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Copied also when it goes straight through: a page of 4 KiB beside a sync.
        self.take(Write::At {
            offset,
            data: data.to_vec(),
        })
    }
}
