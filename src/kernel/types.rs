//! The compact line formats: enum values, struct members, and kfuncs of other subsystems.
//!
//! There are thousands of them and one object asks for a handful, so they are one text per enum
//! or struct in the TOML and read only when first needed.

use std::collections::BTreeMap;

use super::error::{Place, RulesError};
use super::model::Presence;
use super::release::{Point, Range};
use super::tables::{Data, Lined};

/// Something that is there for a range.
#[derive(Debug, Clone)]
pub(crate) struct Ranged<T> {
    pub range: Range,
    pub value: T,
}

/// All that is known of one name, in order of time.
pub(crate) type History<T> = Vec<Ranged<T>>;

/// What the line formats say.
#[derive(Debug, Default)]
pub(crate) struct TypeData {
    pub enums: BTreeMap<String, EnumData>,
    pub structs: BTreeMap<String, StructData>,
    pub unions: BTreeMap<String, StructData>,
    pub other_kfuncs: BTreeMap<String, History<bool>>,
    pub variables: BTreeMap<String, History<bool>>,
}

#[derive(Debug)]
pub(crate) struct EnumData {
    pub range: Range,
    pub complete: bool,
    pub values: BTreeMap<String, History<Option<u64>>>,
}

#[derive(Debug)]
pub(crate) struct StructData {
    pub range: Range,
    pub complete: bool,
    pub members: BTreeMap<String, History<MemberType>>,
}

/// What a member is, as far as finding a member of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberType {
    /// Not said.
    Plain,
    /// `struct NAME` or an array of it.
    Struct(String),
    /// `union NAME` or an array of it.
    Union(String),
}

/// Whether a kernel has something its configuration may leave out.
pub(crate) fn configured(history: Option<&History<bool>>, point: Point) -> Presence {
    let Some(history) = history else {
        return Presence::Unknown;
    };
    match at(history, point) {
        (Presence::Present, Some(true)) => Presence::Unknown,
        (presence, _) => presence,
    }
}

/// Whether something with a range is there at a point.
pub(crate) fn presence(range: &Range, point: Point) -> Presence {
    match range.holds(point) {
        Some(true) => Presence::Present,
        Some(false) => Presence::Absent,
        None => Presence::Unknown,
    }
}

/// What a history says of a point: the value, nothing, or that it is not known.
pub(crate) fn at<T>(history: &[Ranged<T>], point: Point) -> (Presence, Option<&T>) {
    let mut unknown = None;
    for entry in history {
        match entry.range.holds(point) {
            Some(true) => return (Presence::Present, Some(&entry.value)),
            None => unknown = Some(&entry.value),
            Some(false) => {}
        }
    }
    match unknown {
        Some(value) => (Presence::Unknown, Some(value)),
        None => (Presence::Absent, None),
    }
}

/// The lines of a table, read when first asked for; `None` only for a table whose lines cannot be
/// read, which loading a user's table and a test of the bundled one rule out.
pub(crate) fn of(data: &Data) -> Option<&TypeData> {
    let types = data
        .types
        .get_or_init(|| read(data).map_err(|error| error.to_string()));
    types.as_ref().ok()
}

/// A line of a compact text, with its entry, to point at.
#[derive(Clone, Copy)]
struct Line<'d> {
    file: usize,
    /// Where the entry's text begins in the file.
    offset: usize,
    text: &'d str,
}

/// What a line says.
enum Content<'d> {
    /// Words, and the range at the end if there is one.
    Entry(Vec<&'d str>, Range),
    /// `- NAME 7.4`: gone since that release.
    Ends(&'d str, Point),
}

impl<'d> Line<'d> {
    fn wrong(&self, data: &Data, message: String) -> RulesError {
        let Some(file) = data.files.get(self.file) else {
            return RulesError::Incomplete {
                table: data.title.clone(),
                message,
            };
        };
        let rest = file.text.get(self.offset..).unwrap_or("");
        let inside = rest.find(self.text).unwrap_or(0);
        RulesError::Invalid {
            place: Place::at(&file.name, &file.text, self.offset + inside),
            message,
        }
    }

    /// What it says; `None` when nothing is left without its comment.
    fn content(&self, data: &Data) -> Result<Option<Content<'d>>, RulesError> {
        let text = self.text.split('#').next().unwrap_or("");
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Ok(None);
        }
        if let ["-", name, since] = words.as_slice() {
            let since = since
                .parse::<super::release::Release>()
                .map_err(|error| self.wrong(data, error.to_string()))?;
            return Ok(Some(Content::Ends(name, since.first())));
        }
        let range = match words.last() {
            Some(last) if last.contains("..") => {
                let range = last.parse().map_err(|message| self.wrong(data, message))?;
                words.pop();
                range
            }
            _ => Range::ALWAYS,
        };
        Ok(Some(Content::Entry(words, range)))
    }
}

