//! What is reserved of each host: one account for all of its nodes.

use super::facts::{Host, Module};

/// What is taken as the size of a host without limits, in thousandths of a core, where hosts are compared.
const NO_LIMIT_CPU_MILLI: u64 = 64_000;

/// An amount of everything that can be reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) cpu_milli: u64,
    pub(super) memory_bytes: u64,
    pub(super) gpu: u64,
}

impl Amount {
    pub(super) fn of_module(module: &Module) -> Amount {
        Amount { cpu_milli: module.cpu_milli, memory_bytes: module.memory_bytes, gpu: module.gpu }
    }

    pub(super) fn of_host(host: &Host) -> Amount {
        Amount { cpu_milli: host.cpu_milli, memory_bytes: host.memory_bytes, gpu: host.gpu }
    }

    pub(super) fn plus(self, other: Amount) -> Amount {
        Amount {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            gpu: self.gpu.saturating_add(other.gpu),
        }
    }

    fn minus(self, other: Amount) -> Amount {
        Amount {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            gpu: self.gpu.saturating_sub(other.gpu),
        }
    }

    pub(super) fn fits_in(self, room: Amount) -> bool {
        self.cpu_milli <= room.cpu_milli && self.memory_bytes <= room.memory_bytes && self.gpu <= room.gpu
    }

    /// The largest of its shares of a whole, in thousandths.
    pub(super) fn share_of(self, whole: Amount) -> u64 {
        let share = |part: u64, whole: u64| match part {
            0 => 0,
            part => part.saturating_mul(1_000) / whole.max(1),
        };
        let cpu = share(self.cpu_milli, whole.cpu_milli);
        cpu.max(share(self.memory_bytes, whole.memory_bytes)).max(share(self.gpu, whole.gpu))
    }
}

/// One host's account. Never overdrawn: what does not fit is not reserved.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// `None` where there is no limit.
    whole: Option<Amount>,
    used: Amount,
}

/// The accounts, by the host's index.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    pub(super) fn new(wholes: impl Iterator<Item = Option<Amount>>) -> Ledger {
        Ledger { accounts: wholes.map(|whole| Account { whole, used: Amount::default() }).collect() }
    }

    pub(super) fn fits(&self, host: usize, amount: Amount) -> bool {
        let account = &self.accounts[host];
        account.whole.is_none_or(|whole| account.used.plus(amount).fits_in(whole))
    }

    /// What is left; `None` without limits.
    pub(super) fn left(&self, host: usize) -> Option<Amount> {
        let account = &self.accounts[host];
        account.whole.map(|whole| whole.minus(account.used))
    }

    /// How full the host would be with this too, in thousandths.
    pub(super) fn share_with(&self, host: usize, amount: Amount) -> u64 {
        let account = &self.accounts[host];
        let used = account.used.plus(amount);
        match account.whole {
            Some(whole) => used.share_of(whole),
            None => used.cpu_milli.saturating_mul(1_000) / NO_LIMIT_CPU_MILLI,
        }
    }

    pub(super) fn reserve(&mut self, host: usize, amount: Amount) {
        debug_assert!(self.fits(host, amount), "checked before");
        self.accounts[host].used = self.accounts[host].used.plus(amount);
    }

    pub(super) fn release(&mut self, host: usize, amount: Amount) {
        self.accounts[host].used = self.accounts[host].used.minus(amount);
    }
}
