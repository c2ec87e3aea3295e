//! The users of this machine, by name.

use std::io::{BufRead, BufReader, Read};

/// Bytes of the list of users that are read: whoever has more users keeps them elsewhere.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// The user's name in `/etc/passwd`; the number, if it has none there.
pub fn name_of(user: u32) -> String {
    let list = std::fs::File::open("/etc/passwd").ok();
    let named = list.and_then(|list| {
        let lines = BufReader::new(list.take(LIST_BYTES_MAX)).lines();
        lines.map_while(Result::ok).find_map(|line| name_in(&line, user))
    });
    named.unwrap_or_else(|| user.to_string())
}

/// The name in a line of the list, if it is of that user.
fn name_in(line: &str, user: u32) -> Option<String> {
    let mut fields = line.split(':');
    let (name, of) = (fields.next()?, fields.nth(1)?);
    (of.parse() == Ok(user) && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        assert_eq!(name_in("ada:x:1000:1000::/home/ada:/bin/sh", 1000).as_deref(), Some("ada"));
        for other in ["ada:x:1001:1000::", "ada:x", "", ":x:1000:1000::", "# 1000:x:y"] {
            assert_eq!(name_in(other, 1000), None, "{other}");
        }
        assert_eq!(name_of(0), "root");
        assert_eq!(name_of(3_999_999_999), "3999999999");
    }
}
