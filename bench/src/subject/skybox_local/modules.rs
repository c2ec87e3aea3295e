//! The modules that are called within one process: what `skybox-bench` times, and what `skybox-paths` counts.

use super::same;

#[derive(Default)]
pub(crate) struct Reader;

#[skybox::module]
impl Reader {
    pub(crate) async fn echo(&self, value: u64) -> skybox::Result<u64> {
        Ok(same(value))
    }
}

#[derive(Default)]
pub(crate) struct Writer;

#[skybox::module]
impl Writer {
    pub(crate) async fn echo(&mut self, value: u64) -> skybox::Result<u64> {
        Ok(same(value))
    }
}

#[derive(Default)]
pub(crate) struct Both;

#[skybox::module]
impl Both {
    pub(crate) async fn echo(&self, value: u64) -> skybox::Result<u64> {
        Ok(same(value))
    }

    pub(crate) async fn change(&mut self, value: u64) -> skybox::Result<u64> {
        Ok(same(value))
    }
}

#[skybox::module]
pub(crate) trait Teller {
    async fn echo(&self, value: u64) -> skybox::Result<u64>;
}

#[derive(Default)]
struct Plain;

#[skybox::module]
impl Teller for Plain {
    async fn echo(&self, value: u64) -> skybox::Result<u64> {
        Ok(same(value))
    }
}
