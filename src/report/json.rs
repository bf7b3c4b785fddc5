//! The JSON document: the canonical types as they stand, one document, indented, newline-ended.

use std::io::{self, Write};

use super::Report;

/// Writes `report` to `out`.
///
/// # Errors
/// When `out` cannot be written.
pub fn render(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_pretty(report, out)
}

/// Writes any serialisable answer the same way, so that every subcommand's JSON looks alike.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_pretty<T: serde::Serialize + ?Sized>(
    value: &T,
    out: &mut dyn Write,
) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}
