//! What the code of a spawned instance can say of itself.

use skybox_core::Epoch;

use super::{App, Missing};
use crate::call::{Handle, Target, To};
use crate::module::Spawns;
use crate::thread::{self, Me};

impl App {
    /// A handle of the spawned instance whose method or `start` runs here, to be given to others. It owns nothing.
    ///
    /// In a `start`, calls through it wait until that has ended; the `start` must not await them.
    ///
    /// # Errors
    /// [`Missing::Instance`], if the code that asks is not that of an instance of `T`: another module's, or that of a
    /// task. A scope hides the instance too (`app.enter`, `with_trace`): ask outside of it.
    pub fn this<T: Spawns>(&self) -> Result<Handle<T>, Missing> {
        let host = self.host::<T>()?;
        let missing = Missing::Instance(T::descriptor().name);
        let me = self.me().filter(|me| me.module == host.core.index).ok_or(missing)?;
        let seat = host.seat_here(me.instance);
        Ok(Handle::new(Target::new(host, To::Seat(seat))))
    }

    /// Ends the spawned instance whose method runs here, in order: whoever watches it hears
    /// [`Exit::Normal`](skybox_core::Exit::Normal).
    ///
    /// From now on new calls fail with `Gone`, and so do those that wait for their turn. Those in progress, the one that
    /// says this among them, come to their ends and are answered; then its `stop` runs. Said again, it changes nothing.
    ///
    /// # Errors
    /// [`Missing::Instance`], if the code that says it is not that of a method of a spawned instance: that of a `start`,
    /// which fails instead, or of a task. A scope hides the instance too.
    pub fn end_this(&self) -> Result<(), Missing> {
        let me = self.me().filter(|me| {
            let host = &self.inner().hosts[usize::from(me.module)];
            host.end_itself(me.instance)
        });
        me.map(drop).ok_or(Missing::Instance("a spawned module"))
    }

    /// Under which of the owners of its key the instance was made whose method or `start` runs here: each later owner of a
    /// key has a higher one, so what is written with it elsewhere can be refused once a successor has written with its own.
    /// It stays the same for as long as the instance lives, and has no meaning for other keys.
    ///
    /// In a program of one process it is of the process: higher in the next one, as far as the machine's clock goes on. The
    /// same is so for the nodes of `skybox run`, of each run. In a cloud it is counted in the store.
    ///
    /// # Errors
    /// [`Missing::Epoch`], if the code that asks is not that of a keyed instance, or if nobody counts them, as where nodes
    /// are listed by hand. A scope hides the instance (`app.enter`, `with_trace`): ask outside of it.
    pub fn epoch(&self) -> Result<Epoch, Missing> {
        self.me().and_then(|me| me.epoch).ok_or(Missing::Epoch)
    }

    fn me(&self) -> Option<Me> {
        thread::me().filter(|me| me.app == self.inner().id)
    }
}
