//! The permission matrix: which callback may call which kfunc on which kernel.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::kernels::Series;

/// One cell of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Kernel.
    pub kernel: String,
    /// `sched_ext_ops` or `sched_ext_ops_cid`.
    pub struct_ops: String,
    /// Callback.
    pub callback: String,
    /// kfunc.
    pub kfunc: String,
    /// Only a sleepable program may call it.
    pub sleepable_required: bool,
    /// Whether the callback may call it (from a sleepable program, if one is required).
    pub permitted: bool,
    /// What a call does.
    pub outcome: Outcome,
}

/// An answer of `kfunc`, `callback` or `table`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The cells asked for.
    pub rows: Vec<Row>,
    /// What else there is to know, one line each: renames, deprecations, near names.
    pub notes: Vec<String>,
}

/// What a text answer is arranged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrange<'a> {
    /// `kfunc NAME`: callbacks with equal answers together.
    Kfunc(&'a str),
    /// `callback NAME`: kfuncs with equal answers together.
    Callback(&'a str),
    /// `table`: per kernel, what each callback may call.
    Kernels,
}

/// Writes the rows as one JSON array, a row a line: there are tens of thousands.
///
/// # Errors
/// When `out` cannot be written.
pub fn render_json(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "[")?;
    for (at, row) in table.rows.iter().enumerate() {
        writeln!(out, "{}", if at == 0 { "" } else { "," })?;
        serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
    }
    writeln!(out, "\n]")
}

