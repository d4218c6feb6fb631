//! The disk that brokers write to.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

const PAGE: [u8; 4096] = [0x5a; 4096];

/// Syncs per second that one writer gets from the disk of `directory`: 4 KiB appended, then `fdatasync`, again and again.
///
/// # Errors
/// If the file cannot be written.
pub fn syncs_per_second(directory: &Path, time: Duration) -> Result<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    append(&mut file, 0)?;
    let begin = Instant::now();
    let mut syncs = 0_u32;
    while begin.elapsed() < time {
        syncs += 1;
        append(&mut file, u64::from(syncs))?;
    }
    Ok(f64::from(syncs) / begin.elapsed().as_secs_f64())
}

fn append(file: &mut File, page: u64) -> Result<()> {
    file.seek(SeekFrom::Start(page * PAGE.len() as u64))?;
    file.write_all(&PAGE)?;
    file.sync_data()?;
    Ok(())
}

/// Bytes of the files in a directory and those below. A file that goes away meanwhile is none.
///
/// # Errors
/// If the directory cannot be read.
pub fn bytes_in(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        sum += if path.is_dir() {
            bytes_in(&path)?
        } else {
            path.metadata().map_or(0, |metadata| metadata.len())
        };
    }
    Ok(sum)
}
