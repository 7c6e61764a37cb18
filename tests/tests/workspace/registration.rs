//! Agents of a workspace that register at once: what is stored is what the one that stays has declared.

use chatplane_proto::workspace::v1::{self as proto, attach_request::Message as Up};
use chatplane_tests::{Database, eventually};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use sqlx::{Connection, Executor, PgConnection};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    agent::{Agent, register},
    reason,
    world::{PATIENT, World},
};

/// As many as may well overtake each other.
const AGENTS: usize = 12;

async fn try_attach(world: &World, journal: Uuid) -> Result<Agent, Status> {
    let first = Up::Register(proto::Register { journal_id: journal.to_string(), ..register() });
    Agent::try_attach(world, &world.agent_token, first).await
}

async fn stored_journal(database: &Database) -> Option<Uuid> {
    let mut connection = database.connection().await;
    let stored = sqlx::query_scalar("select journal_id from workspaces").fetch_one(&mut connection).await;
    connection.close().await.expect("the connection closes");
    stored.expect("there is one workspace")
}

fn replaced() -> (Code, String) {
    (Code::AlreadyExists, "WORKSPACE_REPLACED".to_owned())
}

/// Waits until an agent's write waits for its row.
async fn until_a_write_waits(connection: &mut PgConnection) {
    let waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' \
                   and query like 'update workspaces%' and datname = current_database()";
    eventually("the write waits", async || {
        let found: Option<i32> =
            sqlx::query_scalar(waiting).fetch_optional(&mut *connection).await.expect("it answers");
        found
    })
    .await;
}

#[tokio::test]
async fn of_agents_that_register_at_once_one_stays_and_its_journal_is_stored() {
    let world = World::start(PATIENT).await;
    let journals: Vec<_> = (0..AGENTS).map(|_| Uuid::now_v7()).collect();

    let attached = join_all(journals.iter().map(|journal| try_attach(&world, *journal))).await;
    let mut ends: FuturesUnordered<_> = attached
        .into_iter()
        .zip(journals.clone())
        .map(async |(attached, journal)| match attached {
            Ok(mut agent) => (journal, agent.put_out().await),
            Err(refused) => (journal, refused),
        })
        .collect();
    let mut staying = journals;
    while staying.len() > 1 {
        let (journal, end) = ends.next().await.expect("one of them stays");
        assert_eq!(reason(&end), replaced());
        staying.retain(|staying| *staying != journal);
    }

    assert_eq!(stored_journal(&world.database).await, Some(staying[0]));
}

#[tokio::test]
async fn an_agent_that_goes_away_while_its_journal_is_written_does_not_leave_another_in_place() {
    let world = World::start(PATIENT).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let mut agent = try_attach(&world, first).await.expect("the agent registers");
    let mut locking = world.database.connection().await;
    let mut looking = world.database.connection().await;
    locking.execute("begin; select from workspaces for update").await.expect("it is locked");

    tokio::select! {
        _ = try_attach(&world, second) => panic!("its row is locked"),
        () = until_a_write_waits(&mut looking) => {}
    }
    locking.execute("commit").await.expect("it is unlocked");
    for connection in [locking, looking] {
        connection.close().await.expect("the connection closes");
    }

    let end = agent.put_out().await;
    assert_eq!(reason(&end), replaced());
    assert_eq!(stored_journal(&world.database).await, Some(second));
}
