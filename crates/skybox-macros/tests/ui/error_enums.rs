use skybox::{CallError, WireError};

#[derive(Debug, WireError)]
struct Whole(String);

#[derive(Debug, thiserror::Error, WireError)]
enum Unmarked {
    #[error("wrong")]
    Wrong,
}

#[derive(Debug, thiserror::Error, WireError)]
enum Twice {
    #[error("call")]
    #[wire(call)]
    Call(CallError),
    #[error("one")]
    #[wire(rest)]
    One(String),
    #[error("two")]
    #[wire(rest)]
    Two(String),
}

#[derive(Debug, thiserror::Error, WireError)]
enum Empty {
    #[error("call")]
    #[wire(call)]
    Call,
    #[error("other")]
    #[wire(rest)]
    Other(String),
}

#[derive(Debug, thiserror::Error, WireError)]
enum Misnamed {
    #[error("call")]
    #[wire(call)]
    Call(CallError),
    #[error("other")]
    #[wire(text)]
    Other(String),
}

#[derive(Debug, thiserror::Error, WireError)]
enum Generic<T> {
    #[error("call")]
    #[wire(call)]
    Call(CallError),
    #[error("other")]
    #[wire(rest)]
    Other(String),
    #[error("data")]
    Data(T),
}

fn main() {}
