//! Text for people, through `codespan-reporting`, which stays inside this file and `snippet.rs`.
//!
//! A finding whose outcome differs by kernel is several diagnostics; here it is one place with
//! several verdicts.

use std::io;
use std::path::{Path, PathBuf};

use codespan_reporting::diagnostic::{self as codespan, LabelStyle, Severity};
use codespan_reporting::files::Error;
pub use codespan_reporting::term::termcolor;
use codespan_reporting::term::{self, Styles, StylesWriter};
use termcolor::{Color, ColorSpec, WriteColor};

use super::diagnostic::{
    ChainKind, ChainLink, Diagnostic, KernelVerdict, Level, ObjectReport, Outcome, Report, Summary,
};
use super::escape::escape;
use super::kernels::Series;
use super::snippet::{Mark, Snippets, Sources};

/// What the renderer has to be told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The releases in order, so that sets of kernels can be shown as ranges.
    pub series: Series,
    /// Directories in which source files are looked for, before the object's own; usually the
    /// current one.
    pub roots: Vec<PathBuf>,
}

/// `report` as text without colour.
///
/// # Errors
/// When something in it cannot be rendered.
pub fn to_text(report: &Report, options: &Options) -> io::Result<String> {
    let mut out = termcolor::NoColor::new(Vec::new());
    render(report, options, &mut out)?;
    Ok(String::from_utf8_lossy(&out.into_inner()).into_owned())
}

/// Writes `report` to `out`; whether in colour is up to `out`.
///
/// # Errors
/// When `out` cannot be written.
pub fn render(report: &Report, options: &Options, out: &mut dyn WriteColor) -> io::Result<()> {
    let mut sources = Sources::new(options.roots.clone());
    let mut printed = 0;
    for object in &report.objects {
        let name = object.name();
        let findings: Vec<&Diagnostic> = report
            .diagnostics
            .iter()
            .filter(|d| d.object == name)
            .collect();
        printed += findings.len();
        let places = render_findings(&findings, &object.path, options, &mut sources, out)?;
        render_summary(object, &name, &findings, places, options, out)?;
    }
    // Nothing a rule says may be lost, whatever it says it about.
    if printed < report.diagnostics.len() {
        let known: Vec<String> = report.objects.iter().map(ObjectReport::name).collect();
        let others: Vec<&Diagnostic> = report
            .diagnostics
            .iter()
            .filter(|d| !known.contains(&d.object))
            .collect();
        render_findings(&others, "", options, &mut sources, out)?;
    }
    if report.objects.len() > 1 {
        writeln!(
            out,
            "{} objects: {}",
            report.objects.len(),
            counts(&report.summary)
        )?;
    }
    Ok(())
}

/// Prints findings, those of one place together, and returns the number of places.
fn render_findings(
    findings: &[&Diagnostic],
    path: &str,
    options: &Options,
    sources: &mut Sources,
    out: &mut dyn WriteColor,
) -> io::Result<usize> {
    let mut places: Vec<Vec<&Diagnostic>> = Vec::new();
    for &finding in findings {
        // Findings are sorted by place, so one that belongs together is among the last few.
        let same =
            |place: &&mut Vec<&Diagnostic>| place.first().is_some_and(|f| f.same_place(finding));
        match places.iter_mut().rev().take(16).find(same) {
            Some(place) => place.push(finding),
            None => places.push(vec![finding]),
        }
    }
    let beside = Path::new(path).parent();
    for place in &places {
        render_place(place, beside, options, sources, out)?;
    }
    Ok(places.len())
}

