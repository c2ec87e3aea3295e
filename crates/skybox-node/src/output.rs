//! What child processes write: passed on line by line, with the last of it kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

/// Longer lines are cut in pieces.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Of what a process has written last, this many lines are kept: a panic with a short backtrace.
const LAST_LINES_MAX: usize = 16;
/// And at most this many bytes of each: it is for people, and is kept with each of the last endings.
const LAST_LINE_BYTES_MAX: usize = 256;

/// The last lines that a process has written.
#[derive(Clone, Debug, Default)]
pub struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    /// The lines, as text without a line feed at its end.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn heard(&self, line: &[u8]) {
        let line = &line[..line.len().min(LAST_LINE_BYTES_MAX)];
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Passes lines on, each behind the prefix, on a thread of its own: a reader that stops must hold up nobody else.
/// What is returned resolves at the end.
pub fn pass_on(
    from: impl Read + Send + 'static,
    prefix: String,
    mut to: impl Write + Send + 'static,
    last: Option<LastWords>,
) -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    let pass_on = move || {
        let mut from = BufReader::new(from);
        let mut line = prefix.clone().into_bytes();
        // Once nobody reads, the pipe is still emptied: the process goes on.
        let mut broken = false;
        while matches!((&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(1..)) {
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            if let Some(last) = &last {
                last.heard(&line[prefix.len()..]);
            }
            // One write for each line, so that lines of several processes never mix.
            broken = broken || to.write_all(&line).and_then(|()| to.flush()).is_err();
            line.truncate(prefix.len());
        }
        // Nobody waits when whoever started the process has ended.
        let _ = ended.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("skybox-output".to_owned()).spawn(pass_on) {
        tracing::warn!("a process's output is not shown: {error}");
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_bounded() {
        let last = LastWords::default();
        for n in 0..40 {
            last.heard(format!("line {n}\n").as_bytes());
        }
        last.heard(b"\n");
        last.heard(&[b'x'; 10_000]);
        let text = last.text();
        assert_eq!(text.lines().count(), LAST_LINES_MAX);
        assert!(text.starts_with("line 25\n"), "{text}");
        assert_eq!(text.lines().next_back().map(str::len), Some(LAST_LINE_BYTES_MAX));
    }
}
