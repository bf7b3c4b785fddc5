//! Checks that need the whole table: that every kernel can be put together, and that every line
//! of the compact formats can be read.

use super::error::RulesError;
use super::tables::Tables;

/// Everything a user's table has to pass at once.
pub(crate) fn everything(tables: &Tables) -> Result<(), RulesError> {
    for release in tables.releases() {
        tables.kernel(*release)?;
    }
    super::types::read(&tables.data)?;
    Ok(())
}
