//! What differs between two builds of one program, here between the nodes' processes and the test's own.

use serde::{Deserialize, Deserializer, Serialize};
use skybox::Result;
use skybox::rt::{
    App, Call, Calling, Incoming, MethodDescriptor, Module, ModuleDescriptor, ModuleKind, Needs,
    Registration, Serving, StartError, Target,
};

/// Whether this process is one of the nodes that a test has started.
fn in_a_node() -> bool {
    std::env::var_os("SKYBOX_NODE").is_some()
}

/// Data that only the test's own build has.
#[derive(Debug, Serialize)]
pub struct Ours(pub u32);

/// Data that only the nodes' build has.
#[derive(Debug, Serialize)]
pub struct Theirs(pub u32);

fn read<'de, D: Deserializer<'de>>(deserializer: D, known: bool) -> std::result::Result<u32, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if known { Ok(value) } else { Err(serde::de::Error::custom("there is no such variant")) }
}

impl<'de> Deserialize<'de> for Ours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Ours, D::Error> {
        read(deserializer, !in_a_node()).map(Ours)
    }
}

impl<'de> Deserialize<'de> for Theirs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Theirs, D::Error> {
        read(deserializer, in_a_node()).map(Theirs)
    }
}

/// A module to which the nodes' build has added a method. Registered by hand, since the attribute writes one version.
pub struct Edition;

const fn edition(methods: &'static [MethodDescriptor]) -> ModuleDescriptor {
    ModuleDescriptor {
        name: "edition",
        path: module_path!(),
        kind: ModuleKind::Replicated,
        needs: Needs::NONE,
        methods,
    }
}

static FIRST: ModuleDescriptor = edition(&[MethodDescriptor::shared("read", &[])]);
static SECOND: ModuleDescriptor =
    edition(&[MethodDescriptor::shared("read", &[]), MethodDescriptor::shared("print", &[])]);
static READ_CALL: Call<(), Result<()>> = Call::new(&FIRST, 0);

pub struct EditionProxy(Target<Edition>);

impl EditionProxy {
    pub fn read(&self) -> impl Calling<'_, Result<()>> {
        READ_CALL.shared(&self.0, (), |_this, ()| async { Ok(()) })
    }
}

impl Module for Edition {
    type Proxy = EditionProxy;
    type Key = ();

    fn descriptor() -> &'static ModuleDescriptor {
        if in_a_node() { &SECOND } else { &FIRST }
    }

    fn proxy(target: Target<Edition>) -> EditionProxy {
        EditionProxy(target)
    }

    fn target(proxy: &EditionProxy) -> &Target<Edition> {
        &proxy.0
    }

    async fn start(_app: App, _key: ()) -> std::result::Result<Edition, StartError> {
        Ok(Edition)
    }

    fn serve(call: Incoming<Edition>) -> Serving {
        match call.method() {
            0 => READ_CALL.serve_shared(call, |_this, ()| async { Ok(()) }),
            _ => call.unknown(),
        }
    }
}

skybox::rt::inventory::submit!(Registration::of::<Edition>());
