//! The kernel's messages from a point in time on.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

/// Lines kept: a stalled machine writes without end.
const MOST: usize = 200;

/// A place in `/dev/kmsg`.
pub struct KernelLog(Option<File>);

impl KernelLog {
    /// From now on.
    pub fn here() -> KernelLog {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg");
        KernelLog(
            file.ok()
                .filter(|mut file| file.seek(SeekFrom::End(0)).is_ok()),
        )
    }

    /// The messages since, without their stamps; one read gives one record.
    pub fn since(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        while let Some(length) = self.0.as_mut().and_then(|file| file.read(&mut record).ok()) {
            let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
            let text = text.split_once(';').map_or(&*text, |(_, text)| text);
            lines.extend(
                text.lines()
                    .filter(|line| !line.starts_with(' '))
                    .map(str::to_owned),
            );
            if length == 0 || lines.len() > MOST {
                break;
            }
        }
        lines
    }
}
