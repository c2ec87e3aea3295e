//! Which App code belongs to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use skybox_core::Code;

use super::{App, AppInner};
use crate::call::far;
use crate::thread;

/// An App within its process; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AppId(pub(crate) u32);

/// No App that code could belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoApp {
    /// The process has none.
    #[error("{}: no App has been started in this process", Code::NO_APP)]
    None,
    /// The process has several, and this code runs in none of them.
    #[error(
        "{}: this process has several Apps and this code runs in none of them: wrap it in `app.enter(…)`",
        Code::SEVERAL_APPS
    )]
    Several,
    /// The one it ran in has ended.
    #[error("{}: the App that this code ran in has ended", Code::APP_ENDED)]
    Ended,
}

impl NoApp {
    /// Its stable code, which its text begins with.
    pub fn code(self) -> Code {
        match self {
            NoApp::None => Code::NO_APP,
            NoApp::Several => Code::SEVERAL_APPS,
            NoApp::Ended => Code::APP_ENDED,
        }
    }
}

type Living = Vec<(AppId, Weak<AppInner>)>;

fn apps() -> &'static ArcSwap<Living> {
    static APPS: OnceLock<ArcSwap<Living>> = OnceLock::new();
    APPS.get_or_init(ArcSwap::default)
}

impl AppId {
    pub(crate) const NONE: AppId = AppId(0);

    pub(crate) fn next() -> AppId {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        AppId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(super) fn enrol(app: &Arc<AppInner>) {
    apps().rcu(|living| {
        let mut living: Living = living.iter().filter(|(_, app)| app.strong_count() > 0).cloned().collect();
        living.push((app.id, Arc::downgrade(app)));
        living
    });
}

impl App {
    /// The App that the running code belongs to: the one of its call or scope, else the process's only one.
    ///
    /// # Errors
    /// [`NoApp`].
    pub fn current() -> Result<App, NoApp> {
        let decoding = far::decoding_in();
        let id = if decoding == AppId::NONE {
            thread::current(|frame| frame.map_or(AppId::NONE, |frame| frame.inherited.app()))
        } else {
            decoding
        };
        let apps = apps().load();
        if id != AppId::NONE {
            let app = apps.iter().find(|(living, _)| *living == id).and_then(|(_, app)| app.upgrade());
            return app.map(App::from_inner).ok_or(NoApp::Ended);
        }
        let mut living = apps.iter().filter_map(|(_, app)| app.upgrade());
        let only = living.next().ok_or(NoApp::None)?;
        if living.next().is_some() {
            return Err(NoApp::Several);
        }
        Ok(App::from_inner(only))
    }
}
