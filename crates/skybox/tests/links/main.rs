//! Links between instances of two nodes that lose sight of each other, and links of which much is said at once.

mod broken;
mod crowd;
mod line;
mod rounds;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use skybox::{App, Exit, Handle, Monitor, Result, Spawned};

/// One who walks the rope.
pub(crate) struct Walker(String);

#[skybox::module(spawned)]
impl Walker {
    fn start(_: &App, name: String) -> Walker {
        Walker(name)
    }

    pub(crate) async fn name(&self) -> Result<String> {
        Ok(self.0.clone())
    }

    pub(crate) async fn fall(&self) -> Result<()> {
        panic!("{} falls", self.0)
    }
}

/// Has walkers on its node, and lets them go.
#[derive(Default)]
pub(crate) struct Troupe {
    walkers: Mutex<Vec<Spawned<Walker>>>,
}

#[skybox::module(spawned)]
impl Troupe {
    /// Takes so many on, and gives the first ones' handles.
    pub(crate) async fn gather(&self, count: usize, shown: usize) -> Result<Vec<Handle<Walker>>> {
        let app = App::current()?;
        let mut walkers = Vec::new();
        for n in 0..count {
            walkers.push(app.spawn::<Walker>(format!("walker {n}")).await?);
        }
        let handles = walkers.iter().take(shown).map(Spawned::handle).collect();
        self.walkers.lock().expect("nobody panics with it").extend(walkers);
        Ok(handles)
    }

    /// Lets all go.
    pub(crate) async fn dismiss(&self) -> Result<()> {
        drop(std::mem::take(&mut *self.walkers.lock().expect("nobody panics with it")));
        Ok(())
    }

    /// Once there is a file of this name, has the last ones fall and lets the others go; then there is another file.
    pub(crate) async fn break_up_at(&self, sign: &str, falling: usize) -> Result<()> {
        let mut walkers = std::mem::take(&mut *self.walkers.lock().expect("nobody panics with it"));
        let (app, sign) = (App::current()?.clone(), sign.to_owned());
        tokio::spawn(async move {
            there_is(&sign).await;
            app.enter(break_up(walkers.split_off(walkers.len() - falling), walkers)).await;
            std::fs::write(gone(&sign), "").expect("a file may be written");
        });
        Ok(())
    }

    /// How many instances of its node fall with others.
    pub(crate) async fn linked(&self) -> Result<u64> {
        Ok(App::current()?.status().linked)
    }
}

/// Ends all of these, and waits until nothing is left of them.
pub(crate) async fn break_up(falling: Vec<Spawned<Walker>>, leaving: Vec<Spawned<Walker>>) {
    let ends: Vec<_> = falling.iter().chain(&leaving).map(|walker| Handle::monitor(walker)).collect();
    for walker in &falling {
        walker.fall().await.expect_err("it falls");
    }
    drop(leaving);
    for end in ends {
        end.await;
    }
}

/// The file that says that a troupe has broken up.
pub(crate) fn gone(sign: &str) -> String {
    format!("{sign}-gone")
}

pub(crate) async fn there_is(file: &str) {
    while !Path::new(file).exists() {
        // Sleeps because files tell nobody that they have come; each look is a condition.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

pub(crate) async fn told(end: Monitor) -> Exit {
    within("an end is told", end).await
}

/// Checks that one went with another that fell.
#[track_caller]
pub(crate) fn fell_with(exit: &Exit, name: &str) {
    let Exit::Linked { cause, .. } = exit else { panic!("it ended by itself: {exit}") };
    let fell = format!("{name} falls");
    assert!(matches!(&**cause, Exit::Crashed { message, .. } if *message == fell), "with {name}? {exit}");
}

/// Checks that one lives and is linked to nobody who has ended: what comes last is what ends it.
pub(crate) async fn lives(app: &App, walker: &Handle<Walker>, what: &str) {
    let end = Handle::monitor(walker);
    let last = app.spawn::<Walker>("the last".to_owned()).await.expect("a walker comes");
    within("a link", Handle::link(&last, walker)).await.expect("both nodes are there");
    within("a call", last.fall()).await.expect_err("it falls");
    let exit = told(end).await;
    let Exit::Linked { cause, .. } = &exit else { panic!("{what}: it ended by itself: {exit}") };
    let alive = matches!(&**cause, Exit::Crashed { message, .. } if message == "the last falls");
    assert!(alive, "{what}: it was to live, and was {exit}");
}