/// The lines of an entry's text.
fn lines(file: usize, text: &toml::Spanned<String>) -> impl Iterator<Item = Line<'_>> {
    let offset = text.span().start;
    text.get_ref()
        .lines()
        .map(move |text| Line { file, offset, text })
}

/// An entry's own range.
fn own_range(
    data: &Data,
    file: usize,
    range: Option<&toml::Spanned<String>>,
) -> Result<Range, RulesError> {
    let Some(text) = range else {
        return Ok(Range::ALWAYS);
    };
    text.get_ref().parse().map_err(|message| {
        let line = Line {
            file,
            offset: text.span().start,
            text: text.get_ref(),
        };
        line.wrong(data, message)
    })
}

/// Lines as they are read, before ends are applied and overlaps looked for: a line that ends
/// something may stand before the one it ends, in another file.
struct Collected<'d, T> {
    entries: BTreeMap<&'d str, Vec<(Line<'d>, Ranged<T>)>>,
    ends: Vec<(Line<'d>, &'d str, Point)>,
}

impl<'d, T> Collected<'d, T> {
    fn new() -> Self {
        Collected {
            entries: BTreeMap::new(),
            ends: Vec::new(),
        }
    }

    /// Reads a line, its words into a name and a value.
    fn line(
        &mut self,
        data: &Data,
        line: Line<'d>,
        read: impl FnOnce(&[&'d str]) -> Result<(&'d str, T), String>,
    ) -> Result<(), RulesError> {
        match line.content(data)? {
            Some(Content::Entry(words, range)) => {
                let (name, value) = read(&words).map_err(|message| line.wrong(data, message))?;
                self.entries
                    .entry(name)
                    .or_default()
                    .push((line, Ranged { range, value }));
            }
            Some(Content::Ends(name, since)) => self.ends.push((line, name, since)),
            None => {}
        }
        Ok(())
    }

    fn finish(mut self, data: &Data) -> Result<BTreeMap<String, History<T>>, RulesError> {
        for (line, name, since) in self.ends {
            let open = self.entries.get_mut(name).and_then(|entries| {
                entries
                    .iter_mut()
                    .map(|(_, entry)| &mut entry.range)
                    .find(|range| range.until == Point::END && range.since < since)
            });
            let Some(range) = open else {
                return Err(line.wrong(data, format!("`{name}` is not there to be ended")));
            };
            range.until = since.previous();
            range.maybe_until = since.previous();
        }
        let mut histories = BTreeMap::new();
        for (name, entries) in self.entries {
            let mut history: History<T> = Vec::with_capacity(entries.len());
            for (line, entry) in entries {
                if history
                    .iter()
                    .any(|known| known.range.overlaps(&entry.range))
                {
                    return Err(line.wrong(data, format!("two ranges of `{name}` overlap")));
                }
                history.push(entry);
            }
            histories.insert(name.to_owned(), history);
        }
        Ok(histories)
    }
}

/// The entries of one name.
fn by_name<'d, T, K: Ord>(
    entries: &'d [Lined<T>],
    key: impl Fn(&'d T) -> K,
) -> BTreeMap<K, Vec<&'d Lined<T>>> {
    let mut named: BTreeMap<K, Vec<&Lined<T>>> = BTreeMap::new();
    for lined in entries {
        named.entry(key(&lined.entry)).or_default().push(lined);
    }
    // What the highest layer says of a name is all there is.
    for entries in named.values_mut() {
        let highest = entries.iter().map(|lined| lined.layer).max();
        entries.retain(|lined| Some(lined.layer) == highest);
    }
    named
}

