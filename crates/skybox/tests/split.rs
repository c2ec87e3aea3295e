//! Calls between processes, from a test that starts its own nodes.

use skybox::cloud::testing::Nodes;

/// Says which process it runs in.
#[skybox::task(idempotent)]
async fn whereabouts() -> skybox::Result<u32> {
    Ok(std::process::id())
}

/// Adds up in this module's memory.
#[derive(Default)]
struct Tally {
    sum: u64,
}

#[skybox::module]
impl Tally {
    pub(crate) async fn add(&mut self, n: u64) -> skybox::Result<u64> {
        self.sum += n;
        Ok(self.sum)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_moves_and_outlives_its_node() {
    let nodes = Nodes::of_this_test(2).pin("whereabouts", &["node-1"]).start(|builder| builder).await;
    let first = whereabouts().await.unwrap();
    assert_ne!(first, std::process::id());
    nodes.move_to("whereabouts", &["node-2"]).await;
    let second = whereabouts().await.unwrap();
    assert!(second != first && second != std::process::id());
    nodes.kill("node-2").await;
    let third = whereabouts().await.unwrap();
    assert!(third != second);
    nodes.move_to("whereabouts", &["test"]).await;
    assert_eq!(whereabouts().await.unwrap(), std::process::id());
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_lives_in_one_place() {
    let nodes = Nodes::of_this_test(2).start(|builder| builder).await;
    let tally = nodes.app().get::<Tally>();
    for n in 1..=10 {
        assert_eq!(tally.add(1).await.unwrap(), n);
    }
    nodes.stop().await;
}
