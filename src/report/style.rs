//! How messages are written, as a check that tests run over every diagnostic they see: lower case,
//! no final stop, names in backticks, one line.

use super::Diagnostic;

/// What is wrong with the wording of `diagnostic`; empty when nothing is.
#[must_use]
pub fn problems(diagnostic: &Diagnostic) -> Vec<String> {
    let mut names: Vec<&str> = [&diagnostic.program, &diagnostic.callback, &diagnostic.kfunc]
        .into_iter()
        .filter_map(|name| name.as_deref())
        .collect();
    names.extend(diagnostic.chain.iter().map(|link| link.name.as_str()));

    let mut problems = Vec::new();
    sentence("message", &diagnostic.message, &names, &mut problems);
    if let Some(help) = &diagnostic.help {
        sentence("help", help, &names, &mut problems);
    }
    for note in &diagnostic.notes {
        sentence("note", note, &names, &mut problems);
    }
    if diagnostic.rule.is_empty()
        || !diagnostic
            .rule
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        problems.push(format!(
            "rule name is not kebab-case: {:?}",
            diagnostic.rule
        ));
    }
    problems
}

/// Checks the wording of one sentence; `names` are identifiers known to be in play.
fn sentence(what: &str, text: &str, names: &[&str], problems: &mut Vec<String>) {
    let mut report = |problem: &str| problems.push(format!("{what} {problem}: {text:?}"));
    if text.trim() != text || text.is_empty() {
        report("is empty or has outer blanks");
    }
    if text.starts_with(char::is_uppercase) && !starts_with_acronym(text) {
        report("does not begin in lower case");
    }
    if text.ends_with(['.', '!', ':', ',', ';']) {
        report("has a final stop");
    }
    if text.contains(char::is_control) {
        report("has a control character");
    }
    if !text.matches('`').count().is_multiple_of(2) {
        report("has an unbalanced backtick");
    }
    // What a kernel says is quoted as it says it; every other piece lies outside the quotes, and of
    // that every other piece outside backticks.
    let own: String = text.split('"').step_by(2).collect();
    for prose in own.split('`').step_by(2) {
        for word in prose.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) {
            if word.contains('_') {
                report(&format!("has `{word}` outside backticks"));
            } else if names.contains(&word) && is_distinctive(word) {
                report(&format!("names `{word}` outside backticks"));
            }
        }
    }
}

/// `CPU`, `BTF`, `CO-RE`: two capitals in a row are no beginning of a sentence.
fn starts_with_acronym(text: &str) -> bool {
    text.chars().take(2).filter(|c| c.is_uppercase()).count() == 2
}

/// Callback names such as `exit`, `init` or `enable` are also English; only those that no sentence
/// would use as a word are policed outside backticks.
fn is_distinctive(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit()) || word.len() > 12
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn problems_of(message: &str) -> usize {
        problems(&Diagnostic::new("some-rule", Level::Error, message)).len()
    }

    #[test]
    fn accepts_the_house_style() {
        assert_eq!(
            problems_of("`scx_bpf_consume` may not be called from callback `enqueue`"),
            0
        );
        assert_eq!(problems_of("CO-RE relocation 3 has no target"), 0);
    }

    #[test]
    fn rejects_capitals_stops_bare_names_and_loose_backticks() {
        assert_eq!(problems_of("The call is wrong"), 1);
        assert_eq!(problems_of("the call is wrong."), 1);
        assert_eq!(problems_of("call of scx_bpf_consume is wrong"), 1);
        assert_eq!(problems_of("call of `scx_bpf_consume is wrong"), 1);
        assert_eq!(problems_of("two\nlines"), 1);
        assert_eq!(problems_of(""), 1);
    }
}
