//! A kernel from its own BTF: what exists, and as what type, is read there; what BTF does not say
//! (contexts, flags, registration) is taken from the tables, from the release that fits best.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use object::{Object as _, ObjectSection as _};

use super::context::Contexts;
use super::error::RulesError;
use super::model::{Callback, Kfunc, LockedRq, Presence, StructOpsType};
use super::release::Release;
use super::tables::Tables;
use super::{Facts, Kernel};
use crate::btf::prototype::Prototype;
use crate::btf::{Btf, Type, TypeKind};

/// Where the running kernel keeps its BTF.
const HOST_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Where the running kernel says its release.
const HOST_RELEASE: &str = "/proc/sys/kernel/osrelease";
/// How pahole marks kfuncs.
const KFUNC_TAG: &str = "bpf_kfunc";
/// What ends the name under which a kfunc with implicit arguments has its true prototype.
const TRUE_PROTOTYPE: &str = "_impl";
/// What a kernel image says of itself (`linux_banner`, init/version.c).
const BANNER: &[u8] = b"Linux version ";

/// The kernel's prototype of a function, as libbpf compares it.
pub(super) fn prototype(btf: &Btf<'_>, name: &str) -> Option<Prototype> {
    Prototype::from_btf(btf, btf.find(TypeKind::Func, name)?)
}

impl Kernel {
    /// A kernel from its BTF: the bytes of `/sys/kernel/btf/vmlinux`, or of a vmlinux ELF file.
    ///
    /// Its release is `hint` if there is one, else what the image says, else the release of the
    /// tables that is most like it. The bytes stay in memory for as long as the process lives: a
    /// run reads one or two kernels and asks them until its end.
    pub fn from_btf(
        path: &str,
        bytes: Vec<u8>,
        tables: &Tables,
        hint: Option<Release>,
    ) -> Result<Kernel, RulesError> {
        let wrong = |message: String| RulesError::KernelBtf {
            path: path.to_owned(),
            message,
        };
        let bytes: &'static [u8] = Vec::leak(bytes);
        let (raw, banner) = raw_btf(bytes).map_err(wrong)?;
        let btf =
            Btf::parse(raw).map_err(|error| wrong(format!("its BTF is malformed: {error}")))?;
        let described: Vec<&str> = tables
            .data
            .struct_ops
            .keys()
            .map(|name| &**name)
            .filter(|name| btf.find(TypeKind::Struct, name).is_some())
            .collect();
        if described.is_empty() {
            let known: Vec<&str> = tables.data.struct_ops.keys().map(|name| &**name).collect();
            return Err(wrong(format!(
                "it has none of the struct_ops types the tables describe ({}): the kernel is \
                 older, or built without CONFIG_SCHED_CLASS_EXT",
                known.join(", ")
            )));
        }
        let btf: &'static Btf<'static> = Box::leak(Box::new(btf));
        let said = hint.or(banner);
        let seen = Seen::new(tables, btf);
        let base = Base::find(tables, &seen, said)?;
        base.kernel(path, tables, &seen, said)
    }

    /// The running kernel.
    pub fn host(tables: &Tables) -> Result<Kernel, RulesError> {
        let read = |path: &str| {
            std::fs::read(path).map_err(|source| RulesError::Unreadable {
                path: path.into(),
                source,
            })
        };
        let bytes = read(HOST_BTF)?;
        let release = std::fs::read_to_string(HOST_RELEASE).ok();
        let said = release.as_deref().and_then(leading_release);
        let mut kernel = Kernel::from_btf(HOST_BTF, bytes, tables, said)?;
        if let Some(release) = release {
            kernel.label = release.trim().to_owned();
        }
        Ok(kernel)
    }
}

/// The raw BTF in the bytes, and the release if the file says it.
fn raw_btf(bytes: &'static [u8]) -> Result<(&'static [u8], Option<Release>), String> {
    const RAW: [u8; 2] = [0x9f, 0xeb];
    const RAW_BIG_ENDIAN: [u8; 2] = [0xeb, 0x9f];
    if bytes.starts_with(&RAW) {
        return Ok((bytes, None));
    }
    if bytes.starts_with(&RAW_BIG_ENDIAN) {
        return Err("its BTF is of a big-endian machine, which is not supported".to_owned());
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(
            "neither raw BTF (/sys/kernel/btf/vmlinux) nor an ELF file with a .BTF section; \
                    a compressed vmlinuz has to be unpacked first"
                .to_owned(),
        );
    }
    let file = object::File::parse(bytes).map_err(|error| format!("a broken ELF file: {error}"))?;
    let section = |name: &str| {
        file.section_by_name(name)
            .and_then(|section| section.data().ok())
    };
    let raw = section(".BTF").ok_or("an ELF file without a .BTF section")?;
    let banner = section(".rodata").and_then(|data| {
        let at = data
            .windows(BANNER.len())
            .position(|window| window == BANNER)?;
        let text = data.get(at.saturating_add(BANNER.len())..)?;
        leading_release(std::str::from_utf8(text.get(..text.len().min(32))?).ok()?)
    });
    Ok((raw, banner))
}

