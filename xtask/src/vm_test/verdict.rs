//! What a part must show, and the line that reports it.

use std::collections::BTreeMap;

use super::figures::{self, Figures};
use super::is_mode;
use super::transcript::{Part, Trial};

/// How often tiers_load's job whose deadline fits begins.
const FITS_PERIOD_MS: u64 = 50;

/// The line for a part, and whether it shows what it must. `default` is what the kernel's own
/// scheduler did under the same load in the same guest, if it was asked.
pub fn of(part: &Part, default: Option<&Figures>) -> (String, bool) {
    if part.name == "broken" {
        return broken(&part.trials);
    }
    if left_out(&part.said) {
        return (LEFT_OUT.to_owned(), true);
    }
    let mut wrong = Vec::new();
    let figures = Figures::of(part);
    let line = figures.as_ref().map_or(String::new(), Figures::line);
    if let (Some(figures), Some(default), true) = (&figures, default, is_mode(part)) {
        // Deciding in user space switches to it for each decision.
        let least = if part.name.starts_with("user") {
            50
        } else {
            65
        };
        wrong.extend(beside_default(figures, default, least));
    }
    wrong.extend(work_lost(part));
    if part.name != "default" {
        wrong.extend(ending(part));
    }
    let promises = promises(part);
    wrong.extend(promises.wrong);
    let mut line = [line, promises.seen].join("");
    let ok = wrong.is_empty();
    for what in wrong {
        line.push_str("\n      ");
        line.push_str(&what);
    }
    (line, ok)
}

/// Some packaged kernels describe their kfuncs so that nothing can call them. The scheduler says so and
/// does not start: there is nothing to test then.
fn left_out(said: &[String]) -> bool {
    said.iter()
        .any(|line| line.contains("a defect of the pahole it was built with"))
}

const LEFT_OUT: &str = "left out: this kernel's build does not let programs create queues";

/// Parts that are loads or trials of their own, without the mixed load.
fn is_trial(part: &Part) -> bool {
    ["cgroups", "rules", "refusals"].contains(&part.name.as_str())
}

/// All work completes.
fn work_lost(part: &Part) -> Vec<String> {
    let mut wrong = Vec::new();
    if part.loads.is_empty() && !is_trial(part) {
        wrong.push(format!("no load; {}", part.said.join("; ")));
    }
    for (name, load) in &part.loads {
        if load.finished != load.parts {
            wrong.push(format!(
                "{name}: {} of {} loads finished",
                load.finished, load.parts
            ));
        }
        if load.sum("forks", "started") != load.sum("forks", "ended") {
            wrong.push(format!("{name}: forked children were lost"));
        }
    }
    wrong
}

/// A scheduler may cost something, but not this much.
fn beside_default(figures: &Figures, default: &Figures, least: u64) -> Option<String> {
    (figures.units * 100 < default.units * least).then(|| {
        format!(
            "less than {least} % of the work the kernel's own scheduler got done ({})",
            default.units
        )
    })
}

/// The scheduler stayed, and left when told.
fn ending(part: &Part) -> Vec<String> {
    let mut wrong = Vec::new();
    let killed = part.name == "kill";
    // The last look is after the end.
    let looks = part.states.split_last().map_or(&[][..], |(_, looks)| looks);
    if !killed && looks.iter().any(|state| state != "enabled") {
        wrong.push(format!("states {}", part.states.join(" ")));
    }
    if part.states.last().is_none_or(|state| state != "disabled") {
        wrong.push("still enabled after its end".to_owned());
    }
    let expected = if killed { 137 } else { 0 };
    if part.rc != Some(expected) {
        wrong.push(format!(
            "exit status {:?}: {}",
            part.rc,
            part.said.join("; ")
        ));
    }
    let says = |what: &str| part.said.iter().filter(|line| line.contains(what)).count();
    if says("unregistered from user space") != 1 && !killed {
        wrong.push(format!("no word of its end: {}", part.said.join("; ")));
    }
    if says("asks for a restart") != part.restarts.len() {
        wrong.push(format!(
            "restarts {}, by its own word {}",
            part.restarts.len(),
            says("asks for a restart")
        ));
    }
    wrong
}

/// More to report, and what does not hold.
#[derive(Default)]
struct Promises {
    seen: String,
    wrong: Vec<String>,
}

impl Promises {
    fn must(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }
}

/// What the part promises.
fn promises(part: &Part) -> Promises {
    let mut it = Promises::default();
    if is_mode(part) && part.name != "default" {
        it.must(
            part.restarts.len() == 2,
            "not restarted when a CPU went and when it came",
        );
    }
    match part.name.as_str() {
        "throughput" | "user" => {
            let comes_first = before(rivals(part, "rivals"));
            it.must(comes_first, "critical does not come before low");
        }
        "deadline" | "user-deadline" => deadlines(part, &mut it),
        "stop" => it.must(part.counter("fallbacks") > 0, "no task fell back"),
        "caches" => caches(part, &mut it),
        "cgroups" => cgroups(part, &mut it),
        "rules" => rules(part, &mut it),
        "refusals" => refusals(part, &mut it),
        _ => {}
    }
    it
}

