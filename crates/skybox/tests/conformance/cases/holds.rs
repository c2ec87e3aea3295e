//! Whoever holds an async thread is named.

use crate::modules::*;
use crate::stage::Stage;

pub async fn a_method_that_holds_its_thread_is_named_and_no_other(stage: Stage) {
    let (hog, pooled) = (stage.get::<Hog>(), stage.get::<Pooled>());
    // It runs for longer than the other, on a thread that is there for it.
    let grinding = tokio::spawn(async move { pooled.grind("mill").await });
    stage.reached("mill began", 1).await;
    let holding = tokio::spawn({
        let hog = hog.clone();
        async move { hog.hold("trough").await }
    });
    stage.reached("trough began", 1).await;
    let named = async || stage.get::<Probe>().holds("hog").await.unwrap();
    stage
        .until("it is named", async || {
            // These are many, and short.
            hog.pass().await.unwrap();
            !named().await.is_empty()
        })
        .await;
    assert_eq!(named().await, ["hold 1"], "once, as long as it goes on");
    assert!(stage.get::<Probe>().holds("pooled").await.unwrap().is_empty());
    stage.open("trough").await;
    stage.open("mill").await;
    holding.await.unwrap().unwrap();
    grinding.await.unwrap().unwrap();
}