/// The release a text like `7.0.13+deb13-cloud-amd64` begins with.
fn leading_release(text: &str) -> Option<Release> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    text.get(..end)?.trim_end_matches('.').parse().ok()
}

/// The kernel of the tables whose unseen facts a BTF kernel gets.
struct Base {
    kernel: Kernel,
    /// Nothing BTF says differs from it.
    exact: bool,
}

impl Base {
    fn find(tables: &Tables, seen: &Seen, said: Option<Release>) -> Result<Base, RulesError> {
        if let Some(said) = said
            && let Ok(kernel) = tables.kernel(said)
        {
            let exact = seen.difference(&kernel) == 0;
            return Ok(Base { kernel, exact });
        }
        let mut best: Option<(usize, Kernel)> = None;
        // The newest of those that differ least: a kernel the tables do not know is likely newer.
        for release in tables.releases().iter().rev() {
            let kernel = tables.kernel(*release)?;
            let difference = seen.difference(&kernel);
            if best.as_ref().is_none_or(|(least, _)| difference < *least) {
                best = Some((difference, kernel));
            }
        }
        match best {
            Some((difference, kernel)) => Ok(Base {
                kernel,
                exact: difference == 0,
            }),
            None => Err(RulesError::Incomplete {
                table: tables.title().to_owned(),
                message: "it describes no kernel".to_owned(),
            }),
        }
    }

    fn kernel(
        self,
        path: &str,
        tables: &Tables,
        seen: &Seen,
        said: Option<Release>,
    ) -> Result<Kernel, RulesError> {
        let base = &self.kernel.facts;
        let mut notes = Vec::new();
        if said.is_none() {
            notes.push(format!(
                "{path} does not say its release; taken to be {}, which is most like it",
                self.kernel.release
            ));
        } else if said.map(Release::series) != Some(self.kernel.release.series()) {
            notes.push(format!(
                "the tables do not describe {}; what BTF does not say is taken from {}",
                said.map_or_else(String::new, |said| said.to_string()),
                self.kernel.release
            ));
        }
        let others = Others {
            tables,
            kernels: OnceCell::new(),
        };
        let kfuncs = kfuncs(&self.kernel, &others, seen, &mut notes);
        let struct_ops = struct_ops(&self.kernel, &others, seen, &mut notes);
        let facts = Facts {
            point: base.point,
            exact: said.unwrap_or(base.exact),
            data: base.data.clone(),
            contexts: base.contexts.clone(),
            async_contexts: base.async_contexts,
            async_checked_as_armer: base.async_checked_as_armer,
            nested_inherits: base.nested_inherits,
            async_sleeps_with_program: base.async_sleeps_with_program,
            nested_increases: base.nested_increases,
            refusal: base.refusal.clone(),
            hook_contexts: base.hook_contexts.clone(),
            kfuncs,
            uncertain_kfuncs: Vec::new(),
            struct_ops,
            nesting: base.nesting.clone(),
            hazards: base.hazards.clone(),
            notes,
            btf: Some(seen.btf),
            release_known: said.is_some() || self.exact,
        };
        let file = Path::new(path).file_name().and_then(|name| name.to_str());
        Ok(Kernel {
            release: said.unwrap_or(self.kernel.release),
            label: file.unwrap_or(path).to_owned(),
            enforcement: self.kernel.enforcement,
            facts: Arc::new(facts),
        })
    }
}

/// A struct member, and whether it is a function pointer.
type Member = (&'static str, bool);

/// The other kernels of the tables, newest first; put together only if one is asked.
struct Others<'t> {
    tables: &'t Tables,
    kernels: OnceCell<Vec<Kernel>>,
}

impl Others<'_> {
    fn iter(&self) -> impl Iterator<Item = &Kernel> {
        let all = || {
            let releases = self.tables.releases().iter().rev();
            releases
                .filter_map(|release| self.tables.kernel(*release).ok())
                .collect()
        };
        self.kernels.get_or_init(all).iter()
    }
}

