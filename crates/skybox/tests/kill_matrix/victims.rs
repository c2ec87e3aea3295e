//! Modules that do to their process what they are told, and the one that has nothing to do with it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skybox::{App, CallOptions, Handle};
use tokio::sync::Barrier;

use crate::deadly::{null_dereference, overflow_the_stack, turn};
use crate::stage::{SOON, kind_of};
use crate::watched::reason;

/// Names a directory in which the test leaves word for the starts of [`Body`].
pub(crate) const WORD_ENV: &str = "SKYBOX_TEST_WORD";

/// Where it is written how many starts of [`Body`] are to panic.
pub(crate) fn panics_left() -> PathBuf {
    PathBuf::from(std::env::var_os(WORD_ENV).unwrap_or_default()).join("panics-left")
}

/// What can be told to suffer.
pub(crate) struct Body {
    /// Its end is to panic as well.
    bitter: Mutex<bool>,
}

impl Body {
    /// Panics if this start is to.
    fn begin() -> Body {
        let file = panics_left();
        let left: u32 = std::fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        if left > 0 {
            std::fs::write(&file, (left - 1).to_string()).expect("the test's directory can be written");
            panic!("{left} starts panic, this one among them");
        }
        Body { bitter: Mutex::new(false) }
    }

    async fn suffer(&self, how: &str) -> skybox::Result<()> {
        eprintln!("suffers: {how}");
        match how {
            "waiting" => std::future::pending().await,
            "panic" => panic!("as told"),
            "panic in Drop" => {
                *self.bitter.lock().expect("nobody panics with it") = true;
                panic!("as told");
            }
            "double panic" => {
                let _again = Bomb;
                panic!("as told");
            }
            "abort" => std::process::abort(),
            "null dereference" => null_dereference(),
            "stack overflow" => overflow_the_stack(),
            "endless loop" => turn(),
            "endless allocation" => allocate(),
            "exit(0)" => std::process::exit(0),
            "descriptors used up" => use_up_descriptors()?,
            "descriptors given back" => give_back_descriptors()?,
            how => return Err(skybox::Error::msg(format!("nobody suffers `{how}`"))),
        }
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let bitter = self.bitter.get_mut().is_ok_and(|bitter| *bitter);
        assert!(!bitter, "its end panics, as told");
    }
}

/// Does to its process what it is told. Skybox starts it again.
pub(crate) struct Victim(Body);

#[skybox::module]
impl Victim {
    fn start(_: &App) -> Victim {
        Victim(Body::begin())
    }

    /// Its process.
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        self.0.suffer(how).await
    }
}

/// The same, made by code: nobody starts it again, and monitors tell of its end.
pub(crate) struct Twin(Body);

#[skybox::module(spawned)]
impl Twin {
    fn start(_: &App, _: ()) -> Twin {
        Twin(Body::begin())
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        self.0.suffer(how).await
    }

    pub(crate) async fn touch(&mut self) -> skybox::Result<()> {
        Ok(())
    }

    /// Calls another one once both are held, so that neither gets its turn; gives the kind of the error.
    pub(crate) async fn clasp(&mut self, other: &Handle<Twin>) -> skybox::Result<Option<String>> {
        // They may be in processes of their own, and meet in that of their node.
        App::current()?.get::<Steady>().meet().await?;
        let touched = other.with(CallOptions::new().deadline(SOON)).touch().await;
        Ok(touched.err().map(|error| kind_of(&error).to_owned()))
    }
}

/// Panics when it is dropped, also while a panic is on its way.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("once more");
    }
}

fn allocate() {
    let mut taken = Vec::new();
    loop {
        // Memory counts once it is written.
        taken.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

/// What is open of all that this process may open.
static OPEN: Mutex<(Vec<File>, Option<Rlimit>)> = Mutex::new((Vec::new(), None));

/// More descriptors than it has now, before it may open no more: what is in use is used up sooner than a system's limit.
const FEW: u64 = 64;

fn use_up_descriptors() -> skybox::Result<()> {
    let mut open = OPEN.lock().expect("nobody panics with it");
    let limit = getrlimit(Resource::Nofile);
    open.1 = Some(limit);
    let now = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(now + FEW), maximum: limit.maximum })?;
    loop {
        match File::open("/dev/null") {
            Ok(file) => open.0.push(file),
            Err(_) if open.0.is_empty() => return Err(skybox::Error::msg("nothing could be opened")),
            Err(_) => return Ok(()),
        }
    }
}

fn give_back_descriptors() -> skybox::Result<()> {
    let mut open = OPEN.lock().expect("nobody panics with it");
    open.0.clear();
    if let Some(limit) = open.1.take() {
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// Two of them wait for each other.
pub(crate) struct Pair;

#[skybox::module(keyed)]
impl Pair {
    fn start(_: &App, _: &str) -> Pair {
        Pair
    }

    pub(crate) async fn touch(&mut self) -> skybox::Result<()> {
        Ok(())
    }

    /// Calls another one once both are held, so that neither gets its turn; gives the kind of the error.
    pub(crate) async fn clasp(&mut self, other: &str) -> skybox::Result<Option<String>> {
        static HELD: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));
        HELD.wait().await;
        let other = App::current()?.at::<Pair>(other).with(CallOptions::new().deadline(SOON));
        Ok(other.touch().await.err().map(|error| kind_of(&error).to_owned()))
    }
}

/// Lives in the node itself, and has nothing to do with all this.
#[derive(Default)]
pub(crate) struct Steady;

#[skybox::module]
impl Steady {
    pub(crate) async fn add(&self, one: u64, other: u64) -> skybox::Result<u64> {
        Ok(one + other)
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// Returns when two have come.
    pub(crate) async fn meet(&self) -> skybox::Result<()> {
        static MET: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));
        MET.wait().await;
        Ok(())
    }

    /// Waits for the end of one, on its own node.
    pub(crate) async fn watch(&self, twin: &Handle<Twin>) -> skybox::Result<String> {
        Ok(reason(&Handle::monitor(twin).await))
    }

    /// What the node and its cells say of a module.
    pub(crate) async fn look(&self, module: &str) -> skybox::Result<String> {
        let status = App::current()?.status_with_cells().await;
        let module = status.modules.into_iter().find(|status| status.module == module);
        Ok(serde_json::to_string(&module)?)
    }
}
