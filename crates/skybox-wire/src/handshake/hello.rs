//! What each side says of itself.

use std::collections::BTreeSet;

use bytes::{BufMut, BytesMut};
use skybox_core::{Incarnation, NodeName};

use super::{HELLO_BYTES_MAX, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::FieldError;
use crate::field::{Fields, put_text, put_varint};

/// Bytes of the shortest entry of the module table: a name's length and a digest.
const MODULE_ENTRY_BYTES_MIN: usize = 9;

/// Modules of one side. A number is a u16.
const MODULES_MAX: usize = u16::MAX as usize;

/// Bytes of a name: program, build, node or module.
const NAME_BYTES_MAX: usize = 4 * 1024;

/// What connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A process that runs the program.
    Node,
    /// A person's command line.
    Operator,
}

/// One module or task in a hello. Its place in the list is its number in call frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleEntry {
    /// Its name, once in each list.
    pub name: String,
    /// What its methods take and return, as the codec computes it.
    pub digest: u64,
}

/// What a side says of itself, first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest and the highest protocol version it speaks.
    pub protocols: (u16, u16),
    /// What it is.
    pub role: Role,
    /// Which life of its node.
    pub incarnation: Incarnation,
    /// Microseconds on its monotonic clock when it wrote this.
    pub clock_us: u64,
    /// The program's name, the same on both sides.
    pub program: String,
    /// The program's version: its build id. It may differ.
    pub build: String,
    /// The node's name, or the operator's.
    pub node: NodeName,
    /// The modules and tasks it knows, in the order of their numbers.
    pub modules: Vec<ModuleEntry>,
}

impl Hello {
    /// The protocol versions that this build speaks, for [`Hello::protocols`].
    pub const PROTOCOLS: (u16, u16) = (PROTOCOL_MIN, PROTOCOL_MAX);

    /// The first name that occurs twice.
    pub(super) fn duplicate_module(&self) -> Option<&str> {
        let mut seen = BTreeSet::new();
        self.modules.iter().map(|module| module.name.as_str()).find(|name| !seen.insert(*name))
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u16_le(self.protocols.0);
        out.put_u16_le(self.protocols.1);
        out.put_u8(match self.role {
            Role::Node => 0,
            Role::Operator => 1,
        });
        out.put_u64_le(self.incarnation.0);
        out.put_u64_le(self.clock_us);
        put_text(out, &self.program);
        put_text(out, &self.build);
        put_text(out, self.node.as_str());
        put_varint(out, self.modules.len() as u64);
        for module in &self.modules {
            put_text(out, &module.name);
            out.put_u64_le(module.digest);
        }
    }

    /// Reads a hello. What stands behind the last module is ignored: later versions append there.
    pub(super) fn read(body: &[u8]) -> Result<Hello, FieldError> {
        debug_assert!(body.len() <= HELLO_BYTES_MAX);
        let mut fields = Fields::new(body);
        let protocols = (fields.u16("lowest protocol")?, fields.u16("highest protocol")?);
        let role = match fields.u8("role")? {
            0 => Role::Node,
            1 => Role::Operator,
            other => return Err(FieldError::BadValue { field: "role", value: u64::from(other) }),
        };
        let incarnation = Incarnation(fields.u64("incarnation")?);
        let clock_us = fields.u64("clock_us")?;
        let program = fields.text("program", NAME_BYTES_MAX)?.to_owned();
        let build = fields.text("build", NAME_BYTES_MAX)?.to_owned();
        let node = NodeName::new(fields.text("node", NAME_BYTES_MAX)?);
        let count = fields.varint("module count")?;
        // Checked against what is there before room is made for it.
        let max = (fields.left() / MODULE_ENTRY_BYTES_MIN).min(MODULES_MAX);
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= max) else {
            return Err(FieldError::TooLong { field: "module count", len: count, max: max as u64 });
        };
        let mut modules = Vec::with_capacity(count);
        for _ in 0..count {
            let name = fields.text("module name", NAME_BYTES_MAX)?.to_owned();
            modules.push(ModuleEntry { name, digest: fields.u64("module digest")? });
        }
        Ok(Hello { protocols, role, incarnation, clock_us, program, build, node, modules })
    }
}
