//! The program: it names the implementations that it may have, and `skybox.toml` says which it has.
//!
//! Buys one order, whose lines are its arguments: `payments-shop 3x30 1x95`.

mod on_account;

use anyhow::{Context, bail};
use payments_checkout::{Checkout, Line};
use payments_stripe::Stripe;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let lines = std::env::args().skip(1).map(|argument| line(&argument)).collect::<Result<Vec<_>, _>>()?;
    if lines.is_empty() {
        bail!("say what to buy, as in `payments-shop 3x30 1x95`: three at 30 cents, one at 95");
    }
    let app = skybox::App::builder().candidate::<Stripe>().start().await?;
    let receipt = Checkout::new(app.get()).buy("order-1", &lines).await?;
    println!("paid {} cents for {}: {}", receipt.cents, receipt.order, receipt.reference);
    Ok(())
}

/// `3x30`: three at 30 cents.
fn line(text: &str) -> anyhow::Result<Line> {
    let (count, cents) = text.split_once('x').with_context(|| format!("`{text}` is not like `3x30`"))?;
    let number = |part: &str| part.parse().with_context(|| format!("`{part}` in `{text}` is no number"));
    Ok(Line { count: number(count)?, cents: number(cents)? })
}
