//! Who a certificate is for, as the one URI among its names: a SPIFFE id, so that any authority that can issue those
//! can issue ours.
//!
//! ```text
//! spiffe://shop/node/node-1            a node of the program `shop`
//! spiffe://shop/operator/call/ada      a person who may look and call
//! ```

use std::fmt;

use skybox_wire::handshake::{Hello, Role};

use super::super::proof::Right;

/// Bytes of a URI at most, as SPIFFE has it.
const URI_BYTES_MAX: usize = 2048;

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A node. It is trusted with the whole program.
    Node(String),
    /// A person at a command line.
    Operator {
        /// What they may do.
        right: Right,
        /// Their name, for the log.
        name: String,
    },
}

/// Why a certificate is not one of this program's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There must be exactly one URI.
    #[error(
        "the certificate has {count} URIs among its names, and must have one, such as spiffe://{program}/node/node-1"
    )]
    Count {
        /// How many it has.
        count: usize,
        /// The program it should be for.
        program: String,
    },
    /// It is for another program.
    #[error(
        "the certificate is for {uri}, and this program is `{program}`: check the address, or have it issued for spiffe://{program}/…"
    )]
    OtherProgram {
        /// What the certificate says.
        uri: String,
        /// This program.
        program: String,
    },
    /// It names neither a node nor an operator.
    #[error(
        "the certificate is for {uri}, which is neither spiffe://{program}/node/<name> nor spiffe://{program}/operator/<read|call|admin>/<name>"
    )]
    Form {
        /// What the certificate says.
        uri: String,
        /// This program.
        program: String,
    },
}

impl Identity {
    /// Reads the URIs of a certificate, which must be one, of this program.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn of_names<'u>(
        mut uris: impl Iterator<Item = &'u str>,
        program: &str,
    ) -> Result<Identity, IdentityError> {
        let program = domain(program);
        match (uris.next(), uris.count()) {
            (Some(uri), 0) => Identity::parse(uri, &program),
            (first, more) => {
                Err(IdentityError::Count { count: more + usize::from(first.is_some()), program })
            }
        }
    }

    fn parse(uri: &str, program: &str) -> Result<Identity, IdentityError> {
        let (uri_text, program_text) = (|| uri.to_owned(), || program.to_owned());
        let form = || IdentityError::Form { uri: uri_text(), program: program_text() };
        let path = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= URI_BYTES_MAX).ok_or_else(form)?;
        let (theirs, path) = path.split_once('/').ok_or_else(form)?;
        if theirs != program {
            return Err(IdentityError::OtherProgram { uri: uri_text(), program: program_text() });
        }
        let segments: Vec<_> = path.split('/').collect();
        let name = |name: &str| if is_name(name) { Ok(name.to_owned()) } else { Err(form()) };
        match segments[..] {
            ["node", node] => Ok(Identity::Node(name(node)?)),
            ["operator", right, person] => {
                let right = right.parse().map_err(|_| form())?;
                Ok(Identity::Operator { right, name: name(person)? })
            }
            _ => Err(form()),
        }
    }

    /// The URI that stands in a certificate.
    pub fn uri(&self, program: &str) -> String {
        let program = domain(program);
        match self {
            Identity::Node(node) => format!("spiffe://{program}/node/{node}"),
            Identity::Operator { right, name } => format!("spiffe://{program}/operator/{right}/{name}"),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Identity::Node(name) | Identity::Operator { name, .. } => name,
        }
    }

    /// What it may do.
    pub fn right(&self) -> Right {
        match self {
            Identity::Node(_) => Right::Admin,
            Identity::Operator { right, .. } => *right,
        }
    }

    /// Holds what a peer says of itself against its certificate.
    pub(crate) fn judge(&self, hello: &Hello) -> Result<(), String> {
        let role = match self {
            Identity::Node(_) => Role::Node,
            Identity::Operator { .. } => Role::Operator,
        };
        if role == hello.role && self.name() == hello.node.as_str() {
            return Ok(());
        }
        let says = match hello.role {
            Role::Node => "node",
            Role::Operator => "operator",
        };
        Err(format!("its certificate is for {self}, and it says that it is {says} {}", hello.node))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Node(name) => write!(f, "node {name}"),
            Identity::Operator { right, name } => write!(f, "operator {name} ({right})"),
        }
    }
}

/// A program's trust domain: SPIFFE writes those in lower case.
fn domain(program: &str) -> String {
    program.to_ascii_lowercase()
}

/// Whether SPIFFE takes it as part of a path, and so whether a node or operator can have that name.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uris: &[&str]) -> Result<Identity, IdentityError> {
        Identity::of_names(uris.iter().copied(), "Shop")
    }

    #[test]
    fn what_is_written_is_read() {
        let ada = |right| Identity::Operator { right, name: "ada".to_owned() };
        let all = Right::ALL.map(ada).into_iter().chain([Identity::Node("node-1".to_owned())]);
        for identity in all {
            assert_eq!(of(&[&identity.uri("Shop")]), Ok(identity));
        }
        assert_eq!(ada(Right::Call).uri("Shop"), "spiffe://shop/operator/call/ada");
    }

    #[test]
    fn everything_else_is_refused() {
        assert!(matches!(of(&[]), Err(IdentityError::Count { count: 0, .. })));
        let two = ["spiffe://shop/node/a", "spiffe://shop/node/b"];
        assert!(matches!(of(&two), Err(IdentityError::Count { count: 2, .. })));
        assert!(matches!(of(&["spiffe://bank/node/a"]), Err(IdentityError::OtherProgram { .. })));
        for uri in [
            "https://shop/node/a",
            "spiffe://shop",
            "spiffe://shop/",
            "spiffe://shop/node",
            "spiffe://shop/node/",
            "spiffe://shop/node/..",
            "spiffe://shop/node/a/b",
            "spiffe://shop/node/a b",
            "spiffe://shop/operator/ada",
            "spiffe://shop/operator/root/ada",
            "spiffe://shop/operator/READ/ada",
        ] {
            assert!(matches!(of(&[uri]), Err(IdentityError::Form { .. })), "{uri}: {:?}", of(&[uri]));
        }
        let long = format!("spiffe://shop/node/{}", "a".repeat(URI_BYTES_MAX));
        assert!(matches!(of(&[&long]), Err(IdentityError::Form { .. })));
    }
}
