//! Makes text from an object safe to print: names, paths and source lines are whatever the object's
//! author put there, and a terminal obeys some of it.

use std::borrow::Cow;

/// Escapes everything a terminal would obey rather than show: control characters, and characters
/// that are invisible or reorder what follows. `\n` and `\t` are escaped too.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        let mut escaped = String::with_capacity(text.len() + 8);
        for char in text.chars() {
            push(&mut escaped, char);
        }
        Cow::Owned(escaped)
    } else {
        Cow::Borrowed(text)
    }
}

/// Appends `char`, escaped if it has to be.
pub(super) fn push(out: &mut String, char: char) {
    if is_unsafe(char) {
        out.extend(char.escape_default());
    } else {
        out.push(char);
    }
}

/// Whether `char` may change what a terminal shows of the characters around it.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(escape("größe `x` → 6.12–7.0"), Cow::Borrowed(_)));
    }

    #[test]
    fn terminal_commands_and_reordering_are_shown_not_obeyed() {
        assert_eq!(escape("a\x1b[2Jb\u{9b}c"), "a\\u{1b}[2Jb\\u{9b}c");
        assert_eq!(
            escape("x\u{202e}y\u{200b}\n\t\0"),
            "x\\u{202e}y\\u{200b}\\n\\t\\u{0}"
        );
    }
}
