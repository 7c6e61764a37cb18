//! Killing what a call passes through while its tool runs: the tool's effect happens once, and the chat goes on.

use std::fs;

use chatplane_tests::eventually;
use sqlx::Connection;

use crate::{
    marker::Marker,
    world::{World, model_that_runs},
};

/// A command that writes its id into a file, says so, and goes on when the test opens the gate.
struct Gated {
    marker: Marker,
    command: String,
}

impl Gated {
    fn new() -> Self {
        let marker = Marker::new();
        let id = marker.word();
        let command = format!(
            "echo {id} >> ran; echo working on {id}; while [ ! -e gate ]; do sleep 0.02; done; \
             echo finished {id}"
        );
        Self { marker, command }
    }

    /// What it writes first.
    fn working(&self) -> String {
        format!("working on {}\n", self.marker.word())
    }

    /// What the result must say, whatever else it says.
    fn finished(&self) -> String {
        format!("{}finished {}\n", self.working(), self.marker.word())
    }

    /// What the file must hold.
    fn once(&self) -> String {
        format!("{}\n", self.marker.word())
    }
}

/// Waits until the chat was leased so many times.
async fn leased_times(world: &World, times: i64) {
    let mut connection = world.cluster.database.connection().await;
    eventually("another worker takes the chat", async || {
        let fence: i64 =
            sqlx::query_scalar("select fence from chats").fetch_one(&mut connection).await.ok()?;
        (fence >= times).then_some(())
    })
    .await;
    connection.close().await.expect("the connection closes");
}

#[tokio::test]
async fn a_tool_runs_once_and_to_its_end_when_its_worker_is_killed() {
    let gated = Gated::new();
    let mut world = World::start(model_that_runs(&gated.command).await).await;
    let chat = world.chat().await;
    world.written("ran").await;

    world.cluster.add_worker();
    world.cluster.workers[0].kill();
    leased_times(&world, 2).await;
    // The second worker has found the call, and its output from the start.
    world.seen_live(&chat, &gated.working()).await;
    world.write("gate", "");
    let result = world.result(&chat).await;

    assert_eq!(world.read("ran"), gated.once());
    assert!(!result.is_error && result.output.contains(&gated.finished()), "{result:?}");
    assert_eq!(world.model.requests().len(), 2);
}

#[tokio::test]
async fn a_result_that_came_while_no_worker_was_there_is_not_lost() {
    let gated = Gated::new();
    let mut world = World::start(model_that_runs(&gated.command).await).await;
    let chat = world.chat().await;
    world.written("ran").await;

    world.cluster.workers[0].kill();
    world.write("gate", "");
    gated.marker.gone().await;
    world.cluster.add_worker();
    let result = world.result(&chat).await;

    assert_eq!(world.read("ran"), gated.once());
    assert!(!result.is_error && result.output.contains(&gated.finished()), "{result:?}");
}

#[tokio::test]
async fn a_tool_runs_once_and_to_its_end_when_the_control_plane_is_killed() {
    let gated = Gated::new();
    let mut world = World::start(model_that_runs(&gated.command).await).await;
    let chat = world.chat().await;
    world.seen_live(&chat, &gated.working()).await;

    world.cluster.restart_control_plane().await;
    world.seen_live(&chat, &gated.working()).await;
    world.write("gate", "");
    let result = world.result(&chat).await;

    assert_eq!(world.read("ran"), gated.once());
    assert!(!result.is_error && result.output.contains(&gated.finished()), "{result:?}");
    assert_eq!(world.model.requests().len(), 2);
}

#[tokio::test]
async fn a_tool_whose_agent_is_killed_has_an_unknown_outcome_and_leaves_nothing_running() {
    let marker = Marker::new();
    let command = format!("echo {} >> ran; {}", marker.word(), marker.tree());
    let mut world = World::start(model_that_runs(&command).await).await;
    let chat = world.chat().await;
    marker.grown().await;

    world.cluster.agent.take().expect("there is one").kill();
    world.cluster.start_agent().await;
    let result = world.result(&chat).await;
    marker.gone().await;

    assert!(result.is_error && result.output.contains("outcome unknown"), "{result:?}");
    assert_eq!(world.read("ran"), format!("{}\n", marker.word()));
}

#[tokio::test]
async fn an_agent_whose_journal_is_gone_says_that_the_outcome_is_unknown() {
    let marker = Marker::new();
    let command = format!("echo {} >> ran; {}", marker.word(), marker.tree());
    let mut world = World::start(model_that_runs(&command).await).await;
    let chat = world.chat().await;
    marker.grown().await;

    world.cluster.agent.take().expect("there is one").kill();
    for entry in fs::read_dir(world.cluster.journal.path()).expect("there is a journal") {
        fs::remove_dir_all(entry.expect("it can be listed").path()).expect("it can be removed");
    }
    world.cluster.start_agent().await;
    let result = world.result(&chat).await;
    marker.gone().await;

    assert!(result.is_error && result.output.contains("outcome unknown"), "{result:?}");
    assert_eq!(world.read("ran"), format!("{}\n", marker.word()));
}
