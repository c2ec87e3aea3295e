use skybox::Result;

struct Receipt;

#[skybox::module]
trait Payments {
    async fn pay(&self, cents: u32) -> u32;
    async fn receipt(&self) -> Result<Receipt>;
    async fn print(&self, receipt: Receipt) -> Result<()>;
}

fn main() {}
