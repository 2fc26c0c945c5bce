//! Owns what the kernel says of processes: memory and processor time, from `/proc`.

use apono_connector::pg::Session;
use std::fs;

/// Ticks a second in which Linux counts processor time for programs, on every machine it runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process so far, in seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let fields = stat(pid).unwrap_or_default();
    ticks(&fields, 14) + ticks(&fields, 15)
}

/// Processor time of a server with all its sessions, those that are over included, in seconds.
pub(crate) fn server_cpu(postmaster: u32) -> f64 {
    let ended = stat(postmaster).map_or(0.0, |own| ticks(&own, 16) + ticks(&own, 17));
    let children = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| parent(&fields) == postmaster))
        .map(cpu);
    ended + cpu(postmaster) + children.sum::<f64>()
}

/// Finds the first process of the server a session is of.
pub(crate) fn postmaster(session: &Session) -> u32 {
    let backend = u32::try_from(session.server().backend_pid).unwrap();
    parent(&stat(backend).unwrap())
}

/// Memory of a process now and at its most, in MiB.
pub(crate) fn memory(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (mib("VmRSS:"), mib("VmHWM:"))
}

/// The fields of `/proc/…/stat` after the name, which may hold anything; nothing when the process is gone.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// A field by its number in the manual, where the first one after the name is 3.
fn ticks(fields: &[String], number: usize) -> f64 {
    let field = fields.get(number - 3).and_then(|text| text.parse().ok());
    field.unwrap_or(0.0) / TICKS_PER_SECOND
}

fn parent(fields: &[String]) -> u32 {
    fields[1].parse().unwrap()
}
