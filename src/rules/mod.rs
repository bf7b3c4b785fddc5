//! The rules: one file each, named after the rule (`kfunc_context.rs` is `kfunc-context`).
//!
//! A rule's leading `//!` comment is its manual page: [`RuleInfo`] takes it from the rule's own
//! source text, so `scx-lint explain` cannot say anything else than the file does. It begins with
//! one line that says the problem, and has the sections `## What it finds`, `## Why` and
//! `## What to do`; a test over this directory checks that, and that no rule is left out of [`ALL`].
//!
//! ```text
//! //! A kfunc is called from a callback that does not permit it.
//! //!
//! //! ## What it finds
//! //! …
//! pub struct KfuncContext;
//!
//! static INFO: RuleInfo = RuleInfo {
//!     name: "kfunc-context",
//!     level: Level::Error,
//!     lifecycle: Lifecycle::Stable { since: "0.1.0" },
//!     source: include_str!("kfunc_context.rs"),
//! };
//!
//! impl Rule for KfuncContext { … }
//! ```

mod async_context;
mod callback_missing;
mod callback_sleepable;
mod cid_form;
mod deferred_loop;
mod kernel_btf_incompatible;
mod kfunc_context;
mod kfunc_missing;
mod kfunc_program_type;
mod kfunc_sleepable;
mod nesting_cycle;
mod nesting_order;
mod struct_ops_binding;
pub mod support;
mod type_missing;
mod unverifiable;

use std::fmt;

use crate::report::Level;

pub use support::{Case, Finding, Findings, Host, ProgramCase};

/// Every rule, in the order of their names.
pub static ALL: &[&dyn Rule] = &[
    &async_context::AsyncContext,
    &callback_missing::CallbackMissing,
    &callback_sleepable::CallbackSleepable,
    &cid_form::CidForm,
    &deferred_loop::DeferredLoop,
    &kernel_btf_incompatible::KernelBtfIncompatible,
    &kfunc_context::KfuncContext,
    &kfunc_missing::KfuncMissing,
    &kfunc_program_type::KfuncProgramType,
    &kfunc_sleepable::KfuncSleepable,
    &nesting_cycle::NestingCycle,
    &nesting_order::NestingOrder,
    &struct_ops_binding::StructOpsBinding,
    &type_missing::TypeMissing,
    &unverifiable::Unverifiable,
];

/// One rule.
pub trait Rule: Sync {
    /// What it is called and how it is explained.
    fn info(&self) -> &'static RuleInfo;

    /// Reports what it finds in one object on one kernel; findings that differ only in their kernels
    /// become one in [`crate::report::Report::new`].
    fn check(&self, case: &Case<'_>, out: &mut Findings);
}

/// What is known of a rule beside what it does.
#[derive(Debug)]
pub struct RuleInfo {
    /// Kebab-case; the identifier in every format and in configuration.
    pub name: &'static str,
    /// The level its findings have unless configured otherwise.
    pub level: Level,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// The text of the rule's own file.
    pub source: &'static str,
}

/// How far a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// May change or go; only on request.
    Preview {
        /// Version it came with.
        since: &'static str,
    },
    /// Always on.
    Stable {
        /// Version it became stable in.
        since: &'static str,
    },
    /// Still there, to be removed.
    Deprecated {
        /// Version it was deprecated in.
        since: &'static str,
    },
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preview { since } => write!(f, "preview since {since}"),
            Self::Stable { since } => write!(f, "stable since {since}"),
            Self::Deprecated { since } => write!(f, "deprecated since {since}"),
        }
    }
}

impl RuleInfo {
    /// One line: what the problem is.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        module_doc(self.source).next().unwrap_or_default()
    }

    /// The manual page, in Markdown.
    #[must_use]
    pub fn explanation(&self) -> String {
        module_doc(self.source).collect::<Vec<_>>().join("\n")
    }
}

/// The lines of the leading `//!` block of a source file.
fn module_doc(source: &'static str) -> impl Iterator<Item = &'static str> {
    source.lines().map_while(|line| {
        let text = line.strip_prefix("//!")?;
        Some(text.strip_prefix(' ').unwrap_or(text))
    })
}

/// The rule called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static RuleInfo> {
    ALL.iter()
        .map(|rule| rule.info())
        .find(|info| info.name == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_module_comment_is_the_manual_page() {
        let info = RuleInfo {
            name: "example",
            level: Level::Note,
            lifecycle: Lifecycle::Preview { since: "0.1.0" },
            source: "//! One line.\n//!\n//! ## Why\n//!     code\nuse x;\n//! not this\n",
        };
        assert_eq!(info.summary(), "One line.");
        assert_eq!(info.explanation(), "One line.\n\n## Why\n    code");
        assert_eq!(info.lifecycle.to_string(), "preview since 0.1.0");
    }

    #[test]
    fn every_file_here_is_a_registered_rule_of_its_name() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules");
        let files: BTreeSet<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".rs").map(|stem| stem.replace('_', "-")))
            .filter(|name| name != "mod")
            .collect();
        let registered: Vec<&str> = ALL.iter().map(|rule| rule.info().name).collect();
        assert!(registered.is_sorted(), "{registered:?}");
        assert_eq!(
            files,
            registered.iter().map(|&name| name.to_owned()).collect()
        );
    }

    #[test]
    fn every_manual_page_is_complete() {
        for info in ALL.iter().map(|rule| rule.info()) {
            let page = info.explanation();
            for heading in ["\n## What it finds\n", "\n## Why\n", "\n## What to do\n"] {
                assert!(page.contains(heading), "{}: no {heading:?}", info.name);
            }
            assert!(!info.summary().is_empty(), "{}: no summary", info.name);
            assert!(
                info.source.contains(&format!("\"{}\"", info.name)),
                "{}: not its own source",
                info.name
            );
        }
    }
}
