//! Numbers with units, written as in `skybox.toml`.

/// Cores of the largest host we believe in; more is a slip.
const CPU_MAX: f64 = 4096.0;

/// `2` or `0.5` cores, in thousandths.
pub(super) fn cpu_milli(text: &str) -> Option<u32> {
    let cores: f64 = text.parse().ok()?;
    let milli = (cores * 1000.0).round();
    (milli >= 1.0 && cores <= CPU_MAX).then_some(milli as u32)
}

/// `512MiB`, `2GB`, `1024`: bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0)
}

/// `250ms`, `2s`, `5m`, `1h`: milliseconds.
pub(super) fn ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..at].parse().ok()?, text[at..].trim_start()))
}

/// How many letters must be added, taken away or changed to make one word of another.
pub(super) fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_the_file_reads_them() {
        let sizes = [("512MiB", Some(512 << 20)), ("2 GB", Some(2_000_000_000)), ("1024", Some(1024))];
        for (text, expect) in
            sizes.into_iter().chain([("0", None), ("lots", None), ("-1", None), ("1XB", None)])
        {
            assert_eq!(bytes(text), expect, "{text}");
        }
        let times = [("250ms", Some(250)), ("2m", Some(120_000)), ("1h", Some(3_600_000)), ("0s", Some(0))];
        for (text, expect) in
            times.into_iter().chain([("2", None), ("m", None), ("99999999999999999h", None)])
        {
            assert_eq!(ms(text), expect, "{text}");
        }
        let cores = [("2", Some(2000)), ("0.5", Some(500)), ("0", None), ("-1", None), ("0.0001", None)];
        for (text, expect) in cores.into_iter().chain([("nan", None), ("1e9", None)]) {
            assert_eq!(cpu_milli(text), expect, "{text}");
        }
    }

    #[test]
    fn distances_between_words() {
        for (from, to, expect) in
            [("replica", "replicas", 1), ("cpus", "cpu", 1), ("", "on", 2), ("within", "within", 0)]
        {
            assert_eq!(edit_distance(from, to), expect, "{from} {to}");
        }
    }
}
