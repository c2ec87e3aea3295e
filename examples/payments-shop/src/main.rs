//! The program: it names the implementations that it may have, and `skybox.toml` says which it has.
//!
//! Buys one order, whose lines are its arguments: `payments-shop 3x30 1x95`. Without arguments each line of its standard
//! input is an order, and it runs until that ends.

mod on_account;

use anyhow::Context;
use payments_checkout::{Checkout, Line};
use payments_stripe::Stripe;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let order = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let app = skybox::App::builder().candidate::<Stripe>().start().await?;
    let checkout = Checkout::new(app.get());
    if !order.is_empty() {
        return buy(&checkout, 1, &order).await;
    }
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut number = 0;
    while let Some(order) = orders.next_line().await? {
        number += 1;
        buy(&checkout, number, &order).await?;
    }
    Ok(())
}

/// Buys what `3x30 1x95` says.
async fn buy(checkout: &Checkout, number: u32, order: &str) -> anyhow::Result<()> {
    let lines = order.split_whitespace().map(line).collect::<anyhow::Result<Vec<_>>>()?;
    let receipt = checkout.buy(&format!("order-{number}"), &lines).await?;
    println!("paid {} cents for {}: {}", receipt.cents, receipt.order, receipt.reference);
    Ok(())
}

/// `3x30`: three at 30 cents.
fn line(text: &str) -> anyhow::Result<Line> {
    let (count, cents) = text.split_once('x').with_context(|| format!("`{text}` is not like `3x30`"))?;
    let number = |part: &str| part.parse().with_context(|| format!("`{part}` in `{text}` is no number"));
    Ok(Line { count: number(count)?, cents: number(cents)? })
}
