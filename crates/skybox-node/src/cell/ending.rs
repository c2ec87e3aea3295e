//! How the process of a cell ended, told apart.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;
use skybox_core::Exit;

/// What Rust's runtime writes when a thread has used up its stack, before it calls `abort`.
const STACK_OVERFLOW: &str = "has overflowed its stack";
/// What it writes when the allocator has no more memory, before it calls `abort`.
const NO_MEMORY: &str = "memory allocation of ";

/// The reason, from what the kernel says and what the process has said last. `out_of_memory`: its group has run out of
/// memory, and what that could have. `address_space`: what it could have where nothing but that is limited.
pub(super) fn exit_of(
    status: Option<ExitStatus>,
    last_words: String,
    out_of_memory: Option<u64>,
    address_space: Option<u64>,
) -> Exit {
    let Some(status) = status else {
        return Exit::Signalled { signal: "an unknown end".to_owned(), last_words };
    };
    if let Some(code) = status.code() {
        return Exit::Exited { code, last_words };
    }
    let signal = status.signal().unwrap_or(0);
    let aborted = signal == Signal::ABORT.as_raw();
    if signal == Signal::KILL.as_raw() && out_of_memory.is_some() {
        Exit::OutOfMemory { limit_bytes: out_of_memory, last_words }
    } else if aborted && last_words.contains(STACK_OVERFLOW) {
        Exit::StackOverflow { last_words }
    } else if aborted && last_words.contains(NO_MEMORY) {
        Exit::OutOfMemory { limit_bytes: address_space, last_words }
    } else if aborted {
        Exit::Aborted { last_words }
    } else {
        Exit::Signalled { signal: name(signal), last_words }
    }
}

fn name(signal: i32) -> String {
    const NAMES: [(Signal, &str); 14] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::SYS, "SIGSYS"),
    ];
    let known = NAMES.iter().find(|(known, _)| known.as_raw() == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `status` as `wait` gives it: the exit code times 256, or the signal.
    #[track_caller]
    fn check(status: i32, said: &str, out_of_memory: Option<u64>, expected: Exit) {
        let status = Some(ExitStatus::from_raw(status));
        assert_eq!(exit_of(status, said.to_owned(), out_of_memory, Some(9)), expected);
    }

    #[test]
    fn ends_are_told_apart() {
        let words = String::new;
        check(0, "", None, Exit::Exited { code: 0, last_words: words() });
        check(101 << 8, "", Some(1), Exit::Exited { code: 101, last_words: words() });
        check(11, "", Some(1), Exit::Signalled { signal: "SIGSEGV".to_owned(), last_words: words() });
        check(9, "", None, Exit::Signalled { signal: "SIGKILL".to_owned(), last_words: words() });
        check(9, "", Some(64), Exit::OutOfMemory { limit_bytes: Some(64), last_words: words() });
        check(40, "", None, Exit::Signalled { signal: "signal 40".to_owned(), last_words: words() });
        check(6, "", None, Exit::Aborted { last_words: words() });
        let said =
            "thread 'main' (1) has overflowed its stack\nfatal runtime error: stack overflow, aborting";
        check(6, said, None, Exit::StackOverflow { last_words: said.to_owned() });
        let said = "memory allocation of 8589934592 bytes failed";
        check(6, said, None, Exit::OutOfMemory { limit_bytes: Some(9), last_words: said.to_owned() });
        // A core dump sets a further bit.
        check(6 | 128, "", None, Exit::Aborted { last_words: words() });
    }
}
