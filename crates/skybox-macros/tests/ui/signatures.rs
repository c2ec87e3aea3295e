use std::sync::Arc;

use skybox::Result;

#[derive(Clone, Default)]
struct Cart;

#[skybox::module]
impl Cart {
    pub fn take(&mut self, _n: u32) {}

    pub const fn fixed(&self) -> Result<u32> {
        Ok(0)
    }

    pub unsafe fn reckless(&self) -> Result<u32> {
        Ok(0)
    }

    pub extern "C" fn foreign(&self) -> Result<u32> {
        Ok(0)
    }

    pub fn generic<T>(&self, _value: T) -> Result<u32> {
        Ok(0)
    }

    pub fn tied<'a>(&'a self) -> Result<u32> {
        Ok(0)
    }

    pub fn bound(&self) -> Result<u32>
    where
        u32: Copy,
    {
        Ok(0)
    }

    pub fn consumed(self) -> Result<u32> {
        Ok(0)
    }

    pub fn shared(self: Arc<Self>) -> Result<u32> {
        Ok(0)
    }

    #[allow(clippy::too_many_arguments)]
    pub fn long(
        &self,
        _a: u8,
        _b: u8,
        _c: u8,
        _d: u8,
        _e: u8,
        _f: u8,
        _g: u8,
        _h: u8,
        _i: u8,
        _j: u8,
        _k: u8,
        _l: u8,
        _m: u8,
    ) -> Result<u32> {
        Ok(0)
    }

    pub fn clone(&self) -> Result<Cart> {
        Ok(Cart)
    }

    pub fn with(&self) -> Result<u32> {
        Ok(0)
    }

    #[cfg(unix)]
    pub fn sometimes(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
