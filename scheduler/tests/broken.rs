//! The gate against the scheduler itself and against every broken variant.

#[path = "../examples/broken/variant.rs"]
mod variant;

use std::error::Error;

use scx_lint::report::{Diagnostic, Level, Report};
use scx_lint::{KernelRequest, check_bytes};
use variant::Variant;

fn lint(object: &[u8], kernels: &[String]) -> Result<Report, Box<dyn Error>> {
    let kernels = KernelRequest {
        selection: kernels.to_vec(),
        ..KernelRequest::default()
    };
    Ok(check_bytes(
        "scx_tiers.bpf.o",
        object,
        &kernels,
        &Default::default(),
    )?)
}

fn errors(report: &Report) -> Vec<&Diagnostic> {
    let error = |finding: &&Diagnostic| finding.level == Level::Error;
    report.diagnostics.iter().filter(error).collect()
}

#[test]
fn the_scheduler_itself_passes_on_every_kernel() -> Result<(), Box<dyn Error>> {
    let report = lint(scheduler::loader::OBJECT, &["all".to_owned()])?;
    assert_eq!(report.failures, []);
    assert_eq!(errors(&report), Vec::<&Diagnostic>::new());
    Ok(())
}

#[test]
fn every_broken_variant_is_stopped_at_its_line() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("scx_tiers_broken_{}", std::process::id()));
    let variants = variant::all()?;
    assert!(variants.len() >= 8, "only {} variants", variants.len());
    let mut wrong = Vec::new();
    for variant in &variants {
        let (object, line) = variant.build(&dir)?;
        let report = lint(&std::fs::read(object)?, &variant.kernels)?;
        if !errors(&report)
            .iter()
            .any(|finding| names(finding, variant, line))
        {
            wrong.push(format!(
                "{}: want {} ({:?}) at {}:{line}, found {:#?}",
                variant.name, variant.rule, variant.kfunc, variant.change.file, report.diagnostics
            ));
        }
    }
    std::fs::remove_dir_all(&dir)?;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Whether a finding is the variant's: rule, kfunc, and the changed line in its
/// place or on the way to it.
fn names(finding: &Diagnostic, variant: &Variant, line: usize) -> bool {
    let at_line = finding
        .location
        .iter()
        .chain(
            finding
                .chain
                .iter()
                .filter_map(|link| link.location.as_ref()),
        )
        .any(|place| place.file.ends_with(&variant.change.file) && place.line as usize == line);
    let at_line = at_line || variant.whole_object && finding.location.is_none();
    finding.rule == variant.rule && finding.kfunc == variant.kfunc && at_line
}
