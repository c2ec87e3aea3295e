//! Orders to a parent that runs in another process, over its socket.

use std::path::{Path, PathBuf};

use skybox_node::control::{Opening, PARENT_ENV, line, read_line};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::parent::{Done, Order};

/// A way to the parent of a program. Cheap: each order has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why an order did not arrive, or its answer did not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no parent, or it ended before it answered: what was ordered may have been done.
    #[error("the program's parent at {} does not answer: it may have ended", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Client {
    /// The parent that listens on this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The parent of the node that this process is; `None` in a process that is no node.
    pub fn of_this_node() -> Option<Client> {
        std::env::var_os(PARENT_ENV).map(Client::at)
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gives an order; resolves when it is done, or refused.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn order(&self, order: &Order) -> Result<Done, ClientError> {
        self.ask(order)
            .await
            .map_err(|source| ClientError::Unreachable { socket: self.socket.clone(), source })
    }

    async fn ask(&self, order: &Order) -> std::io::Result<Done> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(&line(&Opening::Operate(serde_json::to_value(order)?))).await?;
        read_line(&mut BufReader::new(stream)).await
    }
}