/// Prints one place: all of `findings` agree in everything but kernels, outcome, help and notes.
fn render_place(
    findings: &[&Diagnostic],
    beside: Option<&Path>,
    options: &Options,
    sources: &mut Sources,
    out: &mut dyn WriteColor,
) -> io::Result<()> {
    let Some(&first) = findings.first() else {
        return Ok(());
    };
    let (snippets, labels) = Snippets::build(&marks(first), sources, beside);

    let mut notes: Vec<String> = findings
        .iter()
        .filter_map(|f| verdict(f, options))
        .collect();
    notes.extend(chain_note(&first.chain));
    let more = findings.iter().flat_map(|f| {
        let help = f.help.iter().map(|help| format!("help: {}", escape(help)));
        f.notes
            .iter()
            .map(|note| format!("note: {}", escape(note)))
            .chain(help)
    });
    for note in more {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes.extend(snippets.changed.iter().map(|file| {
        format!("note: `{file}` has changed since the object was compiled, so its lines are shown from the object")
    }));

    let severity = match first.level {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Note => Severity::Note,
    };
    let rendered = codespan::Diagnostic::new(severity)
        .with_code(escape(&first.rule))
        .with_message(escape(&first.message))
        .with_labels(labels)
        .with_notes(notes);
    let styles = Styles::default();
    let mut writer = StylesWriter::new(out, &styles);
    term::emit_to_write_style(&mut writer, &term::Config::default(), &snippets, &rendered).map_err(
        |error| match error {
            Error::Io(error) => error,
            other => io::Error::other(other),
        },
    )
}

/// `on 6.12–7.0: killed at run time`.
fn verdict(finding: &Diagnostic, options: &Options) -> Option<String> {
    let kernels = options.series.ranges(&finding.kernels);
    let kernels = escape(&kernels);
    match (finding.outcome, kernels.is_empty()) {
        (Outcome::Ok, true) => None,
        (Outcome::Ok, false) => Some(format!("on {kernels}")),
        (outcome, true) => Some(outcome.phrase().to_owned()),
        (outcome, false) => Some(format!("on {kernels}: {}", outcome.phrase())),
    }
}

/// Everything to point at, the finding's own place first.
fn marks(finding: &Diagnostic) -> Vec<Mark<'_>> {
    let mut marks = Vec::new();
    // The last link usually is the finding's place, and then says it best.
    let last = finding.chain.last().filter(|link| {
        finding.location.is_none() || link.location.is_none() || link.location == finding.location
    });
    let location = finding
        .location
        .as_ref()
        .or(last.and_then(|link| link.location.as_ref()));
    if let Some(location) = location {
        let (names, message) = match (last, &finding.kfunc) {
            (Some(link), _) => (names(link, finding), label(link, finding)),
            (None, Some(kfunc)) => (
                vec![kfunc.as_str()],
                format!("`{}` is called here", escape(kfunc)),
            ),
            (None, None) => (Vec::new(), String::new()),
        };
        marks.push(Mark {
            location,
            names,
            message,
            style: LabelStyle::Primary,
        });
    }
    let hops = finding.chain.len() - usize::from(last.is_some() && location.is_some());
    for link in finding.chain.iter().take(hops) {
        if let Some(location) = &link.location {
            marks.push(Mark {
                location,
                names: names(link, finding),
                message: label(link, finding),
                style: LabelStyle::Secondary,
            });
        }
    }
    marks
}

/// What to underline for a link.
fn names<'a>(link: &'a ChainLink, finding: &'a Diagnostic) -> Vec<&'a str> {
    match link.kind {
        // Its own line names the program, not the callback.
        ChainKind::Callback => finding
            .program
            .as_deref()
            .into_iter()
            .chain([link.name.as_str()])
            .collect(),
        ChainKind::Nested => finding.kfunc.as_deref().into_iter().collect(),
        _ => vec![link.name.as_str()],
    }
}

/// What is said where a link points.
fn label(link: &ChainLink, finding: &Diagnostic) -> String {
    let name = escape(&link.name);
    match link.kind {
        ChainKind::Callback => match &finding.program {
            Some(program) => format!("callback `{name}` is program `{}`", escape(program)),
            None => format!("callback `{name}` starts here"),
        },
        ChainKind::Program => format!("program `{name}` starts here"),
        ChainKind::Subprogram => format!("`{name}` is entered from here"),
        ChainKind::Async => format!("`{name}` is armed here and runs later, outside the callback"),
        ChainKind::Kfunc => format!("`{name}` is called here"),
        ChainKind::Nested => format!("the kernel runs callback `{name}` inside this call"),
    }
}

