//! What a part must show, and the line that reports it.

use super::transcript::{Broken, Load, Part};

/// The line for a part, and whether it shows what it must.
pub fn of(part: &Part) -> (String, bool) {
    if part.name == "broken" {
        return broken(&part.broken);
    }
    let mut wrong = Vec::new();
    let Some(load) = &part.all else {
        return (format!("no load; {}", part.said.join("; ")), false);
    };
    if load.finished != load.parts {
        wrong.push(format!(
            "{} of {} loads finished",
            load.finished, load.parts
        ));
    }
    if load.sum("forks", "started") != load.sum("forks", "ended") {
        wrong.push("forked children were lost".to_owned());
    }
    if part.name != "default" {
        wrong.extend(ending(part));
        wrong.extend(promises(part, load));
    }
    let mut line = figures(load);
    if let Some(rivals) = &part.rivals {
        line.push_str(&format!(
            ", rivals {}:{} ms",
            rivals.figure("hog.critical", "cpu_ms"),
            rivals.figure("hog.low", "cpu_ms")
        ));
    }
    if part.stats.is_some() {
        line.push_str(&format!(
            ", met {} missed {}, fallbacks {}",
            part.counter("deadlines_met"),
            part.counter("deadlines_missed"),
            part.counter("fallbacks")
        ));
    }
    let ok = wrong.is_empty();
    for what in wrong {
        line.push_str("\n      ");
        line.push_str(&what);
    }
    (line, ok)
}

/// Throughput of the load and how late wake-ups were.
fn figures(load: &Load) -> String {
    let late = |part: &str| {
        format!(
            "{}/{}",
            load.figure(part, "p50_us"),
            load.figure(part, "p99_us")
        )
    };
    format!(
        "{} units, {} forks, ping-pong p50/p99 {} us, wake-up critical {} normal {} us, deadlines {}/{}",
        load.sum("hog", "units"),
        load.sum("forks", "ended"),
        late("pingpong.normal"),
        late("sleeper.critical"),
        late("sleeper.normal"),
        load.sum("fits", "met"),
        load.sum("fits", "met") + load.sum("fits", "missed"),
    )
}

/// The scheduler stayed, and left when told.
fn ending(part: &Part) -> Vec<String> {
    let mut wrong = Vec::new();
    let disturbed = part.name == "hotplug" || part.name == "kill";
    // The last look is after the end.
    let looks = part.states.split_last().map_or(&[][..], |(_, looks)| looks);
    if !disturbed && looks.iter().any(|state| state != "enabled") {
        wrong.push(format!("states {}", part.states.join(" ")));
    }
    if part.states.last().is_none_or(|state| state != "disabled") {
        wrong.push("still enabled after its end".to_owned());
    }
    let expected = if part.name == "kill" { 137 } else { 0 };
    if part.rc != Some(expected) {
        wrong.push(format!(
            "exit status {:?}: {}",
            part.rc,
            part.said.join("; ")
        ));
    }
    let asked = part
        .said
        .iter()
        .any(|line| line.contains("unregistered from user space"));
    if !asked && part.name != "kill" {
        wrong.push(format!("no word of its end: {}", part.said.join("; ")));
    }
    wrong
}

/// What the mode promises.
fn promises(part: &Part, load: &Load) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    match part.name.as_str() {
        "throughput" | "user" => {
            let (critical, low) = part.rivals.as_ref().map_or((0, u64::MAX), |rivals| {
                (
                    rivals.figure("hog.critical", "cpu_ms"),
                    rivals.figure("hog.low", "cpu_ms"),
                )
            });
            must(
                critical >= low.saturating_mul(3),
                "critical does not come before low",
            );
        }
        "deadline" => {
            let (met, missed) = (load.sum("fits", "met"), load.sum("fits", "missed"));
            must(
                met >= missed.saturating_mul(9),
                "deadlines that fit were missed",
            );
            must(
                part.counter("deadlines_met") > 0,
                "no deadline was counted as met",
            );
            must(part.counter("deadlines_missed") > 0, "no miss was counted");
        }
        "hotplug" => {
            let restarted = part
                .said
                .iter()
                .any(|line| line.contains("asks for a restart"));
            must(restarted, "not restarted after a CPU went offline");
        }
        "stop" => must(part.counter("fallbacks") > 0, "no task fell back"),
        _ => {}
    }
    wrong
}

/// One line per variant: the gate stopped it, and what the kernel does without.
fn broken(variants: &[Broken]) -> (String, bool) {
    let mut lines = Vec::new();
    let mut ok = !variants.is_empty();
    for variant in variants {
        // A kernel on which the change is sound lets it through: both agree then.
        let stopped = variant.gate == Some(1);
        let fell = variant.ungated == Some(1);
        let agree = variant.gate.is_some() && stopped == fell;
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
            gate.map_or(if stopped { "stopped" } else { "passed" }, |line| line
                .as_str()),
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
