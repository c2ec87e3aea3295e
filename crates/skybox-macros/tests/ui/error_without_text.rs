use skybox::{CallError, WireError};

#[derive(Debug, WireError)]
enum Failure {
    #[wire(call)]
    Call(CallError),
    #[wire(rest)]
    Other(String),
}

fn main() {}