/// What the tables speak of, as one BTF has it: looked up once, compared with every release.
struct Seen {
    btf: &'static Btf<'static>,
    /// Functions with the names of scheduler kfuncs, true prototypes of others left out.
    functions: BTreeSet<&'static str>,
    /// The struct_ops types the tables describe, with their members; none when it lacks the type.
    members: Vec<(Arc<str>, Vec<Member>)>,
    /// Symbols of contexts, of any release.
    symbols: BTreeSet<&'static str>,
    /// The kfuncs of other subsystems that the tables list, each with whether it is there.
    others: Vec<(String, bool)>,
}

impl Seen {
    fn new(tables: &Tables, btf: &'static Btf<'static>) -> Seen {
        let data = &tables.data;
        let context_symbols: BTreeSet<&str> = data
            .contexts
            .iter()
            .map(|row| row.symbol.as_str())
            .collect();
        let mut named: BTreeMap<crate::btf::TypeId, &'static str> = BTreeMap::new();
        let mut tagged = BTreeSet::new();
        let mut symbols = BTreeSet::new();
        for (id, found) in btf.iter() {
            match found {
                Type::Func { name, .. } => {
                    let prefixes = &data.complete_prefixes;
                    if prefixes
                        .iter()
                        .any(|prefix| name.starts_with(prefix.as_str()))
                    {
                        named.insert(id, name);
                    }
                }
                Type::DeclTag { name, target, .. } if *name == KFUNC_TAG => {
                    tagged.insert(*target);
                }
                Type::Enum(found) => symbols.extend(
                    found
                        .values
                        .iter()
                        .map(|value| value.name)
                        .filter(|name| context_symbols.contains(name)),
                ),
                _ => {}
            }
        }
        // Old pahole writes no tags at all; then every function of such a name counts.
        let is_kfunc = |id: &crate::btf::TypeId, name: &str| {
            data.kfuncs.contains_key(name) || tagged.is_empty() || tagged.contains(id)
        };
        let functions = named
            .iter()
            .filter(|(id, name)| !is_shadow(btf, name) && is_kfunc(id, name))
            .map(|(_, name)| *name)
            .collect();
        let members = data
            .struct_ops
            .keys()
            .map(|name| (name.clone(), members(btf, name).collect()))
            .collect();
        let others = match super::types::of(data) {
            Some(types) => types
                .other_kfuncs
                .keys()
                .map(|name| {
                    let there = btf.find(TypeKind::Func, name).is_some() && !is_shadow(btf, name);
                    (name.clone(), there)
                })
                .collect(),
            None => Vec::new(),
        };
        Seen {
            btf,
            functions,
            members,
            symbols,
            others,
        }
    }

    fn members(&self, name: &str) -> &[Member] {
        self.members
            .iter()
            .find(|(known, _)| **known == *name)
            .map_or(&[], |(_, members)| members.as_slice())
    }

    /// In how many things BTF and a kernel of the tables differ.
    fn difference(&self, kernel: &Kernel) -> usize {
        let in_tables: BTreeSet<&str> = kernel.kfuncs().map(|kfunc| &*kfunc.name).collect();
        let in_btf: BTreeSet<&str> = self.functions.iter().copied().collect();
        let mut count = in_btf.symmetric_difference(&in_tables).count();
        for (name, members) in &self.members {
            let in_btf: BTreeSet<&str> = members.iter().map(|(name, _)| *name).collect();
            let in_tables: BTreeSet<&str> = match kernel.struct_ops(name) {
                Some(known) => known
                    .callbacks
                    .iter()
                    .map(|callback| &*callback.name)
                    .chain(known.fields.iter().map(|field| &**field))
                    .collect(),
                None => BTreeSet::new(),
            };
            count = count.saturating_add(in_btf.symmetric_difference(&in_tables).count());
        }
        // The masks of one era have other symbols than the groups of the other.
        let missing = kernel
            .mask_order()
            .iter()
            .filter(|context| !self.symbols.contains(context.symbol.as_str()));
        let others = self.others.iter().filter(|(name, there)| {
            matches!(
                (kernel.kfunc_exists(name), there),
                (Presence::Present, false) | (Presence::Absent, true)
            )
        });
        count
            .saturating_add(missing.count())
            .saturating_add(others.count())
    }
}