/// Writes the answer as text.
///
/// # Errors
/// When `out` cannot be written.
pub fn render(
    table: &Table,
    by: Arrange<'_>,
    series: &Series,
    out: &mut dyn Write,
) -> io::Result<()> {
    match by {
        Arrange::Kfunc(name) => by_answer(table, name, |row| &row.callback, series, out)?,
        Arrange::Callback(name) => by_answer(table, name, |row| &row.kfunc, series, out)?,
        Arrange::Kernels => by_kernel(table, series, out)?,
    }
    for note in &table.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

/// Per `struct_ops` type, the names that have the same answer on every kernel on one line.
fn by_answer(
    table: &Table,
    title: &str,
    name: fn(&Row) -> &String,
    series: &Series,
    out: &mut dyn Write,
) -> io::Result<()> {
    let all: Vec<&str> = table.rows.iter().map(|row| row.kernel.as_str()).collect();
    writeln!(
        out,
        "{title}: {}",
        if all.is_empty() {
            "on no kernel".to_owned()
        } else {
            series.ranges(&all)
        }
    )?;

    // What each name's answers are, by type and name.
    type Answers<'t> = BTreeMap<Answer, Vec<&'t str>>;
    let mut names: BTreeMap<(&str, &str), Answers<'_>> = BTreeMap::new();
    for row in &table.rows {
        let answers = names.entry((&row.struct_ops, name(row))).or_default();
        answers
            .entry(Answer::of(row))
            .or_default()
            .push(&row.kernel);
    }
    let mut types: BTreeMap<&str, Vec<(Answers<'_>, Vec<&str>)>> = BTreeMap::new();
    for ((struct_ops, name), answers) in names {
        let groups = types.entry(struct_ops).or_default();
        match groups.iter_mut().find(|(known, _)| *known == answers) {
            Some((_, names)) => names.push(name),
            None => groups.push((answers, vec![name])),
        }
    }
    for (struct_ops, mut groups) in types {
        writeln!(out, "  {struct_ops}")?;
        groups.sort_by(|a, b| a.0.keys().next().cmp(&b.0.keys().next()));
        for (answers, names) in groups {
            writeln!(out, "    {}", names.join(", "))?;
            for (answer, kernels) in answers {
                writeln!(
                    out,
                    "        {}: {}",
                    answer.phrase(),
                    series.ranges(&kernels)
                )?;
            }
        }
    }
    Ok(())
}

/// The answer of one cell, permitted before not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    refused: bool,
    outcome: Outcome,
    sleepable: bool,
}

impl Answer {
    fn of(row: &Row) -> Self {
        Self {
            refused: !row.permitted,
            outcome: row.outcome,
            sleepable: row.sleepable_required,
        }
    }

    fn phrase(self) -> String {
        let sleepable = if self.sleepable {
            ", sleepable only"
        } else {
            ""
        };
        match (self.refused, self.outcome) {
            (false, Outcome::Ok) => format!("permitted{sleepable}"),
            (false, outcome) => format!("permitted{sleepable}, but {}", outcome.phrase()),
            (true, outcome) => outcome.phrase().to_owned(),
        }
    }
}

/// Per kernel (equal ones together) and type, what may be called everywhere and what each callback
/// may call beyond that.
fn by_kernel(table: &Table, series: &Series, out: &mut dyn Write) -> io::Result<()> {
    type Permitted<'t> = BTreeMap<&'t str, BTreeMap<&'t str, Vec<&'t str>>>;
    let mut kernels: Vec<(Permitted<'_>, Vec<&str>)> = Vec::new();
    for rows in table.rows.chunk_by(|a, b| a.kernel == b.kernel) {
        let mut permitted = Permitted::new();
        for row in rows {
            let callbacks = permitted.entry(&row.struct_ops).or_default();
            let kfuncs = callbacks.entry(&row.callback).or_default();
            if row.permitted {
                kfuncs.push(&row.kfunc);
            }
        }
        let Some(kernel) = rows.first().map(|row| row.kernel.as_str()) else {
            continue;
        };
        match kernels.iter_mut().find(|(known, _)| *known == permitted) {
            Some((_, names)) => names.push(kernel),
            None => kernels.push((permitted, vec![kernel])),
        }
    }
    for (types, names) in kernels {
        writeln!(out, "{}", series.ranges(&names))?;
        for (struct_ops, callbacks) in types {
            let everywhere: Vec<&str> = callbacks
                .values()
                .next()
                .into_iter()
                .flatten()
                .copied()
                .filter(|kfunc| callbacks.values().all(|kfuncs| kfuncs.contains(kfunc)))
                .collect();
            writeln!(out, "  {struct_ops}")?;
            writeln!(out, "    every callback: {}", list(&everywhere))?;
            let mut groups: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
            for (callback, kfuncs) in callbacks {
                let more: Vec<&str> = kfuncs
                    .into_iter()
                    .filter(|kfunc| !everywhere.contains(kfunc))
                    .collect();
                match groups.iter_mut().find(|(known, _)| *known == more) {
                    Some((_, callbacks)) => callbacks.push(callback),
                    None => groups.push((more, vec![callback])),
                }
            }
            for (more, callbacks) in groups {
                writeln!(out, "    {}: {}", callbacks.join(", "), list(&more))?;
            }
        }
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing more".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut rows = Vec::new();
        for (kernel, denied) in [
            ("6.12", Outcome::Killed),
            ("6.13", Outcome::Killed),
            ("7.1", Outcome::Refused),
        ] {
            for (callback, kfunc, permitted) in [
                ("dispatch", "scx_bpf_consume", true),
                ("dispatch", "scx_bpf_kick_cpu", true),
                ("enqueue", "scx_bpf_consume", false),
                ("enqueue", "scx_bpf_kick_cpu", true),
                ("tick", "scx_bpf_consume", false),
                ("tick", "scx_bpf_kick_cpu", true),
            ] {
                rows.push(Row {
                    kernel: kernel.into(),
                    struct_ops: "sched_ext_ops".into(),
                    callback: callback.into(),
                    kfunc: kfunc.into(),
                    sleepable_required: false,
                    permitted,
                    outcome: if permitted { Outcome::Ok } else { denied },
                });
            }
        }
        Table {
            rows,
            notes: vec!["renamed to `scx_bpf_dsq_move_to_local` in 6.13".into()],
        }
    }

    fn text(table: &Table, by: Arrange<'_>) -> String {
        let mut out = Vec::new();
        render(
            table,
            by,
            &Series::new(["6.12", "6.13", "7.0", "7.1"]),
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kfunc_answers_where_and_since_when() {
        let mut table = table();
        table.rows.retain(|row| row.kfunc == "scx_bpf_consume");
        insta::assert_snapshot!(text(&table, Arrange::Kfunc("scx_bpf_consume")));
        assert!(text(&Table::default(), Arrange::Kfunc("x")).contains("x: on no kernel"));
    }

    #[test]
    fn callback_answers_what_may_be_called() {
        let mut table = table();
        table.rows.retain(|row| row.callback == "enqueue");
        insta::assert_snapshot!(text(&table, Arrange::Callback("enqueue")));
    }

    #[test]
    fn table_shows_each_callback_beyond_what_all_may_do() {
        insta::assert_snapshot!(text(&table(), Arrange::Kernels));
    }

    #[test]
    fn json_is_an_array_of_rows() {
        let mut out = Vec::new();
        render_json(&table(), &mut out).unwrap();
        assert_eq!(
            serde_json::from_slice::<Vec<Row>>(&out).unwrap(),
            table().rows
        );
        let first = String::from_utf8(out)
            .unwrap()
            .lines()
            .nth(1)
            .unwrap()
            .to_owned();
        assert_eq!(
            first,
            r#"{"kernel":"6.12","struct_ops":"sched_ext_ops","callback":"dispatch","kfunc":"scx_bpf_consume","sleepable_required":false,"permitted":true,"outcome":"ok"},"#
        );
        let mut none = Vec::new();
        render_json(&Table::default(), &mut none).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Row>>(&none).unwrap(), []);
    }
}
