use skybox::{CallError, WireError};

#[derive(Debug, thiserror::Error, WireError)]
enum NoCallError {
    #[error("call")]
    #[wire(call)]
    Call(String),
    #[error("other")]
    #[wire(rest)]
    Other(String),
}

#[derive(Debug, thiserror::Error, WireError)]
enum NoText {
    #[error("call")]
    #[wire(call)]
    Call(CallError),
    #[error("other")]
    #[wire(rest)]
    Other(u32),
}

fn main() {}
