//! The probe's answers, read from where `cargo xtask probe` keeps them and packed for the record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::OracleError;
use super::judge::{
    DAMAGED, DENIED, NEEDS_RCU, NEEDS_SLEEPABLE, NOT_ASKED, NOT_CALLABLE, PERMITTED,
};
use super::record::{Matrix, Record, Row};

/// A line of the probe, as far as it is of interest.
#[derive(Debug, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Line {
    Kernel {
        version: String,
    },
    Kfunc {
        name: String,
    },
    // serde reads no i128 from a tagged line.
    Enum {
        name: String,
        values: Vec<(String, serde_json::Number)>,
    },
    StructOps {
        name: String,
        callbacks: Vec<Named>,
        fields: Vec<String>,
    },
    Hook {
        hook: String,
        target: String,
        sleepable: bool,
    },
    Call {
        kfunc: String,
        verdict: String,
    },
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// Reads the answers into a record.
pub fn read(path: &Path, record: &mut Record) -> Result<(), OracleError> {
    let text = std::fs::read_to_string(path).map_err(|source| OracleError::File {
        path: path.to_owned(),
        source,
    })?;
    let mut matrix = Matrix::default();
    let mut damaged = BTreeSet::new();
    let mut position = BTreeMap::new();
    // The row in the making: one letter for each kfunc.
    let mut letters: Vec<char> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = serde_json::from_str(line).map_err(|source| OracleError::Probe {
            path: path.to_owned(),
            line: number + 1,
            source,
        })?;
        match line {
            Line::Kernel { version } => record.build = version,
            Line::Kfunc { name } => {
                position.insert(name.clone(), matrix.kfuncs.len());
                matrix.kfuncs.push(name);
            }
            Line::Enum { name, values } => {
                let values = values
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value.as_i128()?)));
                matrix.enums.entry(name).or_default().extend(values);
            }
            Line::StructOps {
                name,
                callbacks,
                fields,
            } => {
                let callbacks = callbacks
                    .into_iter()
                    .map(|callback| callback.name)
                    .collect();
                matrix.callbacks.insert(name.clone(), callbacks);
                matrix.fields.insert(name, fields);
            }
            Line::Hook {
                hook,
                target,
                sleepable,
            } => {
                finish(&mut matrix, &mut letters);
                matrix.rows.push(Row {
                    hook,
                    target,
                    sleepable,
                    verdicts: String::new(),
                });
            }
            Line::Call { kfunc, verdict } => {
                let letter = letter(&verdict);
                if letter == DAMAGED {
                    damaged.insert(kfunc.clone());
                }
                letters.resize(matrix.kfuncs.len(), NOT_ASKED);
                if let Some(slot) = position.get(&kfunc).and_then(|at| letters.get_mut(*at)) {
                    *slot = letter;
                }
            }
        }
    }
    finish(&mut matrix, &mut letters);
    record.matrix = matrix;
    record.damaged = damaged.into_iter().collect();
    Ok(())
}

fn finish(matrix: &mut Matrix, letters: &mut Vec<char>) {
    if let Some(row) = matrix.rows.last_mut() {
        row.verdicts = letters.drain(..).collect();
    }
}

fn letter(verdict: &str) -> char {
    match verdict {
        "permitted" => PERMITTED,
        "needs-sleepable" => NEEDS_SLEEPABLE,
        "needs-rcu" => NEEDS_RCU,
        "not-allowed" => DENIED,
        "not-callable" => NOT_CALLABLE,
        "implicit-twin-missing" => DAMAGED,
        _ => '?',
    }
}
