//! `--kernel`: which of the kernels the tables describe.

use std::str::FromStr;

use super::error::RulesError;
use super::release::Release;
use super::tables::Tables;

/// What `--kernel` may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSelection {
    /// Every series of the tables.
    All,
    /// The kernel that runs here, with its own BTF.
    Host,
    /// One release, with a point release or without.
    One(Release),
    /// The series between two, both included; open where there is none.
    Range {
        /// As written, for messages.
        text: String,
        /// First.
        from: Option<Release>,
        /// Last.
        to: Option<Release>,
    },
}

impl FromStr for KernelSelection {
    type Err = RulesError;

    fn from_str(text: &str) -> Result<KernelSelection, RulesError> {
        let text = text.trim();
        let release = |part: &str| {
            part.trim()
                .parse::<Release>()
                .map_err(|error| RulesError::Selection {
                    text: text.to_owned(),
                    reason: error.to_string(),
                })
        };
        let range = |from, to| KernelSelection::Range {
            text: text.to_owned(),
            from,
            to,
        };
        Ok(match text {
            "all" => KernelSelection::All,
            "host" => KernelSelection::Host,
            _ => {
                if let Some(from) = text.strip_prefix(">=") {
                    range(Some(release(from)?), None)
                } else if let Some(to) = text.strip_prefix("<=") {
                    range(None, Some(release(to)?))
                } else if let Some((from, to)) = text.split_once("..") {
                    let end = |part: &str| match part.trim() {
                        "" => Ok(None),
                        part => release(part).map(Some),
                    };
                    range(end(from)?, end(to)?)
                } else {
                    KernelSelection::One(release(text)?)
                }
            }
        })
    }
}

impl KernelSelection {
    /// The releases it selects, oldest first; none for [`KernelSelection::Host`], which only the
    /// host can name.
    pub fn releases(&self, tables: &Tables) -> Result<Vec<Release>, RulesError> {
        let nothing = |text: &str, reason: String| RulesError::Selection {
            text: text.to_owned(),
            reason,
        };
        match self {
            KernelSelection::All => Ok(tables.releases().to_vec()),
            KernelSelection::Host => Ok(Vec::new()),
            // `kernel()` says whether it is described.
            KernelSelection::One(release) => tables.kernel(*release).map(|_| vec![*release]),
            KernelSelection::Range { text, from, to } => {
                if let (Some(from), Some(to)) = (from, to)
                    && from.first() > to.last()
                {
                    return Err(nothing(text, "it ends before it begins".to_owned()));
                }
                let inside = |release: &&Release| {
                    from.is_none_or(|from| release.last() >= from.first())
                        && to.is_none_or(|to| release.first() <= to.last())
                };
                let selected: Vec<Release> =
                    tables.releases().iter().filter(inside).copied().collect();
                if selected.is_empty() {
                    let known: Vec<String> =
                        tables.releases().iter().map(Release::to_string).collect();
                    return Err(nothing(
                        text,
                        format!("the tables describe {}", known.join(", ")),
                    ));
                }
                Ok(selected)
            }
        }
    }
}
