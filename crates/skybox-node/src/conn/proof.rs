//! What a transport proves of the peer, held against what the peer says of itself, and what follows for its rights.

use serde::{Deserialize, Serialize};
use skybox_core::CallErrorKind;
use skybox_wire::handshake::{Hello, Role};

/// What an operator may do. Each includes those before it. Nodes are trusted with the whole program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Look: what runs where, and who calls whom.
    Read,
    /// Call methods and tasks.
    Call,
    /// Change what runs: drain a node.
    Admin,
}

impl Right {
    /// Every right, the least first.
    pub const ALL: [Right; 3] = [Right::Read, Right::Call, Right::Admin];

    /// As it stands in a certificate and on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Call => "call",
            Right::Admin => "admin",
        }
    }

    /// Whether it is enough for what needs `needed`; else the verdict, which says what to do.
    pub(crate) fn suffices(self, needed: Right, operator: &str) -> Result<(), CallErrorKind> {
        if self >= needed {
            return Ok(());
        }
        let why = format!(
            "operator {operator} has the right to {}, and this needs {}: use a certificate of that role",
            self.as_str(),
            needed.as_str()
        );
        Err(CallErrorKind::Denied { why })
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Right {
    type Err = String;

    fn from_str(text: &str) -> Result<Right, String> {
        let found = Right::ALL.into_iter().find(|right| right.as_str() == text);
        found.ok_or_else(|| format!("a role is read, call or admin, not `{text}`"))
    }
}

/// What the transport itself says of who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A process of this user: the kernel says so.
    SameUser,
    /// A process that has connected to this one, of this user or of root: the kernel says which.
    User(u32),
    /// Nothing: TCP without TLS, on the loopback interface alone.
    Nothing,
    /// A certificate of this program's.
    #[cfg(feature = "tls")]
    Certificate(super::tls::Identity),
}

impl Proof {
    /// Holds a hello against the proof.
    ///
    /// # Errors
    /// The reason, for both sides.
    pub(super) fn judge(&self, hello: &Hello) -> Result<(), String> {
        match self {
            Proof::SameUser | Proof::User(_) => Ok(()),
            Proof::Nothing if hello.role == Role::Node => Ok(()),
            Proof::Nothing => Err("operators use the node's Unix socket, or TLS".to_owned()),
            #[cfg(feature = "tls")]
            Proof::Certificate(identity) => identity.judge(hello),
        }
    }

    /// What the peer may do.
    pub(super) fn right(&self) -> Right {
        match self {
            #[cfg(feature = "tls")]
            Proof::Certificate(identity) => identity.right(),
            Proof::SameUser | Proof::User(_) | Proof::Nothing => Right::Admin,
        }
    }

    /// The user of this machine, where the kernel has said who that is.
    pub(super) fn user(&self) -> Option<u32> {
        match self {
            Proof::User(user) => Some(*user),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_includes_those_before_it() {
        for (at, has) in Right::ALL.into_iter().enumerate() {
            for (needed_at, needed) in Right::ALL.into_iter().enumerate() {
                assert_eq!(has.suffices(needed, "ada").is_ok(), at >= needed_at, "{has} for {needed}");
            }
            assert_eq!(has.as_str().parse(), Ok(has));
        }
        let verdict = Right::Read.suffices(Right::Call, "ada").unwrap_err();
        let text = verdict.to_string();
        assert_eq!(
            text,
            "denied: operator ada has the right to read, and this needs call: use a certificate of that role"
        );
        assert!("root".parse::<Right>().unwrap_err().contains("read, call or admin"));
    }
}
