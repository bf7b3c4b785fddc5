//! Collects [`Problem`]s, up to a limit that keeps a damaged file from filling the memory.

use super::model::Problem;

/// More than anyone reads.
const MAX_PROBLEMS: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// A problem of the object as a whole.
    pub(super) fn push(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.add(message.into(), help.into(), None, None);
    }

    /// A problem of one program, map or extern.
    pub(super) fn push_for(
        &mut self,
        subject: &str,
        offset: Option<u64>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            message.into(),
            help.into(),
            Some(subject.to_owned()),
            offset,
        );
    }

    fn add(&mut self, message: String, help: String, subject: Option<String>, offset: Option<u64>) {
        if self.list.len() >= MAX_PROBLEMS {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.list.push(Problem {
            message,
            help,
            subject,
            offset,
        });
    }

    pub(super) fn into_list(mut self) -> Vec<Problem> {
        if self.dropped > 0 {
            self.list.push(Problem {
                message: format!(
                    "{} more problems of this object are not listed",
                    self.dropped
                ),
                help: "build the object again with a current clang".to_owned(),
                subject: None,
                offset: None,
            });
        }
        self.list
    }
}
