//! Names over several nodes, which are processes.

use std::time::Duration;

use futures_util::future::join_all;
use skybox::cloud::testing::Nodes;
use skybox::{App, Handle, NameError, Result, Spawned};

const PATIENCE: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// Contenders on each node.
const EACH: usize = 4;
const ROUNDS: usize = 30;

/// One who wants a name.
struct Contender(usize);

#[skybox::module(spawned)]
impl Contender {
    async fn start(_app: &App, number: usize) -> Result<Contender> {
        Ok(Contender(number))
    }

    pub(crate) async fn number(&self) -> Result<usize> {
        Ok(self.0)
    }

    /// Has itself called so; says whether it is, if nobody else is.
    pub(crate) async fn claim(&self, name: &str) -> Result<bool> {
        let app = App::current()?;
        match app.register(name, &app.this::<Contender>()?).await {
            Ok(()) => Ok(true),
            Err(NameError::Taken { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Each asks from its own node, at once with all others; and half of them are asked for by the test, so that two ask for
/// one.
async fn claim(app: &App, number: usize, contender: &Spawned<Contender>) -> bool {
    let asked_for = async {
        match number % 2 {
            0 => app.register("throne", contender).await.is_ok(),
            _ => false,
        }
    };
    let (claimed, asked_for) = tokio::join!(contender.claim("throne"), asked_for);
    let claimed = claimed.unwrap();
    assert!(claimed || !asked_for, "who is given a name has it");
    claimed
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_on_several_nodes_who_want_a_name_one_has_it_in_each_round() {
    let nodes = Nodes::of_this_test(NODES.len() as u32).start(|builder| builder).await;
    let app = nodes.app();
    for round in 0..ROUNDS {
        let spawning = (0..NODES.len() * EACH).map(|number| async move {
            app.spawn::<Contender>(number).on(NODES[number % NODES.len()]).await.unwrap()
        });
        let contenders = join_all(spawning).await;
        let claims = contenders.iter().enumerate().map(|(number, contender)| claim(app, number, contender));
        let claimed = join_all(claims).await;
        let winners: Vec<_> = (0..contenders.len()).filter(|number| claimed[*number]).collect();
        let [winner] = winners[..] else { panic!("round {round}: {winners:?} have the name") };
        let found = app.whereis::<Contender>("throne").await.unwrap().expect("somebody has it");
        assert_eq!(found.number().await.unwrap(), winner, "round {round}");
        // As soon as its end is told, the next one has it.
        let next = (winner + 1) % contenders.len();
        Handle::stop(&contenders[winner], PATIENCE).await.unwrap();
        assert!(contenders[next].claim("throne").await.unwrap(), "round {round}");
        Handle::stop(&contenders[next], PATIENCE).await.unwrap();
        assert!(app.whereis::<Contender>("throne").await.unwrap().is_none(), "round {round}");
    }
    nodes.stop().await;
}
