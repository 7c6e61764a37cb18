//! An interrupt ends a tool with all that it has started.

use crate::{
    marker::Marker,
    world::{World, model_that_runs},
};

#[tokio::test]
async fn an_interrupt_ends_the_whole_process_tree_and_the_call_has_a_result() {
    let marker = Marker::new();
    let mut world = World::start(model_that_runs(&marker.tree()).await).await;
    let chat = world.chat().await;
    marker.grown().await;

    world.interrupt(&chat).await;
    marker.gone().await;
    let result = world.result(&chat).await;

    assert!(result.is_error && !result.output.is_empty(), "{result:?}");
    assert_eq!(world.model.requests().len(), 1);
}

#[tokio::test]
async fn an_interrupt_ends_a_tool_also_when_its_worker_is_gone() {
    let marker = Marker::new();
    let mut world = World::start(model_that_runs(&marker.tree()).await).await;
    let chat = world.chat().await;
    marker.grown().await;

    world.cluster.workers[0].kill();
    world.interrupt(&chat).await;
    marker.gone().await;
    let result = world.result(&chat).await;

    assert!(result.is_error && !result.output.is_empty(), "{result:?}");
}

#[tokio::test]
async fn an_interrupt_while_the_agent_is_not_connected_ends_its_tool_when_it_is_back() {
    let marker = Marker::new();
    let mut world = World::start(model_that_runs(&marker.tree()).await).await;
    let chat = world.chat().await;
    marker.grown().await;
    let agent = world.cluster.agent.as_ref().expect("there is one");

    // It does not hear that it is to stop its tool, and comes back when its stream is gone.
    agent.pause();
    world.cluster.restart_control_plane().await;
    world.interrupt(&chat).await;
    let result = world.result(&chat).await;
    let still_there = marker.processes();
    world.cluster.agent.as_ref().expect("there is one").resume();
    marker.gone().await;

    assert!(result.is_error && !result.output.is_empty(), "{result:?}");
    assert!(still_there >= 4, "{still_there} processes");
}
