//! What is linked into the program: its modules, and which implementation each interface has.

use std::any::TypeId;
use std::collections::HashMap;
use std::time::Duration;

use skybox_core::Settings;

use super::AppError;
use crate::config::Config;
use crate::interface::CandidateRegistration;
use crate::module::Registration;

/// The modules of the program, in one order on every node, with what the configuration makes of them.
pub(super) struct Linked {
    pub(super) registrations: Vec<&'static Registration>,
    pub(super) settings: Vec<Settings>,
    /// Whether its instances have a last word.
    pub(super) stops: Vec<bool>,
    /// By the type of the interface's instances.
    pub(super) chosen: HashMap<TypeId, &'static CandidateRegistration>,
    candidates: Vec<&'static CandidateRegistration>,
}

impl Linked {
    /// How long the slowest last word may take.
    pub(super) fn longest_stop(&self) -> Duration {
        let stopping = self.settings.iter().zip(&self.stops).filter(|(_, stops)| **stops);
        stopping.map(|(settings, _)| settings.stop_wait).max().unwrap_or_default()
    }

    /// The names of an interface's implementations.
    pub(super) fn implementations(&self, interface: &Registration) -> Vec<String> {
        let interface = (interface.type_id)();
        let own = self.candidates.iter().filter(|candidate| (candidate.interface)() == interface);
        own.map(|candidate| candidate.name.to_owned()).collect()
    }
}

