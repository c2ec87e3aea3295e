//! Handles travel as arguments and results, and name the module, not an instance.

use skybox::Ran;

use crate::modules::{Desk, Register, Relay};
use crate::stage::{Stage, fails};

pub async fn a_handle_is_an_argument_and_a_result(stage: Stage) {
    let desk = stage.get::<Relay>().add_page(stage.get::<Desk>(), 7).await.unwrap();
    assert_eq!(desk.pages().await.unwrap(), [7]);
    assert_eq!(stage.get::<Desk>().pages().await.unwrap(), [7]);
}

pub async fn a_keyed_handle_travels_with_its_key(stage: Stage) {
    let (name, register) = stage.get::<Relay>().name_of(stage.at::<Register>("ada")).await.unwrap();
    assert_eq!((name.as_str(), register.name().await.unwrap().as_str()), ("ada", "ada"));
    register.enter(7).await.unwrap();
    assert_eq!(stage.at::<Register>("ada").entries().await.unwrap(), [7]);
    assert_eq!(stage.at::<Register>("bob").entries().await.unwrap(), [0; 0]);
}

pub async fn a_handle_outlives_the_instances_it_reaches(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.add(7).await.unwrap();
    fails(desk.fail("boom").await, "crashed", Ran::Yes);
    desk.add(8).await.unwrap();
    assert_eq!(desk.pages().await.unwrap(), [8]);
}
