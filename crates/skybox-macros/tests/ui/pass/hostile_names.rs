//! Names that generated code must neither use nor hide.
#![allow(dead_code, non_snake_case)]
#![deny(warnings)]

mod core {}
mod skybox {}
mod std {}

mod rt {
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    pub(super) struct Task;
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Task;

struct App;
struct Option;
struct String;
struct Vec;
trait Future {}
trait Module {}
trait Send {}
type Result<T> = ::std::result::Result<T, ::skybox::Error>;

fn Err() {}
fn Ok() {}
fn Some() {}

#[derive(Default)]
struct Queue;

#[::skybox::module]
impl Queue {
    pub async fn push(&mut self, this: Task, rt: rt::Task, app: &str, arguments: &str) -> Result<()> {
        drop((this, rt, app, arguments));
        Result::Ok(())
    }
    pub async fn target(&self, this: &Task, key: u8) -> Result<Task> {
        let _ = key;
        Result::Ok(this.clone())
    }
    pub fn descriptor(&self, mut index: u32) -> Result<u32> {
        index += 1;
        Result::Ok(index)
    }
    pub async fn r#type(&self, r#as: u8) -> Result<u8> {
        Result::Ok(r#as)
    }
    pub async fn serve(&self, call: &[Task]) -> Result<usize> {
        Result::Ok(call.len())
    }
    pub async fn itself(&self, _other: [u8; Self::N]) -> Result<[u8; Self::N]> {
        Result::Ok([0; Self::N])
    }
    const N: usize = 2;
}

#[::skybox::module]
trait Errand {
    async fn go(&self, this: Task, key: &str, value: &[Task]) -> Result<Task>;
    async fn r#do(&mut self, call: &Task, proxy: u8) -> Result<u8>;
    async fn target(&self, app: &str) -> Result<()> {
        let _ = app;
        Result::Ok(())
    }
}

#[derive(Default)]
struct Walk;

#[::skybox::module]
impl Errand for Walk {
    async fn go(&self, this: Task, _key: &str, _value: &[Task]) -> Result<Task> {
        Result::Ok(this)
    }
    async fn r#do(&mut self, _call: &Task, proxy: u8) -> Result<u8> {
        Result::Ok(proxy)
    }
}

#[::skybox::task]
async fn run(this: Task, _held: &Task) -> Result<()> {
    drop(this);
    Result::Ok(())
}

#[::skybox::task]
fn r#loop(n: u8) -> Result<u8> {
    if n == 0 { Result::Ok(n) } else { r#loop(n - 1) }
}

fn main() {
    fn is_spawnable<F: ::std::future::Future + ::std::marker::Send + 'static>(_future: F) {}
    is_spawnable(r#loop(3));
    drop(run(Task, &Task));
}