/// Gathers them, and chooses.
pub(super) fn modules(config: &Config, named: &[&'static CandidateRegistration]) -> Result<Linked, AppError> {
    let mut registrations: Vec<&'static Registration> = inventory::iter::<Registration>().collect();
    registrations.sort_by_key(|module| ((module.descriptor)().name, (module.descriptor)().path));
    for pair in registrations.windows(2) {
        let (first, second) = ((pair[0].descriptor)(), (pair[1].descriptor)());
        if first.name == second.name {
            return Err(AppError::Twice { name: first.name, first: first.path, second: second.path });
        }
    }
    let candidates = candidates(named);
    let in_cloud = config.store()?.is_some();
    check_names(config, &registrations, &candidates)?;
    let (mut settings, mut stops, mut chosen) = (Vec::new(), Vec::new(), HashMap::new());
    for module in &registrations {
        let descriptor = (module.descriptor)();
        let (mut needs, mut stops_of_module) = (&descriptor.needs, module.stops);
        if module.is_interface {
            let interface = (module.type_id)();
            let mut own = candidates.clone();
            own.retain(|candidate| (candidate.interface)() == interface);
            let candidate = choose(descriptor.name, descriptor.path, &own, config)?;
            (needs, stops_of_module) = (candidate.needs, candidate.stops);
            chosen.insert(interface, candidate);
        }
        let of_module = config.settings(descriptor.name, needs)?;
        for key in of_module.for_clouds().into_iter().filter(|_| !in_cloud) {
            tracing::warn!(
                module = descriptor.name,
                "`{key}` is set; it acts where nodes agree through a store"
            );
        }
        settings.push(of_module);
        stops.push(stops_of_module);
    }
    Ok(Linked { registrations, settings, stops, chosen, candidates })
}

/// Every candidate once: those that the linker has, and those that were named.
fn candidates(named: &[&'static CandidateRegistration]) -> Vec<&'static CandidateRegistration> {
    let mut all: Vec<_> = inventory::iter::<CandidateRegistration>().chain(named.iter().copied()).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|candidate| seen.insert((candidate.type_id)()));
    all.sort_by_key(|candidate| (candidate.name, candidate.path));
    all
}

/// Refuses names in the configuration that the program does not have, and `use` where there is nothing to choose.
fn check_names(
    config: &Config,
    registrations: &[&'static Registration],
    candidates: &[&'static CandidateRegistration],
) -> Result<(), AppError> {
    let names: Vec<_> = registrations.iter().map(|module| (module.descriptor)().name).collect();
    let interfaces = registrations.iter().filter(|module| module.is_interface);
    let interfaces: Vec<_> =
        interfaces.map(|module| ((module.type_id)(), (module.descriptor)().name)).collect();
    let implemented = candidates.iter().filter_map(|candidate| {
        let (_, interface) = interfaces.iter().find(|(id, _)| *id == (candidate.interface)())?;
        Some((candidate.name, *interface))
    });
    let interfaces: Vec<_> = interfaces.iter().map(|(_, name)| *name).collect();
    Ok(config.check_names(&names, &interfaces, &implemented.collect::<Vec<_>>())?)
}

/// The implementation of an interface: the one there is, or the one that the configuration names.
fn choose(
    interface: &'static str,
    path: &'static str,
    candidates: &[&'static CandidateRegistration],
    config: &Config,
) -> Result<&'static CandidateRegistration, AppError> {
    if let Some(pair) = candidates.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let (name, first, second) = (pair[0].name, pair[0].path, pair[1].path);
        return Err(AppError::CandidateTwice { interface, name, first, second });
    }
    let names = candidates.iter().map(|candidate| candidate.name);
    if let Some(at) = config.implementation(interface, names)? {
        return Ok(candidates[at]);
    }
    match candidates {
        [] => Err(AppError::NoCandidate { interface, path }),
        [only] => Ok(only),
        [first, ..] => {
            let all = candidates.iter().map(|candidate| format!("{} ({})", candidate.name, candidate.path));
            let candidates = all.collect::<Vec<_>>().join(", ");
            Err(AppError::Candidates { interface, candidates, first: first.name })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use skybox_core::{Needs, TextChain};

    use super::*;

    const fn candidate(name: &'static str) -> CandidateRegistration {
        CandidateRegistration::unstartable(name, &Needs::NONE)
    }

    static CASH: CandidateRegistration = candidate("cash");
    static STRIPE: CandidateRegistration = candidate("stripe");

    /// Which of the candidates is chosen by a configuration, or the words of the refusal.
    fn chosen(candidates: &[&'static CandidateRegistration], config: &str) -> Result<&'static str, String> {
        let config = Config::parse(Path::new("skybox.toml"), config).expect("the table holds TOML");
        choose("payments", "shop::api", candidates, &config)
            .map(|candidate| candidate.name)
            .map_err(|error| TextChain::of(&error).joined())
    }

    #[test]
    fn one_candidate_needs_no_configuration_and_several_do() {
        let stripe = "[modules.payments]\nuse = \"stripe\"\n";
        assert_eq!(chosen(&[&STRIPE], ""), Ok("stripe"));
        assert_eq!(chosen(&[&STRIPE], stripe), Ok("stripe"));
        assert_eq!(chosen(&[&CASH, &STRIPE], stripe), Ok("stripe"));
        assert_eq!(chosen(&[&CASH, &STRIPE], "[modules.payments]\nuse = \"cash\"\n"), Ok("cash"));
    }

    #[test]
    fn a_choice_that_cannot_be_made_lists_the_candidates() {
        assert_eq!(
            chosen(&[], "").unwrap_err(),
            "SKY-203: the interface `payments` (shop::api) has no implementation in this program: put \
             `#[skybox::module]` on one, and name it with `.candidate::<…>()` if its crate is not named elsewhere"
        );
        assert_eq!(
            chosen(&[&CASH, &STRIPE], "[modules.payments]\nreplicas = 2\n").unwrap_err(),
            "SKY-205: the interface `payments` has several implementations: cash (test), stripe (test); choose \
             one in skybox.toml: `[modules.payments]`, `use = \"cash\"`"
        );
        assert_eq!(
            chosen(&[&CASH, &STRIPE], "[modules.payments]\nreplicas = 2\nuse = \"paypal\"\n").unwrap_err(),
            "SKY-201: the configuration is wrong: skybox.toml:3: `payments` has no implementation `paypal`; it \
             has cash, stripe"
        );
        assert_eq!(
            chosen(&[], "[modules.payments]\nuse = \"paypal\"\n").unwrap_err(),
            "SKY-201: the configuration is wrong: skybox.toml:2: `payments` has no implementation `paypal`; none \
             is linked into this program"
        );
        assert_eq!(
            chosen(&[&STRIPE, &STRIPE], "").unwrap_err(),
            "SKY-204: two implementations of `payments` are named `stripe`: test and test; rename one"
        );
    }
}
