//! Callers that know a trait alone: which type implements it, and where, changes nothing.

use futures_util::{StreamExt, stream};
use skybox::{Ran, Stream};

use crate::modules::{Drawer, Teller};
use crate::stage::{Stage, fails, failure};

pub async fn an_interface_is_called_as_a_module_is(stage: Stage) {
    let teller = stage.get::<dyn Teller>();
    assert_eq!(teller.balance("ada").await.unwrap(), None);
    assert_eq!(teller.deposit("ada", 30).await.unwrap(), 30);
    assert_eq!(teller.deposit("ada", 12).await.unwrap(), 42);
    assert_eq!(teller.balance("ada").await.unwrap(), Some(42));
    assert_eq!((stage.count("bank started").await, stage.count("deposit").await), (1, 2));
}

pub async fn a_body_in_the_trait_runs_where_the_implementation_is(stage: Stage) {
    let teller = stage.get::<dyn Teller>();
    assert_eq!(teller.deposit_in_halves("ada", 7).await.unwrap(), 7);
    assert_eq!((stage.count("deposit").await, teller.balance("ada").await.unwrap()), (2, Some(7)));
}

pub async fn a_keyed_interface_has_an_instance_for_each_key(stage: Stage) {
    let (ada, bob) = (stage.at::<dyn Drawer>("ada"), stage.at::<dyn Drawer>("bob"));
    assert_eq!(ada.put(5).await.unwrap(), 1);
    assert_eq!(stage.at::<dyn Drawer>("ada").put(5).await.unwrap(), 2);
    assert_eq!((bob.put(1).await.unwrap(), bob.name().await.unwrap().as_str()), (1, "bob"));
}

pub async fn a_handle_of_an_interface_travels_with_its_key(stage: Stage) {
    let (name, drawer) = stage.get::<dyn Teller>().name_of(stage.at::<dyn Drawer>("ada")).await.unwrap();
    assert_eq!((name.as_str(), drawer.name().await.unwrap().as_str()), ("ada", "ada"));
}

pub async fn streams_go_through_an_interface(stage: Stage) {
    let coins = Stream::from_stream(stream::iter([1, 5, 20].map(Ok::<u64, skybox::Error>)));
    let doubled = stage.get::<dyn Teller>().double(coins).await.unwrap();
    let doubled: Vec<u64> = doubled.map(|coin| coin.expect("no coin is an error")).collect().await;
    assert_eq!(doubled, [2, 10, 40]);
}

pub async fn a_failed_call_names_the_interface(stage: Stage) {
    let teller = stage.get::<dyn Teller>();
    assert_eq!(teller.refuse("no more coins").await.unwrap_err().to_string(), "no more coins");
    let crashed = fails(teller.panic("the roof fell in").await, "crashed", Ran::Yes);
    assert_eq!(crashed.callee().to_string(), "teller.panic");
    assert!(crashed.to_string().contains("the roof fell in"), "{crashed}");
}

pub async fn a_crashed_implementation_is_replaced(stage: Stage) {
    let teller = stage.get::<dyn Teller>();
    teller.deposit("ada", 30).await.unwrap();
    failure(teller.panic("the roof fell in").await);
    assert_eq!(teller.balance("ada").await.unwrap(), None);
    assert_eq!(stage.count("bank started").await, 2);
}

pub async fn methods_of_an_interface_wait_for_their_turn(stage: Stage) {
    let teller = stage.get::<dyn Teller>();
    let waiting = tokio::spawn({
        let teller = teller.clone();
        async move { teller.wait("counter").await }
    });
    stage.reached("counter began", 1).await;
    let deposit = tokio::spawn(async move { teller.deposit("ada", 30).await });
    stage.waiting::<dyn Teller>(1).await;
    assert_eq!(stage.count("deposit").await, 0);
    stage.open("counter").await;
    waiting.await.unwrap().unwrap();
    assert_eq!(deposit.await.unwrap().unwrap(), 30);
}
