//! What the macros say about a module at compile time.

use crate::{Mode, Needs};

/// How a module is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleKind {
    /// A stateless function, called by its own name.
    Task,
    /// N equal instances: `app.get::<T>()`.
    Replicated,
    /// One instance for each key: `app.at::<T>(&key)`.
    Keyed,
    /// Instances that code makes while it runs: `app.spawn::<T>(arguments)`.
    Spawned,
}

/// One module or task, as written in the program.
#[derive(Debug)]
pub struct ModuleDescriptor {
    /// Its name in `skybox.toml` and on the command line: the type's or function's name in snake case.
    pub name: &'static str,
    /// Where it is written: `module_path!()`.
    pub path: &'static str,
    /// The form.
    pub kind: ModuleKind,
    /// Its annotations; `skybox.toml` and the environment may override each.
    pub needs: Needs,
    /// Its methods, by index. A task has one, named `call`.
    pub methods: &'static [MethodDescriptor],
}

/// One method.
#[derive(Debug)]
pub struct MethodDescriptor {
    /// Its name.
    pub name: &'static str,
    /// The names of its parameters, for calls from the command line.
    pub parameters: &'static [&'static str],
    /// `&self` or `&mut self`.
    pub mode: Mode,
    /// Whether sending it twice does no harm, so that a lost call may be sent again.
    pub idempotent: bool,
    /// Whether it stops at its next await when its caller stops waiting.
    pub cancel_on_drop: bool,
    /// Whether it runs on the module's own threads when `cpu` is set: sync methods and `#[compute]` ones.
    pub compute: bool,
    /// Whether an argument or the result is a stream.
    pub streams: bool,
    /// How many of its arguments are streams.
    pub stream_arguments: u8,
    /// Whether its result is one.
    pub gives_stream: bool,
}

/// What no method says of itself.
const PLAIN: MethodDescriptor = MethodDescriptor {
    name: "",
    parameters: &[],
    mode: Mode::Shared,
    idempotent: false,
    cancel_on_drop: false,
    compute: false,
    streams: false,
    stream_arguments: 0,
    gives_stream: false,
};

impl MethodDescriptor {
    /// An async `&self` method: it stops at its next await when its caller stops waiting.
    pub const fn shared(name: &'static str, parameters: &'static [&'static str]) -> MethodDescriptor {
        let mode = Mode::Shared;
        MethodDescriptor { name, parameters, mode, cancel_on_drop: true, ..PLAIN }
    }

    /// An async `&mut self` method: once started it runs to its end.
    pub const fn exclusive(name: &'static str, parameters: &'static [&'static str]) -> MethodDescriptor {
        let mode = Mode::Exclusive;
        MethodDescriptor { name, parameters, mode, ..PLAIN }
    }

    /// A `&self` method that is not async: it runs on the module's own threads when `cpu` is set, to its end.
    pub const fn sync(name: &'static str, parameters: &'static [&'static str]) -> MethodDescriptor {
        MethodDescriptor::shared(name, parameters).compute().to_completion()
    }

    /// Sending it twice does no harm.
    #[must_use]
    pub const fn idempotent(self) -> MethodDescriptor {
        MethodDescriptor { idempotent: true, ..self }
    }

    /// It runs on the module's own threads when `cpu` is set.
    #[must_use]
    pub const fn compute(self) -> MethodDescriptor {
        MethodDescriptor { compute: true, ..self }
    }

    /// So many of its arguments are streams.
    #[must_use]
    pub const fn takes_streams(self, stream_arguments: u8) -> MethodDescriptor {
        MethodDescriptor { streams: true, stream_arguments, ..self }
    }

    /// Its result is a stream.
    #[must_use]
    pub const fn gives_stream(self) -> MethodDescriptor {
        MethodDescriptor { streams: true, gives_stream: true, ..self }
    }

    /// It stops at its next await when its caller stops waiting.
    #[must_use]
    pub const fn cancel_on_drop(self) -> MethodDescriptor {
        MethodDescriptor { cancel_on_drop: true, ..self }
    }

    /// Once started it runs to its end.
    #[must_use]
    pub const fn to_completion(self) -> MethodDescriptor {
        MethodDescriptor { cancel_on_drop: false, ..self }
    }
}
