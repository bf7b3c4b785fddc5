//! On which constants a finding depends that may be another than assumed: read-only variables that a
//! loader may set, and what the tables do not know of the kernel.

use std::collections::BTreeSet;

use super::case::{Case, ProgramCase};
use crate::cfg::{InputId, Known, Reach, Site};
use crate::object::FunctionId;

/// Constants tried for one finding; schedulers branch on a few dozen, and each costs a second look at
/// what the program reaches.
const MOST_INPUTS: usize = 64;

/// One sentence for each constant that decides whether the site is reached and that may be another
/// than assumed.
pub fn of(case: &Case<'_>, program: &ProgramCase<'_>, reach: &Reach, site: Site) -> Vec<String> {
    let Some(place) = place(reach, site) else {
        return Vec::new();
    };
    let gone = |input: InputId, supposed: Known| {
        let changed = (case.supposing)(program.program.function, input, supposed);
        changed.is_some_and(|changed| !places(&changed).contains(&place))
    };
    let mut notes = Vec::new();
    for (input, known) in open(case, reach) {
        if known == Known::Present {
            let Some((name, zero)) = variable(case, input) else {
                continue;
            };
            if gone(
                input,
                if zero {
                    Known::NonZero
                } else {
                    Known::constant(0)
                },
            ) {
                let value = if zero { "zero" } else { "non-zero" };
                notes.push(format!(
                    "only if `{name}` is {value}, as it is in the object"
                ));
            }
        } else if let Some(name) = case.table.describe(case.object, input) {
            let (yes, no) = if known == Known::Bool {
                ("exists", "does not exist")
            } else {
                ("is non-zero", "is zero")
            };
            let needed = if gone(input, Known::constant(0)) {
                yes
            } else if gone(
                input,
                if known == Known::Bool {
                    Known::constant(1)
                } else {
                    Known::NonZero
                },
            ) {
                no
            } else {
                continue;
            };
            notes.push(format!(
                "only if `{name}` {needed}, which is not known of this kernel; `--btf` with its BTF decides"
            ));
        }
    }
    notes
}

fn place(reach: &Reach, site: Site) -> Option<(FunctionId, u32)> {
    reach.role(site).map(|role| (role.function, site.insn))
}

fn places(reach: &Reach) -> BTreeSet<(FunctionId, u32)> {
    let calls = reach.calls.iter().map(|call| call.site);
    let others = reach.no_target.iter().map(|(site, _)| *site);
    let obstacles = reach.obstacles.iter().map(|(site, _)| *site);
    calls
        .chain(others)
        .chain(obstacles)
        .filter_map(|site| place(reach, site))
        .collect()
}

/// The constants the program's reach rests on that are not settled: read-only variables the user has
/// not fixed, and what the tables do not know.
fn open(case: &Case<'_>, reach: &Reach) -> Vec<(InputId, Known)> {
    let inputs = reach
        .rests_on
        .iter()
        .map(|(input, known)| (*input, *known))
        .filter(|(input, known)| match known {
            Known::Present => case.table.as_variable(*input).is_some(),
            Known::Bool | Known::Unknown => true,
            _ => false,
        });
    inputs.take(MOST_INPUTS).collect()
}

/// Name of a variable and whether it is all zero in the object.
fn variable<'a>(case: &Case<'a>, input: InputId) -> Option<(&'a str, bool)> {
    let (section, position) = case.table.as_variable(input)?;
    let data = case.object.data.get(section.0 as usize)?;
    let variable = data.variables.get(position)?;
    let start = usize::try_from(variable.offset).ok()?;
    let bytes = data
        .bytes
        .get(start..start.checked_add(usize::try_from(variable.size).ok()?)?)?;
    Some((variable.name, bytes.iter().all(|byte| *byte == 0)))
}
