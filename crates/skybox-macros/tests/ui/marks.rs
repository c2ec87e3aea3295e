use skybox::Result;

#[derive(Default)]
struct Cart;

#[skybox::module]
impl Cart {
    #[cancel_on_drop]
    pub async fn cancelled_anyway(&self) -> Result<()> {
        Ok(())
    }

    #[cancel_on_drop]
    #[to_completion]
    pub async fn contradiction(&mut self) -> Result<()> {
        Ok(())
    }

    #[to_completion]
    pub async fn completed_anyway(&mut self) -> Result<()> {
        Ok(())
    }

    #[compute]
    pub async fn moved(&mut self) -> Result<()> {
        Ok(())
    }

    #[cancel_on_drop]
    pub fn unstoppable(&mut self) -> Result<()> {
        Ok(())
    }

    #[compute]
    pub fn computes_anyway(&self) -> Result<()> {
        Ok(())
    }

    #[idempotent(true)]
    pub fn argued(&self) -> Result<()> {
        Ok(())
    }

    #[idempotent]
    fn private(&self) {}

    #[local]
    #[idempotent]
    pub fn local(&self) {}

    #[local]
    pub fn associated() {}
}

fn main() {}
