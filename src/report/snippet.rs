//! Source lines for the text renderer: the few lines a finding points at, under their true numbers.
//!
//! An object carries the text of every line that made code, so a finding can be shown where the
//! source is not at hand. What was compiled is the truth: a source file is read only for what the
//! object does not carry, and one that has changed since is not shown.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use codespan_reporting::diagnostic::{Label, LabelStyle};
use codespan_reporting::files::{Error, Files};

use super::diagnostic::Location;
use super::escape;

/// Source files beyond this are not read: no one wrote them by hand.
const MAX_SOURCE_BYTES: u64 = 8 << 20;

/// Lines longer than this are shown from around what they are shown for.
const MAX_LINE_CHARS: usize = 160;

/// How much of a shortened line comes before the first label.
const LEAD_CHARS: usize = 32;

/// Source files that have been looked for.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Directories that relative names are tried in, in order.
    roots: Vec<PathBuf>,
    cache: HashMap<PathBuf, Option<Source>>,
}

/// A source file that was found.
#[derive(Debug)]
struct Source {
    bytes: Vec<u8>,
    /// Start of each line.
    starts: Vec<usize>,
}

impl Sources {
    /// Looks for relative names in `roots`.
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            cache: HashMap::new(),
        }
    }

    /// Line `number` of `file` if it can be found; `beside` is the directory of the object.
    fn line(&mut self, file: &str, beside: Option<&Path>, number: u32) -> Option<String> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let roots = self.roots.iter().map(PathBuf::as_path).chain(beside);
        let path = roots
            .map(|root| root.join(file))
            .find(|path| path.is_file())?;
        let source = self
            .cache
            .entry(path)
            .or_insert_with_key(|path| Source::read(path));
        source.as_ref()?.line(index)
    }
}

impl Source {
    fn read(path: &Path) -> Option<Self> {
        let file = std::fs::File::open(path).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_SOURCE_BYTES + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_SOURCE_BYTES) {
            return None;
        }
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Some(Self { bytes, starts })
    }

    fn line(&self, index: usize) -> Option<String> {
        let start = *self.starts.get(index)?;
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.bytes.len(), |next| next - 1);
        let line = String::from_utf8_lossy(self.bytes.get(start..end)?);
        Some(line.trim_end_matches('\r').to_owned())
    }
}

/// Something to point at.
pub(super) struct Mark<'a> {
    pub(super) location: &'a Location,
    /// Identifiers to underline, in order of preference, if the line has them.
    pub(super) names: Vec<&'a str>,
    pub(super) message: String,
    pub(super) style: LabelStyle,
}

/// The lines of one finding, as the file database that `codespan-reporting` asks for.
#[derive(Debug, Default)]
pub(super) struct Snippets {
    files: Vec<SnippetFile>,
    /// Files whose text on disk is not what was compiled.
    pub(super) changed: Vec<String>,
}

#[derive(Debug)]
struct SnippetFile {
    name: String,
    source: String,
    lines: Vec<SnippetLine>,
    /// Column to name for a label that starts at a byte of `source`: the compiler's.
    columns: HashMap<usize, usize>,
}

#[derive(Debug)]
struct SnippetLine {
    /// Consecutive for consecutive lines, with a gap otherwise, so that a break is drawn.
    index: usize,
    number: usize,
    range: Range<usize>,
}

