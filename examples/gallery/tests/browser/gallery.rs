//! The demo as a process, ended with the test.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) struct Gallery {
    pub(crate) url: String,
    parent: Child,
    /// Kept open, so that the nodes can go on talking.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Gallery {
    /// Starts it; resolves when its page answers.
    pub(crate) fn start() -> Gallery {
        let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
        let mut parent = Command::new(env!("CARGO_BIN_EXE_gallery"))
            .args(["--demo", "--port=0", "--pictures"])
            .arg(pictures)
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo has built it");
        let mut output = BufReader::new(parent.stdout.take().expect("piped")).lines();
        let mut said = Vec::new();
        for line in output.by_ref().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("gallery: ") {
                let url = rest.split_whitespace().next().unwrap_or_default().to_owned();
                return Gallery { url, parent, _output: output };
            }
            said.push(line);
        }
        panic!("the gallery ended before its page was there: {said:?}");
    }

    /// Ends it as Ctrl-C does, and expects that all went well.
    pub(crate) fn end(mut self) {
        self.tell_to_end();
        let status = self.parent.wait().expect("it is our child");
        assert!(status.success(), "the gallery ended with {status}");
    }

    fn tell_to_end(&self) {
        let pid = rustix::process::Pid::from_child(&self.parent);
        // An error says that it has ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    }
}

impl Drop for Gallery {
    /// A killed parent takes its nodes with it.
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}
