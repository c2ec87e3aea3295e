//! One process, no parent: everything is here.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use skybox_core::{InstanceId, ModuleKind, ModulePlan, NodeName, Plan, Shards};
use skybox_plan::names::{NameAnswer, NameAsk, Names};
use tokio::sync::watch;

use super::{Boxed, Control, ControlError, Leave, ModuleDecl, OnceTurn, Report};
use crate::host::lock;

/// Plans for a single process.
pub(crate) struct Alone {
    plan: watch::Sender<Arc<Plan>>,
    leave: watch::Sender<Option<Leave>>,
    names: Mutex<Names>,
}

impl Alone {
    pub(crate) fn new(node: &NodeName, modules: &[ModuleDecl]) -> Alone {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let generation = since_1970.as_millis() as u64;
        let here = |module: &ModuleDecl| match module.kind {
            ModuleKind::Keyed => ModulePlan::Keyed(Shards {
                nodes: vec![node.clone()],
                owner: vec![0; usize::from(skybox_core::SHARD_COUNT)],
                epochs: vec![1; usize::from(skybox_core::SHARD_COUNT)],
                generation,
            }),
            _ => ModulePlan::replicated(vec![node.clone()], Vec::new()),
        };
        let modules = modules.iter().map(|module| (module.name.clone(), here(module))).collect();
        let plan = Plan { version: 1, modules, ..Plan::default() };
        Alone {
            plan: watch::Sender::new(Arc::new(plan)),
            leave: watch::Sender::new(None),
            names: Mutex::default(),
        }
    }
}

impl Control for Alone {
    fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn leaving(&self) -> watch::Receiver<Option<Leave>> {
        self.leave.subscribe()
    }

    fn report(&self, _report: Report) {}

    fn once(&self, _name: &str) -> Boxed<'_, Result<OnceTurn, ControlError>> {
        Box::pin(async { Ok(OnceTurn::Run(Box::new(|_| Box::pin(async {})))) })
    }

    fn listener(&self, name: &str, address: &str) -> Boxed<'_, Result<Option<TcpListener>, ControlError>> {
        let (name, address) = (name.to_owned(), address.to_owned());
        Box::pin(async move { crate::listen::bind(&name, &address).map(Some) })
    }

    fn names(&self, ask: NameAsk) -> Boxed<'_, Result<NameAnswer, ControlError>> {
        let answer = lock(&self.names).answer(ask);
        Box::pin(async { Ok(answer) })
    }

    fn ended(&self, instance: InstanceId) -> Boxed<'_, Result<(), ControlError>> {
        lock(&self.names).ended(instance);
        Box::pin(async { Ok(()) })
    }
}