impl Snippets {
    /// Collects the lines of `marks` and labels them. Marks without a line number get no label.
    pub(super) fn build(
        marks: &[Mark<'_>],
        sources: &mut Sources,
        beside: Option<&Path>,
    ) -> (Self, Vec<Label<usize>>) {
        let mut snippets = Self::default();
        let mut labels: Vec<(usize, Label<usize>)> = Vec::new();
        let mut files: Vec<(&str, BTreeMap<u32, Vec<usize>>)> = Vec::new();
        for (at, mark) in marks
            .iter()
            .enumerate()
            .filter(|(_, mark)| mark.location.line > 0)
        {
            let file = mark.location.file.as_str();
            let lines = match files.iter_mut().find(|(name, _)| *name == file) {
                Some((_, lines)) => lines,
                None => {
                    files.push((file, BTreeMap::new()));
                    let Some((_, lines)) = files.last_mut() else {
                        continue;
                    };
                    lines
                }
            };
            lines.entry(mark.location.line).or_default().push(at);
        }
        for (id, (name, lines)) in files.into_iter().enumerate() {
            let file = snippets.add_file(id, name, &lines, marks, sources, beside, &mut labels);
            snippets.files.push(file);
        }
        // In the order of the marks: the first label's file is the first shown.
        labels.sort_by_key(|(at, _)| *at);
        (
            snippets,
            labels.into_iter().map(|(_, label)| label).collect(),
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn add_file(
        &mut self,
        id: usize,
        name: &str,
        lines: &BTreeMap<u32, Vec<usize>>,
        marks: &[Mark<'_>],
        sources: &mut Sources,
        beside: Option<&Path>,
        labels: &mut Vec<(usize, Label<usize>)>,
    ) -> SnippetFile {
        let mut file = SnippetFile {
            name: escape::escape(name).into_owned(),
            source: String::new(),
            lines: Vec::new(),
            columns: HashMap::new(),
        };
        let mut previous: Option<u32> = None;
        let mut index = 0;
        let mut changed = false;
        for (&number, on_line) in lines {
            let here: Vec<(usize, &Mark<'_>)> = on_line
                .iter()
                .filter_map(|&at| marks.get(at).map(|mark| (at, mark)))
                .collect();
            let on_disk = sources.line(name, beside, number);
            let compiled = here
                .iter()
                .map(|(_, mark)| mark.location.text.as_str())
                .find(|text| !text.is_empty());
            let text = match (compiled, on_disk) {
                (Some(text), Some(disk)) => {
                    changed |= text.trim() != disk.trim();
                    text.to_owned()
                }
                (Some(text), None) => text.to_owned(),
                (None, Some(disk)) if !changed => disk,
                (None, _) => String::new(),
            };
            match previous {
                Some(before) if before + 1 == number => index += 1,
                // One line between two: shown if the source has it.
                Some(before) if before + 2 == number && !changed => {
                    if let Some(between) = sources.line(name, beside, before + 1) {
                        file.push(index + 1, before + 1, &shown(&between, &[]).text);
                        index += 2;
                    } else {
                        index += 3;
                    }
                }
                Some(_) => index += 3,
                None => {}
            }
            previous = Some(number);

            let spans: Vec<Range<usize>> = here
                .iter()
                .map(|(_, mark)| span(&text, mark.location.column, &mark.names))
                .collect();
            let shown = shown(&text, &spans);
            let start = file.push(index, number, &shown.text);
            for ((at, mark), span) in here.into_iter().zip(shown.spans) {
                let range = start + span.start..start + span.end;
                let column = usize::try_from(mark.location.column.max(1)).unwrap_or(1);
                if mark.style == LabelStyle::Primary || !file.columns.contains_key(&range.start) {
                    file.columns.insert(range.start, column);
                }
                let label = Label::new(mark.style, id, range).with_message(mark.message.as_str());
                labels.push((at, label));
            }
        }
        if changed {
            self.changed.push(file.name.clone());
        }
        file
    }
}

impl SnippetFile {
    /// Appends a line and returns where it starts.
    fn push(&mut self, index: usize, number: u32, text: &str) -> usize {
        let start = self.source.len();
        self.source.push_str(text);
        let range = start..self.source.len();
        self.source.push('\n');
        self.lines.push(SnippetLine {
            index,
            number: usize::try_from(number).unwrap_or(1),
            range,
        });
        start
    }

    fn at(&self, index: usize) -> Result<&SnippetLine, Error> {
        let max = self.lines.last().map_or(0, |line| line.index);
        self.lines
            .iter()
            .find(|line| line.index == index)
            .ok_or(Error::LineTooLarge { given: index, max })
    }
}

impl<'a> Files<'a> for Snippets {
    type FileId = usize;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> Result<&'a str, Error> {
        self.files
            .get(id)
            .map(|file| file.name.as_str())
            .ok_or(Error::FileMissing)
    }

    fn source(&'a self, id: usize) -> Result<&'a str, Error> {
        self.files
            .get(id)
            .map(|file| file.source.as_str())
            .ok_or(Error::FileMissing)
    }

    fn line_index(&'a self, id: usize, byte_index: usize) -> Result<usize, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        let after = file
            .lines
            .partition_point(|line| line.range.start <= byte_index);
        let line = after.checked_sub(1).and_then(|at| file.lines.get(at));
        Ok(line.map_or(0, |line| line.index))
    }

    fn line_number(&'a self, id: usize, line_index: usize) -> Result<usize, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        Ok(file.at(line_index)?.number)
    }

    fn column_number(&'a self, id: usize, _: usize, byte_index: usize) -> Result<usize, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        Ok(file.columns.get(&byte_index).copied().unwrap_or(1))
    }

    fn line_range(&'a self, id: usize, line_index: usize) -> Result<Range<usize>, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        Ok(file.at(line_index)?.range.clone())
    }
}

/// What to underline: the first of `names` that is on the line, best from the compiler's column on,
/// else the word at that column, else the rest of the line.
fn span(text: &str, column: u32, names: &[&str]) -> Range<usize> {
    let end = text.trim_end().len();
    let indent = text.len() - text.trim_start().len();
    let column = usize::try_from(column).unwrap_or(usize::MAX);
    let start = match column.checked_sub(1) {
        Some(start) if start < end => char_boundary(text, start),
        _ => indent.min(end),
    };
    for name in names {
        let mut found = words(text, name);
        let last = found.clone().last();
        if let Some(span) = found.find(|span| span.start >= start).or(last) {
            return span;
        }
    }
    let rest = text.get(start..end).unwrap_or_default();
    let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    start..start + if word > 0 { word } else { rest.len() }
}

/// The start of the character that `at` lies in.
fn char_boundary(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// Where `name` stands on the line as a word of its own or with a flavour suffix.
fn words<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = Range<usize>> + Clone + 't {
    let name = if name.is_empty() { "\0" } else { name };
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = text.get(..at)?.chars().next_back();
        let after = text.get(at + name.len()..)?;
        let word = !before.is_some_and(is_word)
            && (after.starts_with("___") || !after.chars().next().is_some_and(is_word));
        word.then(|| at..at + name.len())
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A line as it is shown, and where the spans of the original are in it.
struct Shown {
    text: String,
    spans: Vec<Range<usize>>,
}

/// Shortens a long line around `spans` and escapes what a terminal would obey. Tabs stay: the
/// renderer expands them.
fn shown(text: &str, spans: &[Range<usize>]) -> Shown {
    let text = text.trim_end();
    let first = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let long = text.chars().nth(MAX_LINE_CHARS).is_some();
    let from = if long {
        let lead = text
            .get(..first)
            .unwrap_or_default()
            .char_indices()
            .rev()
            .take(LEAD_CHARS)
            .last();
        lead.map_or(0, |(at, _)| at)
    } else {
        0
    };
    let tail = text.get(from..).unwrap_or_default();
    let to = tail
        .char_indices()
        .nth(MAX_LINE_CHARS)
        .map_or(text.len(), |(at, _)| from + at);

    let mut out = String::new();
    if from > 0 {
        out.push('…');
    }
    // Display position of every character that begins or ends a span.
    let mut moved: HashMap<usize, usize> = HashMap::new();
    let mut note = |at: usize, out: &str| {
        if spans.iter().any(|span| span.start == at || span.end == at) {
            moved.insert(at, out.len());
        }
    };
    for (offset, char) in text.get(from..to).unwrap_or_default().char_indices() {
        note(from + offset, &out);
        if char == '\t' {
            out.push(char);
        } else {
            escape::push(&mut out, char);
        }
    }
    note(to, &out);
    let limit = out.len();
    if to < text.len() {
        out.push('…');
    }
    let at = |position: usize| moved.get(&position).copied().unwrap_or(limit);
    let spans = spans
        .iter()
        .map(|span| at(span.start)..at(span.end))
        .collect();
    Shown { text: out, spans }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn underlined<'t>(text: &'t str, column: u32, names: &[&str]) -> &'t str {
        &text[span(text, column, names)]
    }

    #[test]
    fn underlines_the_name_then_the_word_then_the_rest() {
        assert_eq!(underlined("\tfoo(bar(p));", 2, &["bar"]), "bar");
        assert_eq!(underlined("\tfoo(bar(p));", 2, &["qux"]), "foo");
        assert_eq!(underlined("\tif (!x___new(p))", 2, &["x"]), "x");
        assert_eq!(underlined("xx x", 1, &["x"]), "x");
        assert_eq!(underlined("  (*f)(x);  ", 3, &[]), "(*f)(x);");
        assert_eq!(underlined("  a b", 0, &[]), "a");
    }

    #[test]
    fn survives_columns_and_lines_that_do_not_fit() {
        assert_eq!(underlined("", 7, &["x"]), "");
        assert_eq!(underlined("äöü", 2, &[]), "äöü");
        assert_eq!(underlined("ab", u32::MAX, &[""]), "ab");
        assert_eq!(underlined("   ", 2, &[]), "");
    }

    #[test]
    fn shortens_around_the_first_span() {
        let text = format!("{}call(){}", "a".repeat(300), "b".repeat(300));
        let shown = shown(&text, std::slice::from_ref(&(300..304)));
        assert_eq!(&shown.text[shown.spans[0].clone()], "call");
        assert!(shown.text.starts_with("…a") && shown.text.ends_with("b…"));
        assert_eq!(shown.text.chars().count(), MAX_LINE_CHARS + 2);
    }

    #[test]
    fn escapes_without_losing_the_span() {
        let shown = shown("\t\x1b[31m call(p);", std::slice::from_ref(&(7..11)));
        assert_eq!(shown.text, "\t\\u{1b}[31m call(p);");
        assert_eq!(&shown.text[shown.spans[0].clone()], "call");
    }
}
