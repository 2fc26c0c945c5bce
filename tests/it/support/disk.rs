//! Owns servers whose disk can be made full and free again. Needs no right to mount anything: the server's own calls are answered
//! as a full disk answers them, what exists can be written over and nothing can grow.

use super::cluster::{Cluster, Version};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The disk of one server.
pub(crate) struct Disk {
    flag: PathBuf,
}

impl Disk {
    /// Starts a server on a disk of its own. It is there until this process ends.
    pub(crate) fn with_a_server(version: Version) -> (&'static Cluster, Self) {
        let mut flag = PathBuf::new();
        // A checkpoint that finds no room stops the whole server.
        let conf = "checkpoint_timeout = '1h'\nautovacuum = off";
        let cluster = Cluster::private_in(version, conf, |folder| {
            flag = folder.join("the-disk-is-full");
            vec![
                ("LD_PRELOAD", library(folder)),
                ("APONO_TEST_DISK_IS_FULL", flag.clone()),
            ]
        });
        (Box::leak(Box::new(cluster)), Self { flag })
    }

    /// From here on nothing can grow.
    pub(crate) fn fill(&self) {
        fs::write(&self.flag, "").unwrap();
    }

    /// From here on there is room again.
    pub(crate) fn free(&self) {
        fs::remove_file(&self.flag).unwrap();
    }
}

/// Makes the library that answers for the disk, with the compiler that Rust needs for linking.
fn library(folder: &Path) -> PathBuf {
    let place = folder.join("full_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/full_disk.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o"])
        .args([&place, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(made.success(), "cc cannot make {}", place.display());
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    place
}
