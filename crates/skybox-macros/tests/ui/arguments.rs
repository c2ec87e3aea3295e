use std::borrow::Cow;
use std::fmt::Debug;

use skybox::Result;

#[derive(Default)]
struct Cart;

#[skybox::module]
impl Cart {
    pub fn changed(&self, _items: &mut Vec<u32>) -> Result<()> {
        Ok(())
    }

    pub fn forever(&self, _name: &'static str) -> Result<()> {
        Ok(())
    }

    pub fn anything(&self, _value: &dyn Debug) -> Result<()> {
        Ok(())
    }

    pub fn something(&self, _value: impl Debug) -> Result<()> {
        Ok(())
    }

    pub fn perhaps(&self, _name: Option<&str>) -> Result<()> {
        Ok(())
    }

    pub fn all(&self, _names: &[&str]) -> Result<()> {
        Ok(())
    }

    pub fn either(&self, _name: Cow<'_, str>) -> Result<()> {
        Ok(())
    }

    pub fn pair(&self, (_a, _b): (u32, u32)) -> Result<()> {
        Ok(())
    }
}

fn main() {}