/// CPU time of two sides of a load.
fn rivals(part: &Part, load: &str) -> [u64; 2] {
    part.load(load).map_or([0, 1], figures::rivals)
}

/// One side has the CPU, and the other what aging gives it.
fn before([first, second]: [u64; 2]) -> bool {
    first >= second.saturating_mul(3)
}

fn deadlines(part: &Part, it: &mut Promises) {
    let figures = Figures::of(part).unwrap_or_default();
    let [met, all] = figures.fits;
    // Not ours: jobs while the scheduler was away.
    let away = figures.restarts_ms.iter().sum::<u64>() / FITS_PERIOD_MS;
    let ours = all.saturating_sub(away);
    it.must(
        all > 0 && met * 10 >= ours * 9,
        "deadlines that fit were missed",
    );
    let counted = part.counter("deadlines_met") > 0;
    it.must(counted, "no deadline was counted as met");
    let counted = part.counter("deadlines_missed") > 0;
    it.must(counted, "no miss was counted");
}

fn caches(part: &Part, it: &mut Promises) {
    let two = |line: &String| line.contains("4 CPUs") && line.contains("2 last-level caches");
    it.must(
        part.said.iter().any(two),
        "it did not see 4 CPUs with 2 last-level caches",
    );
    it.seen = format!(", stolen {}", part.counter("stolen"));
    it.must(part.counter("stolen") > 0, "nothing crossed the caches");
    let comes_first = before(rivals(part, "rivals"));
    it.must(comes_first, "critical does not come before low");
}

fn cgroups(part: &Part, it: &mut Promises) {
    let (first, then) = (rivals(part, "rivals"), rivals(part, "swapped"));
    it.seen = format!("front:back {first:?} ms, after changing places {then:?} ms");
    it.must(before(first), "the heavy group does not come first");
    it.must(
        before([then[1], then[0]]),
        "the group that became heavy does not come first",
    );
}

fn rules(part: &Part, it: &mut Promises) {
    let time = |hog: &BTreeMap<String, u64>| hog.get("cpu_ms").copied();
    let favoured = part.favoured.as_ref().and_then(time).unwrap_or(0);
    let others: Vec<u64> = part.others.iter().filter_map(time).collect();
    it.seen = format!("favoured {favoured} ms, others {others:?} ms");
    let most = others.iter().max().copied().unwrap_or(u64::MAX);
    it.must(
        others.len() == 3 && favoured * 2 >= most.saturating_mul(3),
        "the rule by process id does not hold",
    );
    it.must(
        part.counter("deadlines_missed") > 0,
        "hogs that never sleep missed no deadline",
    );
}

fn refusals(part: &Part, it: &mut Promises) {
    it.seen = format!("{} commands refused", part.trials.len());
    it.must(part.trials.len() == 3, "not all were tried");
    for trial in &part.trials {
        let (status, words) = match trial.name.as_str() {
            "user" => (1, "needs root"),
            "usage" => (2, "--user"),
            _ => (1, "`tiers_fifo` is enabled already"),
        };
        it.must(
            trial.status == Some(status) && trial.said.iter().any(|line| line.contains(words)),
            &format!("{}: {:?} {:?}", trial.name, trial.status, trial.said),
        );
    }
}

/// One line per variant: the gate stopped it, and what the kernel does without.
fn broken(variants: &[Trial]) -> (String, bool) {
    let mut lines = Vec::new();
    let mut ok = !variants.is_empty();
    for variant in variants {
        if left_out(&variant.said) {
            lines.push(format!("\n      {:<28} ok   {LEFT_OUT}", variant.name));
            continue;
        }
        // A kernel on which the change is sound lets it through: both agree then.
        let refused = |line: &String| line.contains("the gate refused");
        let stopped = variant.gate_said.iter().any(refused);
        let fell = variant.ungated == Some(1);
        let agree = variant.status.is_some() && stopped == fell;
        ok &= agree;
        let error = |line: &&String| line.starts_with("error[") || line.contains("could not");
        let gate = variant.gate_said.iter().find(error);
        let kernel = variant
            .said
            .iter()
            .find(|line| line.contains("ended:") || line.contains("cannot"))
            .map_or("", |line| line.trim_start_matches("scx_tiers: "));
        lines.push(format!(
            "\n      {:<28} {} gate: {}; kernel: {}",
            variant.name,
            if agree { "ok  " } else { "FAIL" },
            gate.map_or("passed", |line| line.as_str()),
            if fell { kernel } else { "runs" },
        ));
    }
    (lines.concat(), ok)
}

/// Whether a kernel message says that something is wrong.
pub fn is_alarming(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let of_the_kernel = ["warning:", "bug:", "oops", "lockup", "rcu: info"];
    let of_sched_ext = ["error", "stall"];
    of_the_kernel.iter().any(|word| lower.contains(word))
        || lower.contains("sched_ext") && of_sched_ext.iter().any(|word| lower.contains(word))
}
