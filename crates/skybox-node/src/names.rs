//! Names of spawned instances: each has one instance at most in the whole program.
//!
//! Whoever plans keeps the table (`skybox_plan::names`), and a lookup asks there. A name is registered by the node where
//! the instance is, which alone knows whether it lives, and frees the name before it tells anybody of its end
//! (`names/home.rs`).

mod error;
mod home;
mod shown;

use skybox_core::{CallError, CallErrorKind, Callee};
use skybox_plan::names::{Holder, NAMES_MAX, NameAnswer, NameAsk, check_name};

pub use error::NameError;
pub(crate) use error::Refusal;
pub(crate) use home::{HomeNames, register as register_here};
pub(crate) use shown::show;

use crate::app::{App, AppInner};
use crate::between::{self, Named};
use crate::call::{Handle, Target, To};
use crate::module::Spawns;

impl App {
    /// Gives a spawned instance a name by which every node finds it: [`whereis`](App::whereis).
    ///
    /// A name is text of 1 to 255 bytes, of which each byte counts. It has one instance in the whole program, whatever
    /// its module is; an instance may have several names. Registering again what it has already changes nothing. The name
    /// is free again when nothing is left of the instance, its last call and its `stop` included, however it ended: before
    /// its end is told to monitors. A node that dies takes the names of its instances along.
    ///
    /// An instance may register itself, `app.register("lobby", &app.this::<Room>()?)`, also in its `start`: calls of those
    /// who find it wait until that has ended, and if it fails the name is free.
    ///
    /// # Errors
    /// [`NameError::Taken`] says who has it. [`NameError::NotAName`], [`NameError::NoStore`]. [`NameError::Call`]: `Gone` if
    /// the instance takes no more calls; `Overloaded` if the instances of its node have 131,072
    /// names, or if 16,384 questions of the node wait for an answer; `Unreachable` if the instance's node cannot be
    /// reached, or has not been able to ask whoever keeps the names within 5 s: the instance does not have the name. `Lost`
    /// if the question has left and was not answered, by that node or, within 5 s, by whoever keeps the names: then the
    /// instance may have the name, or get it when whoever hangs goes on. Register it again: that changes nothing if it has.
    ///
    /// # Cancel safety
    /// Dropped, the instance may get the name all the same.
    pub async fn register<T: Spawns>(&self, name: &str, handle: &Handle<T>) -> Result<(), NameError> {
        check(name)?;
        let module = T::descriptor().name;
        let failed = |kind| NameError::from(CallError::new(Callee::new(module, "register"), kind));
        let Target { host, to, .. } = handle.target();
        // A plain value is no instance of a program.
        let To::Seat(seat) = to else { return Err(failed(CallErrorKind::Gone)) };
        let app = self.inner();
        let named = Named { module: module.to_owned(), seat: seat.id };
        let name = name.to_owned();
        let registered = match &seat.node {
            Some(node) if node.is_in_another_life(seat.id.node) => return Err(failed(CallErrorKind::Gone)),
            Some(node) => between::register(app, node, name.clone(), named).await.map_err(failed)?,
            // The seats of a cell's instances are in its node.
            None if app.inside.is_some() => {
                let node = app.links.peer(&app.home);
                between::register(app, &node, name.clone(), named).await.map_err(failed)?
            }
            None => register_here(app, host.clone(), name.clone(), seat.id).await,
        };
        registered.map_err(|refusal| refusal.of(name, failed))
    }

    /// The instance that has this name now, wherever it is; `None` if nobody has it.
    ///
    /// This asks whoever keeps the names, which on one machine is the parent's process: keep the handle, and ask again when
    /// a call fails with `Gone`. Calls do fail so while the instance comes to its end, since the name is its own until
    /// nothing is left of it.
    ///
    /// # Errors
    /// [`NameError::OtherModule`] if an instance of another module has the name. [`NameError::NotAName`],
    /// [`NameError::NoStore`]; [`NameError::Call`] with `Unreachable` if whoever keeps the names is gone, or cannot be asked
    /// within 5 s, with `Lost` if it was asked and does not answer within 5 s, and with `Overloaded` if 16,384 questions
    /// of this node wait for an answer.
    ///
    /// # Panics
    /// If the module is not linked into the program, which is a mistake in the program.
    pub async fn whereis<T: Spawns>(&self, name: &str) -> Result<Option<Handle<T>>, NameError> {
        check(name)?;
        let host = self.host::<T>().unwrap_or_else(|error| panic!("{error}"));
        let module = T::descriptor().name;
        let found = ask(self.inner(), NameAsk::Whereis { name: name.to_owned() }, module, "whereis").await?;
        let Some(holder) = found else { return Ok(None) };
        if holder.module != module {
            return Err(NameError::other_module(name, holder, module));
        }
        let seat = host.seat_at(self.inner(), holder.instance, holder.node);
        Ok(Some(Handle::new(Target::new(host, To::Seat(seat)))))
    }

    /// Takes a name from whoever has it; says whether somebody had it. The instance lives on.
    ///
    /// # Errors
    /// As those of [`whereis`](App::whereis), but that any module's instance may have it. After `Lost` the name may have been
    /// taken away, or be so when whoever keeps the names goes on.
    pub async fn unregister(&self, name: &str) -> Result<bool, NameError> {
        check(name)?;
        let ask = ask(self.inner(), NameAsk::Unregister { name: name.to_owned() }, "names", "unregister");
        Ok(ask.await?.is_some())
    }
}

fn check(name: &str) -> Result<(), NameError> {
    check_name(name).map_err(|bytes| NameError::NotAName { bytes })
}

/// Asks whoever keeps the names for one of them.
async fn ask(
    app: &AppInner,
    ask: NameAsk,
    module: &'static str,
    what: &'static str,
) -> Result<Option<Holder>, NameError> {
    let failed = |kind| NameError::from(CallError::new(Callee::new(module, what), kind));
    match app.control.names(ask).await {
        Ok(NameAnswer::Holder(holder)) => Ok(holder),
        Ok(other) => Err(not_done(other).of(String::new(), failed)),
        // Only one who is to have the name can be refused it.
        Err(error) => Err(Refusal::from(error).of(String::new(), failed)),
    }
}

/// Why whoever keeps the names has not done what was asked.
fn not_done(answer: NameAnswer) -> Refusal {
    let full = |what: String| Refusal::Failed(CallErrorKind::Overloaded { what });
    match answer {
        NameAnswer::Taken(holder) => Refusal::Taken(holder),
        NameAnswer::NotAName { bytes } => Refusal::NotAName(bytes),
        NameAnswer::Full => full(format!("instances of its node have {NAMES_MAX} names already")),
        other => {
            let why = format!("whoever keeps the names answered {other:?}");
            Refusal::Failed(CallErrorKind::BadReply { why })
        }
    }
}
