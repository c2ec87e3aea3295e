//! Values as systemd reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A word of `ExecStart` behind the program, which systemd unquotes, and in which it replaces `%` and `$`.
pub(super) fn argument(word: &OsStr) -> String {
    quoted(word.as_bytes(), &[(b'%', "%%"), (b'$', "$$")])
}

/// A word in which `$` stands for itself: the program itself, and `NAME=VALUE` of `Environment`.
pub(super) fn word(word: &OsStr) -> String {
    quoted(word.as_bytes(), &[(b'%', "%%")])
}

/// A path that has a line for itself, and is not unquoted. `None` if no line can hold it.
pub(super) fn path(path: &OsStr) -> Option<String> {
    let text = path.to_str()?;
    // At its ends, spaces are not read; a backslash there goes on with the next line.
    let fits = text.trim() == text && !text.contains(char::is_control) && !text.ends_with('\\');
    fits.then(|| text.replace('%', "%%"))
}

/// In quotes where it needs them. `doubled`: bytes that are written otherwise, wherever they stand.
fn quoted(bytes: &[u8], doubled: &[(u8, &str)]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@+=:,./-%$".contains(byte);
    let needs_quotes = bytes.is_empty() || !bytes.iter().all(is_plain);
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let other = doubled.iter().find(|(byte, _)| char::from(*byte) == character);
            match (other, character) {
                (Some((_, written)), _) => text.push_str(written),
                (None, '"' | '\\') => text.extend(['\\', character]),
                (None, control) if control.is_control() => {
                    let mut utf8 = [0; 4];
                    control.encode_utf8(&mut utf8).bytes().for_each(|byte| push_byte(&mut text, byte));
                }
                (None, other) => text.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut text, *byte));
    }
    if needs_quotes { format!("\"{text}\"") } else { text }
}

fn push_byte(text: &mut String, byte: u8) {
    text.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let cases = [
            ("--listen=127.0.0.1:8080", "--listen=127.0.0.1:8080"),
            ("", "\"\""),
            (";", "\";\""),
            ("two words", "\"two words\""),
            ("it's", "\"it's\""),
            ("say \"no\"", "\"say \\\"no\\\"\""),
            ("a\\b", "\"a\\\\b\""),
            ("100%", "100%%"),
            ("$HOME and %h", "\"$$HOME and %%h\""),
            ("line\nline", "\"line\\x0aline\""),
            ("gr\u{fc}n", "\"gr\u{fc}n\""),
        ];
        for (given, expected) in cases {
            assert_eq!(argument(OsStr::new(given)), expected, "{given:?}");
        }
        assert_eq!(
            argument(OsStr::from_bytes(b"a\xff")),
            "\"a\\xff\"",
            "no text, and it crosses all the same"
        );
        assert_eq!(word(OsStr::new("PRICE=5$ 100%")), "\"PRICE=5$ 100%%\"");
    }

    #[test]
    fn a_path_has_its_line() {
        assert_eq!(path(OsStr::new("/etc/my shop/100%.env")).as_deref(), Some("/etc/my shop/100%%.env"));
        for wrong in ["/etc/a\nb", "/etc/a ", "/etc/a\\"] {
            assert_eq!(path(OsStr::new(wrong)), None, "{wrong:?}");
        }
    }
}