/// Whether a function is the true prototype of a kfunc with implicit arguments, which programs
/// call by the name without the suffix (resolve_btfids, tools/bpf, 7.0 and later).
fn is_shadow(btf: &Btf<'_>, name: &str) -> bool {
    let visible = name.strip_suffix(TRUE_PROTOTYPE);
    visible.is_some_and(|visible| btf.find(TypeKind::Func, visible).is_some())
}

/// The members of a struct.
fn members(btf: &'static Btf<'static>, name: &str) -> impl Iterator<Item = Member> {
    let found = btf
        .find(TypeKind::Struct, name)
        .and_then(|id| btf.get(id).members());
    found.unwrap_or_default().iter().map(|member| {
        let callback = match btf.get(btf.skip_modifiers(member.to)) {
            Type::Ptr(to) => {
                matches!(btf.get(btf.skip_modifiers(*to)), Type::FuncProto { .. })
            }
            _ => false,
        };
        (member.name, callback)
    })
}

type Kfuncs = BTreeMap<Arc<str>, Kfunc>;

/// The kfuncs BTF has, with what the tables say of them for this release or the nearest other.
fn kfuncs(base: &Kernel, others: &Others<'_>, seen: &Seen, notes: &mut Vec<String>) -> Kfuncs {
    let mut kfuncs = Kfuncs::new();
    for name in seen.functions.iter().copied() {
        let known = base.kfunc(name).or_else(|| {
            let other = others.iter().find(|kernel| kernel.kfunc(name).is_some())?;
            notes.push(format!(
                "`{name}` is not in the {} of the tables; what it asks for is taken from {}",
                base.release, other.release
            ));
            other.kfunc(name)
        });
        match known {
            Some(known) => {
                let prototype = prototype(seen.btf, name).map(Arc::new);
                let twin = seen
                    .btf
                    .find(TypeKind::Func, &format!("{name}{TRUE_PROTOTYPE}"));
                let damaged = prototype
                    .as_ref()
                    .is_some_and(|here| known.keeps_implicit_arguments(here, twin.is_some()));
                kfuncs.insert(
                    known.name.clone(),
                    Kfunc {
                        prototype,
                        damaged,
                        ..known.clone()
                    },
                );
            }
            None => notes.push(format!(
                "`{name}` is in no table; it is there, and nothing is known of what it asks for"
            )),
        }
    }
    for missing in base
        .kfuncs()
        .filter(|kfunc| !kfuncs.contains_key(&kfunc.name))
    {
        notes.push(format!(
            "`{}` of the tables' {} is missing",
            missing.name, base.release
        ));
    }
    kfuncs
}

/// The struct_ops types BTF has, member by member.
fn struct_ops(
    base: &Kernel,
    others: &Others<'_>,
    seen: &Seen,
    notes: &mut Vec<String>,
) -> Vec<StructOpsType> {
    let mut types = Vec::new();
    for name in base.facts.data.struct_ops.keys() {
        if seen.members(name).is_empty() {
            continue;
        }
        let known = |kernel: &Kernel| kernel.struct_ops(name).cloned();
        let Some(model) = known(base).or_else(|| others.iter().find_map(known)) else {
            continue;
        };
        let mut callbacks = Vec::new();
        let mut fields = Vec::new();
        for (member, is_callback) in seen.members(name).iter().copied() {
            if !is_callback {
                fields.push(Arc::from(member));
                continue;
            }
            let elsewhere = || {
                let callback = others
                    .iter()
                    .find_map(|kernel| kernel.struct_ops(name)?.callback(member).cloned())?;
                notes.push(format!(
                    "`{member}` of `{name}` is not in the {} of the tables; what it runs as is \
                     taken from another release",
                    base.release
                ));
                Some(callback)
            };
            let callback = model
                .callback(member)
                .cloned()
                .or_else(elsewhere)
                .unwrap_or_else(|| Callback {
                    name: Arc::from(member),
                    role: Arc::from(member),
                    struct_ops: model.name.clone(),
                    form: model.form,
                    contexts: Contexts::NONE,
                    sleepable: false,
                    ends_anyway: false,
                    records_task: true,
                    locked_rq: LockedRq::Depends,
                    attach_refused: false,
                    program_refused: false,
                    deprecated: None,
                    prototype_text: None,
                    called_from: Vec::new(),
                    note: Some(Arc::from("no table describes it")),
                });
            callbacks.push(callback);
        }
        callbacks.sort_by(|a, b| a.name.cmp(&b.name));
        types.push(StructOpsType {
            callbacks,
            fields,
            ..model
        });
    }
    types
}
