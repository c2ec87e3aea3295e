//! A program whose instances have names, for the tests of what becomes of those, and of what is shown of them.
//!
//! Each node has a `desk`, which opens rooms on its node and gives them names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skybox::{App, Handle, NameError, Result, Spawned};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// How long a room may take to stop. It has nothing to do.
const STOP: Duration = Duration::from_secs(60);

struct Room;

#[skybox::module(spawned)]
impl Room {
    async fn start(_app: &App, _number: u32) -> Result<Room> {
        Ok(Room)
    }

    /// The process that it is in.
    pub(crate) async fn process(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn burn(&self) -> Result<()> {
        panic!("it burns")
    }
}

struct Desk {
    app: App,
    rooms: Mutex<BTreeMap<String, Arc<Spawned<Room>>>>,
}

#[skybox::module(replicas = 2)]
impl Desk {
    fn start(app: &App) -> Result<Desk> {
        Ok(Desk { app: app.clone(), rooms: Mutex::default() })
    }

    /// Opens a room of that name, and says how naming it went. Opened before, it is named again.
    pub(crate) async fn open(&self, name: &str) -> Result<String> {
        let room = self.room(name).await?;
        Ok(code(self.app.register(name, &room).await))
    }

    /// Opens so many rooms without a name.
    pub(crate) async fn fill(&self, count: u32) -> Result<()> {
        for number in 0..count {
            self.room(&format!("nameless {number}")).await?;
        }
        Ok(())
    }

    /// Gives a room a further name.
    pub(crate) async fn call_it(&self, name: &str, also: &str) -> Result<String> {
        let room = self.room(name).await?;
        Ok(code(self.app.register(also, &room).await))
    }

    /// Has two rooms fall with each other.
    pub(crate) async fn link(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (self.room(one).await?, self.room(other).await?);
        Ok(Handle::link(&one, &other).await?)
    }

    /// The process of the room of that name, whoever has opened it.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<u32>> {
        match self.app.whereis::<Room>(name).await? {
            None => Ok(None),
            Some(room) => Ok(Some(room.process().await?)),
        }
    }

    /// Has a room burn down, which is not one that has stopped.
    pub(crate) async fn burn(&self, name: &str) -> Result<()> {
        let room = self.rooms.lock().await.remove(name);
        if let Some(room) = room {
            let end = Handle::monitor(&room);
            drop(room.burn().await);
            end.await;
        }
        Ok(())
    }

    /// How many rooms it has.
    pub(crate) async fn count(&self) -> Result<usize> {
        Ok(self.rooms.lock().await.len())
    }

    /// All that can be asked of names, done when there is the file `go`: it names a room `late` and one `prize`, looks for
    /// `kept` so many times at once, and closes those of the names that begin with `row`, one after another. Says how often
    /// each outcome was seen.
    pub(crate) async fn meanwhile(&self, lookups: usize) -> Result<BTreeMap<String, usize>> {
        let (late, prize) = (self.room("late").await?, self.room("prize").await?);
        while !Path::new("go").exists() {
            // Sleeps because a file tells nobody that it is there.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let looking = async {
            let mut looks = JoinSet::new();
            for _ in 0..lookups {
                let app = self.app.clone();
                looks.spawn(async move { app.whereis::<Room>("kept").await.map(drop) });
            }
            looks.join_all().await
        };
        let closing = async {
            let mut rooms = self.rooms.lock().await;
            let row: Vec<_> = rooms.extract_if(.., |name, _| name.starts_with("row")).collect();
            drop(rooms);
            let mut closed = 0;
            for (_, room) in row {
                closed += usize::from(Handle::stop(&room, STOP).await.is_ok());
            }
            closed
        };
        let (late, prize, looks, closed) = tokio::join!(
            self.app.register("late", &late),
            self.app.register("prize", &prize),
            looking,
            closing
        );
        let mut seen = BTreeMap::from([("closed".to_owned(), closed)]);
        *seen.entry(format!("late {}", code(late))).or_default() += 1;
        *seen.entry(format!("prize {}", code(prize))).or_default() += 1;
        for look in looks {
            *seen.entry(format!("look {}", code(look))).or_default() += 1;
        }
        Ok(seen)
    }

    async fn room(&self, name: &str) -> Result<Arc<Spawned<Room>>> {
        let mut rooms = self.rooms.lock().await;
        if let Some(room) = rooms.get(name) {
            return Ok(room.clone());
        }
        let room = Arc::new(self.app.spawn::<Room>(1).await?);
        rooms.insert(name.to_owned(), room.clone());
        Ok(room)
    }
}

fn code(outcome: Result<(), NameError>) -> String {
    outcome.map_or_else(|error| error.code().name().to_owned(), |()| "ok".to_owned())
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let app = App::builder().start().await?;
    app.draining().await;
    Ok(())
}