/// The chain in the order of calls, where the snippet alone does not show it: it lists lines in
/// the order of the file, and only those that have a line.
fn chain_note(chain: &[ChainLink]) -> Option<String> {
    let all_placed = chain.iter().all(|link| {
        link.location
            .as_ref()
            .is_some_and(|location| location.line > 0)
    });
    if chain.is_empty() || (chain.len() < 3 && all_placed) {
        return None;
    }
    let hops: Vec<String> = chain
        .iter()
        .map(|link| {
            let kind = match link.kind {
                ChainKind::Callback => "callback ",
                ChainKind::Program => "program ",
                ChainKind::Subprogram | ChainKind::Kfunc => "",
                ChainKind::Async => "later ",
                ChainKind::Nested => "nested callback ",
            };
            let place = match &link.location {
                Some(location) if location.line > 0 => {
                    format!(" ({}:{})", escape(&location.file), location.line)
                }
                _ => String::new(),
            };
            format!("{kind}`{}`{place}", escape(&link.name))
        })
        .collect();
    Some(format!("chain: {}", hops.join(" → ")))
}

/// The closing lines of an object: findings, then kernels by outcome, best first.
fn render_summary(
    object: &ObjectReport,
    name: &str,
    findings: &[&Diagnostic],
    places: usize,
    options: &Options,
    out: &mut dyn WriteColor,
) -> io::Result<()> {
    let summary = Summary::of(findings.iter().copied());
    out.set_color(ColorSpec::new().set_bold(true))?;
    write!(out, "{}", escape(name))?;
    out.reset()?;
    write!(out, ": {}", counts(&summary))?;
    if places < findings.len() {
        write!(out, " in {}", plural(places, "place"))?;
    }
    writeln!(out)?;

    let mut by_outcome: Vec<(Outcome, Vec<&KernelVerdict>)> = Vec::new();
    for verdict in &object.kernels {
        match by_outcome
            .iter_mut()
            .find(|(outcome, _)| *outcome == verdict.outcome)
        {
            Some((_, verdicts)) => verdicts.push(verdict),
            None => by_outcome.push((verdict.outcome, vec![verdict])),
        }
    }
    by_outcome.sort_by_key(|(outcome, _)| *outcome);
    if !object.kernels.is_empty() && by_outcome.first().is_none_or(|(o, _)| *o != Outcome::Ok) {
        by_outcome.insert(0, (Outcome::Ok, Vec::new()));
    }
    for (outcome, verdicts) in &by_outcome {
        render_outcome(*outcome, verdicts, options, out)?;
    }
    writeln!(out)
}

/// `    killed at run time: 6.12–7.0`, with its reasons below.
fn render_outcome(
    outcome: Outcome,
    verdicts: &[&KernelVerdict],
    options: &Options,
    out: &mut dyn WriteColor,
) -> io::Result<()> {
    let names = |verdicts: &[&KernelVerdict]| -> String {
        let kernels: Vec<&str> = verdicts.iter().map(|v| v.kernel.as_str()).collect();
        escape(&options.series.ranges(&kernels)).into_owned()
    };
    let all = names(verdicts);
    let (phrase, color) = match outcome {
        Outcome::Ok => ("runs on", Color::Green),
        Outcome::Unsupported => (outcome.phrase(), Color::Yellow),
        _ => (outcome.phrase(), Color::Red),
    };
    write!(out, "    ")?;
    out.set_color(ColorSpec::new().set_fg(Some(color)))?;
    write!(out, "{phrase}")?;
    out.reset()?;
    writeln!(
        out,
        ": {}",
        if all.is_empty() {
            "none of these kernels"
        } else {
            &all
        }
    )?;

    let mut reasons: Vec<(&str, Vec<&KernelVerdict>)> = Vec::new();
    for &verdict in verdicts {
        for reason in &verdict.reasons {
            match reasons.iter_mut().find(|(text, _)| text == reason) {
                Some((_, kernels)) => kernels.push(verdict),
                None => reasons.push((reason, vec![verdict])),
            }
        }
    }
    for (reason, kernels) in reasons {
        let kernels = names(&kernels);
        if kernels == all {
            writeln!(out, "        {}", escape(reason))?;
        } else {
            writeln!(out, "        {kernels}: {}", escape(reason))?;
        }
    }
    Ok(())
}

/// `2 errors, 1 warning`.
fn counts(summary: &Summary) -> String {
    let parts: Vec<String> = [
        (summary.errors, "error"),
        (summary.warnings, "warning"),
        (summary.notes, "note"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| plural(count, what))
    .collect();
    if parts.is_empty() {
        "no findings".to_owned()
    } else {
        parts.join(", ")
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