/// Reads every line.
pub(crate) fn read(data: &Data) -> Result<TypeData, RulesError> {
    let mut types = TypeData::default();
    for (name, entries) in by_name(&data.enums, |entry| entry.name.get_ref().as_str()) {
        types
            .enums
            .insert(name.to_owned(), read_enum(data, &entries)?);
    }
    for ((union, name), entries) in by_name(&data.structs, |entry| {
        (entry.union, entry.name.get_ref().as_str())
    }) {
        let composites = if union {
            &mut types.unions
        } else {
            &mut types.structs
        };
        composites.insert(name.to_owned(), read_struct(data, &entries)?);
    }
    types.other_kfuncs = read_others(data, &data.other_kfuncs)?;
    types.variables = read_others(data, &data.variables)?;
    Ok(types)
}

fn read_enum(
    data: &Data,
    entries: &[&Lined<super::format::EnumEntry>],
) -> Result<EnumData, RulesError> {
    let mut found = EnumData {
        range: Range::ALWAYS,
        complete: false,
        values: BTreeMap::new(),
    };
    let mut collected = Collected::new();
    for Lined { file, entry, .. } in entries {
        if entry.range.is_some() {
            found.range = own_range(data, *file, entry.range.as_ref())?;
        }
        found.complete |= entry.complete;
        for line in lines(*file, &entry.values) {
            collected.line(data, line, |words| match words {
                // It depends on the configuration.
                [name, "?"] => Ok((name, None)),
                [name, value] => match number(value) {
                    Some(value) => Ok((name, Some(value))),
                    None => Err(format!("`{value}` is not a number")),
                },
                _ => Err("a value is `NAME VALUE [RANGE]`".to_owned()),
            })?;
        }
    }
    found.values = collected.finish(data)?;
    Ok(found)
}

fn read_struct(
    data: &Data,
    entries: &[&Lined<super::format::StructEntry>],
) -> Result<StructData, RulesError> {
    let mut found = StructData {
        range: Range::ALWAYS,
        complete: false,
        members: BTreeMap::new(),
    };
    let mut collected = Collected::new();
    for Lined { file, entry, .. } in entries {
        if entry.range.is_some() {
            found.range = own_range(data, *file, entry.range.as_ref())?;
        }
        found.complete |= entry.complete;
        for line in lines(*file, &entry.members) {
            collected.line(data, line, |words| match words {
                [name] => Ok((name, MemberType::Plain)),
                [name, "struct", of] => Ok((name, MemberType::Struct((*of).to_owned()))),
                [name, "union", of] => Ok((name, MemberType::Union((*of).to_owned()))),
                _ => Err("a member is `NAME [struct|union TYPE] [RANGE]`".to_owned()),
            })?;
        }
    }
    found.members = collected.finish(data)?;
    Ok(found)
}

/// Names of one kind; `true` says that a kernel's configuration may leave the thing out.
fn read_others(
    data: &Data,
    entries: &[Lined<super::format::OtherEntry>],
) -> Result<BTreeMap<String, History<bool>>, RulesError> {
    // Here a name is what a line is about, so it is by line that layers replace each other.
    let mut layers: BTreeMap<usize, Collected<'_, bool>> = BTreeMap::new();
    for Lined { file, layer, entry } in entries {
        let collected = layers.entry(*layer).or_insert_with(Collected::new);
        for line in lines(*file, &entry.names) {
            collected.line(data, line, |words| match words {
                [name] => Ok((name, entry.config)),
                _ => Err("a line is `NAME [RANGE]`".to_owned()),
            })?;
        }
    }
    let mut histories = BTreeMap::new();
    for collected in layers.into_values() {
        histories.extend(collected.finish(data)?);
    }
    Ok(histories)
}

/// A number as C writes it: decimal, hexadecimal, or negative.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    match text.strip_prefix('-') {
        Some(digits) => digits.parse::<u64>().ok().map(u64::wrapping_neg),
        None => text.parse().ok(),
    }
}
