//! Jobs beside the turns: how they come to workers, and what their answers do.

use std::collections::BTreeSet;

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{
        self as proto, finish_job_request::Result as Told, job::Kind, session_response::Message as Down,
    },
};
use chatplane_tests::{Client, eventually};
use sqlx::PgConnection;
use tonic::Status;

use crate::{
    execute, number, reason,
    replica::{Replica, World, quick},
    worker::{Worker, answer},
};

/// A chat whose turn is over, and the worker that ran it.
struct Stage {
    world: World,
    replica: Replica,
    client: Client,
    worker: Worker,
    chat: String,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let replica = world.replica(quick()).await;
        let mut client = world.client(&replica);
        let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
        let chat = client.create_chat("What is in the garden?").await.chat_id;
        let mut held = worker.lease().await;
        worker.commit(&mut held, answer("Beans."), proto::NextStep::Finish).await.expect("it is committed");
        worker.forget(&held).await;
        Self { world, replica, client, worker, chat }
    }

    async fn regenerate(&mut self) -> chat::Chat {
        regenerate(&mut self.client, &self.chat, "").await.expect("a title is asked for")
    }

    async fn another_worker(&self) -> Worker {
        Worker::open(&self.replica, &self.world.worker_token, 1).await
    }

    async fn sql(&self) -> PgConnection {
        self.world.database.connection().await
    }

    async fn title(&mut self) -> (String, i64) {
        let chat = self.client.chat(&self.chat).await.expect("the chat is there");
        (chat.title, chat.metadata_version)
    }
}

async fn regenerate(client: &mut Client, chat: &str, request: &str) -> Result<chat::Chat, Status> {
    let request = chat::RegenerateTitleRequest { chat_id: chat.to_owned(), request_id: request.to_owned() };
    let answered = client.chats.regenerate_title(request).await?.into_inner();
    Ok(answered.chat.expect("the answer has the chat"))
}

/// The next job, leases aside.
async fn job(worker: &mut Worker) -> proto::Job {
    loop {
        match worker.next().await.expect("the stream goes on") {
            Down::Job(job) => return job,
            Down::Lease(_) | Down::Lost(_) => {}
            other => panic!("not a job: {other:?}"),
        }
    }
}

fn excerpt(job: &proto::Job) -> &str {
    match &job.kind {
        Some(Kind::Title(title)) => &title.excerpt,
        None => panic!("a job has a kind"),
    }
}

fn finish(worker: &Worker, job: &proto::Job, result: Told) -> proto::FinishJobRequest {
    proto::FinishJobRequest {
        session_id: worker.session.clone(),
        job_id: job.job_id.clone(),
        attempt: job.attempt,
        chat_id: job.chat_id.clone(),
        result: Some(result),
        model: "test".to_owned(),
        usage: Some(chat::Usage { input_tokens: 11, output_tokens: 3, ..Default::default() }),
    }
}

fn titled(title: &str) -> Told {
    Told::Title(title.to_owned())
}

fn failed(retryable: bool) -> Told {
    let kind = chat::ErrorKind::Overloaded.into();
    Told::Error(chat::ChatError { kind, message: "Too much.".to_owned(), retryable, ..Default::default() })
}

async fn jobs(connection: &mut PgConnection) -> i64 {
    number(connection, "select count(*) from jobs".to_owned()).await
}

/// Lets what is leased or put off be due.
async fn let_time_pass(connection: &mut PgConnection) {
    execute(connection, "update jobs set lease_time = now()".to_owned()).await;
}

#[tokio::test]
async fn a_title_is_asked_for_written_and_accounted_for_beside_the_turns() {
    let mut stage = Stage::new().await;
    let before = stage.regenerate().await;
    let given = job(&mut stage.worker).await;

    assert_eq!((before.title.as_str(), before.metadata_version), ("What is in the garden?", 1));
    assert_eq!((given.chat_id.as_str(), given.attempt, given.timeout_ms), (stage.chat.as_str(), 1, 30_000));
    assert_eq!(excerpt(&given), "User: What is in the garden?\n\nAssistant: Beans.");
    let model = given.model.clone().expect("a job has a model");
    assert_eq!((model.name.as_str(), model.api_key.as_str()), ("test", "test-key"));
    let answered = finish(&stage.worker, &given, titled("\"**Beans** in the garden\"\nIt says all."));
    stage.worker.calls.finish_job(answered.clone()).await.expect("it is taken");

    assert_eq!(stage.title().await, ("**Beans** in the garden".to_owned(), 2));
    let after = stage.client.chat(&stage.chat).await.expect("the chat is there");
    assert_eq!(after.snapshot_version, before.snapshot_version, "its execution has not changed");
    let mut sql = stage.sql().await;
    let tokens = "select coalesce(sum(input_tokens * 1000 + output_tokens), 0)::bigint from model_calls where fence = 0";
    assert_eq!(number(&mut sql, tokens.to_owned()).await, 11_003);
    let repeated = stage.worker.calls.finish_job(answered).await.expect_err("it is over");
    assert_eq!(reason(&repeated), "LEASE_LOST");
    assert_eq!(number(&mut sql, tokens.to_owned()).await, 11_003);
    assert_eq!(jobs(&mut sql).await, 0);
}

#[tokio::test]
async fn a_job_takes_no_slot() {
    let mut stage = Stage::new().await;
    stage.client.send(&stage.chat, "And now?").await.expect("it is sent");
    let mut held = stage.worker.lease().await;

    stage.regenerate().await;
    let given = job(&mut stage.worker).await;
    stage.worker.finish(&mut held).await;

    let answered = finish(&stage.worker, &given, titled("Beans"));
    stage.worker.calls.finish_job(answered).await.expect("it is taken");
    assert_eq!(stage.title().await.0, "Beans");
}

#[tokio::test]
async fn a_title_that_somebody_gave_meanwhile_stays() {
    let mut stage = Stage::new().await;
    stage.regenerate().await;
    let given = job(&mut stage.worker).await;

    let renamed = "update chat_metadata set title = 'Mine', metadata_version = metadata_version + 1";
    execute(&mut stage.sql().await, renamed.to_owned()).await;
    let answered = finish(&stage.worker, &given, titled("Beans"));
    stage.worker.calls.finish_job(answered).await.expect("it is taken");

    assert_eq!(stage.title().await, ("Mine".to_owned(), 2));
    assert_eq!(jobs(&mut stage.sql().await).await, 0);
}

#[tokio::test]
async fn an_answer_without_words_leaves_the_title() {
    let mut stage = Stage::new().await;
    stage.regenerate().await;
    let given = job(&mut stage.worker).await;

    let answered = finish(&stage.worker, &given, titled("\n\"\"\n**\n"));
    stage.worker.calls.finish_job(answered).await.expect("it is taken");

    assert_eq!(stage.title().await, ("What is in the garden?".to_owned(), 1));
    assert_eq!(jobs(&mut stage.sql().await).await, 0);
}

#[tokio::test]
async fn the_job_of_a_worker_that_died_goes_to_another_which_alone_may_finish_it() {
    let mut stage = Stage::new().await;
    stage.regenerate().await;
    let first = job(&mut stage.worker).await;
    let late = finish(&stage.worker, &first, titled("Too late"));
    let other = stage.another_worker().await;

    drop(std::mem::replace(&mut stage.worker, other));
    let given = job(&mut stage.worker).await;

    assert_eq!((given.job_id.as_str(), given.attempt), (first.job_id.as_str(), 2));
    let refused = stage.worker.calls.finish_job(late).await.expect_err("it has gone to another");
    assert_eq!(reason(&refused), "LEASE_LOST");
    assert_eq!(stage.title().await.1, 1);
    let mut sql = stage.sql().await;
    let paid = "select count(*) from model_calls where fence = 0";
    assert_eq!(number(&mut sql, paid.to_owned()).await, 1, "a late answer was paid for too");
}

#[tokio::test]
async fn a_job_that_nobody_finishes_is_leased_three_times_and_then_gone() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    stage.regenerate().await;

    for attempt in 1..=3 {
        assert_eq!(job(&mut stage.worker).await.attempt, attempt);
        assert_eq!(jobs(&mut sql).await, 1);
        let_time_pass(&mut sql).await;
    }

    eventually("the job is gone", async || (jobs(&mut sql).await == 0).then_some(())).await;
    assert_eq!(stage.title().await, ("What is in the garden?".to_owned(), 1));
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_later_and_another_ends_the_job() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    stage.regenerate().await;

    let first = job(&mut stage.worker).await;
    stage.worker.calls.finish_job(finish(&stage.worker, &first, failed(true))).await.expect("it is taken");
    let put_off = "select count(*) from jobs where session_id is null and lease_time > now()";
    assert_eq!(number(&mut sql, put_off.to_owned()).await, 1);
    let_time_pass(&mut sql).await;
    let second = job(&mut stage.worker).await;
    assert_eq!(second.attempt, 2);
    stage.worker.calls.finish_job(finish(&stage.worker, &second, failed(false))).await.expect("it is taken");

    assert_eq!(jobs(&mut sql).await, 0);
    let paid = "select count(distinct model_call) from model_calls where fence = 0";
    assert_eq!(number(&mut sql, paid.to_owned()).await, 2, "each try was paid for");
}

#[tokio::test]
async fn only_the_jobs_own_session_and_attempt_may_answer_it() {
    let mut stage = Stage::new().await;
    stage.regenerate().await;
    let given = job(&mut stage.worker).await;
    let other = stage.another_worker().await;
    let right = finish(&stage.worker, &given, titled("Beans"));

    let mut calls = stage.worker.calls.clone();
    for wrong in [
        proto::FinishJobRequest { session_id: other.session.clone(), ..right.clone() },
        proto::FinishJobRequest { attempt: 2, ..right.clone() },
        proto::FinishJobRequest { job_id: uuid::Uuid::now_v7().to_string(), ..right.clone() },
    ] {
        let refused = calls.finish_job(wrong).await.expect_err("it is not theirs");
        assert_eq!(reason(&refused), "LEASE_LOST");
    }
    for wrong in [
        proto::FinishJobRequest { session_id: "me".to_owned(), ..right.clone() },
        proto::FinishJobRequest { attempt: 0, ..right.clone() },
        proto::FinishJobRequest { job_id: String::new(), ..right.clone() },
        proto::FinishJobRequest { chat_id: String::new(), ..right.clone() },
        proto::FinishJobRequest { result: None, ..right.clone() },
        proto::FinishJobRequest { result: Some(Told::Error(chat::ChatError::default())), ..right.clone() },
        proto::FinishJobRequest {
            usage: Some(chat::Usage { output_tokens: -1, ..Default::default() }),
            ..right.clone()
        },
    ] {
        let refused = calls.finish_job(wrong).await.expect_err("it is malformed");
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }

    assert_eq!(stage.title().await.1, 1);
    calls.finish_job(right).await.expect("it is the holder's");
    assert_eq!(stage.title().await, ("Beans".to_owned(), 2));
}

#[tokio::test]
async fn a_session_has_four_jobs_at_a_time_and_gets_the_next_when_one_is_done() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    let mut chats = vec![stage.chat.clone()];
    for no in 0..5 {
        chats.push(stage.client.create_chat(&format!("Chat {no}")).await.chat_id);
    }
    for chat in &chats {
        regenerate(&mut stage.client, chat, "").await.expect("a title is asked for");
    }

    let mut given = Vec::new();
    for _ in 0..4 {
        given.push(job(&mut stage.worker).await);
    }
    let waiting = "select count(*) from jobs where session_id is null";
    assert_eq!(number(&mut sql, waiting.to_owned()).await, 2);
    for _ in 0..2 {
        let done = given.remove(0);
        let answered = finish(&stage.worker, &done, titled("Done"));
        stage.worker.calls.finish_job(answered).await.expect("it is taken");
        given.push(job(&mut stage.worker).await);
    }

    assert_eq!(number(&mut sql, waiting.to_owned()).await, 0);
    assert_eq!(jobs(&mut sql).await, 4);
}

#[tokio::test]
async fn a_silent_worker_gets_no_job_and_one_that_answers_does() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    let mut other = stage.another_worker().await;
    // Of two that are free the one with the lower id is first.
    if other.session < stage.worker.session {
        std::mem::swap(&mut other, &mut stage.worker);
    }

    stage.worker.fall_silent();

    eventually("the worker is taken for silent", async || {
        regenerate(&mut stage.client, &stage.chat, "").await.expect("a title is asked for");
        eventually("the job is leased", async || {
            let leased = "select count(*) from jobs where session_id is not null";
            (number(&mut sql, leased.to_owned()).await == 1).then_some(())
        })
        .await;
        let leased = format!("select count(*) from jobs where session_id = '{}'", other.session);
        (number(&mut sql, leased).await == 1).then_some(())
    })
    .await;
    let given = job(&mut other).await;
    let answered = finish(&other, &given, titled("Beans"));
    other.calls.finish_job(answered).await.expect("it is taken");
    assert_eq!(stage.title().await.0, "Beans");
}

#[tokio::test]
async fn a_new_request_replaces_the_job_and_a_repeat_of_one_does_not() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    let request = uuid::Uuid::now_v7().to_string();
    let first = regenerate(&mut stage.client, &stage.chat, &request).await.expect("it is asked for");
    let given = job(&mut stage.worker).await;

    let repeated = regenerate(&mut stage.client, &stage.chat, &request).await.expect("it is a repeat");
    let in_hand = "select count(*) from jobs where session_id is not null";
    assert_eq!((number(&mut sql, in_hand.to_owned()).await, &repeated), (1, &first));
    let other_body = chat::InterruptChatRequest { chat_id: stage.chat.clone(), request_id: request };
    let refused = stage.client.chats.interrupt_chat(other_body).await.expect_err("it is another request");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");

    stage.regenerate().await;
    let anew = job(&mut stage.worker).await;
    assert_eq!((anew.job_id.as_str(), anew.attempt), (given.job_id.as_str(), 2));
    let answered = finish(&stage.worker, &given, titled("Old"));
    let refused = stage.worker.calls.finish_job(answered).await.expect_err("it was replaced");
    assert_eq!(reason(&refused), "LEASE_LOST");
    assert_eq!(stage.title().await.1, 1);
    let paid = "select count(*) from model_calls where fence = 0";
    assert_eq!(number(&mut sql, paid.to_owned()).await, 1, "what was replaced was paid for too");
    let answered = finish(&stage.worker, &anew, titled("New"));
    stage.worker.calls.finish_job(answered).await.expect("it is taken");
    assert_eq!(stage.title().await, ("New".to_owned(), 2));
    assert_eq!(number(&mut sql, paid.to_owned()).await, 2);
}

#[tokio::test]
async fn another_users_chat_is_no_chat_to_ask_a_title_for() {
    let mut stage = Stage::new().await;
    let mut stranger = Client::new(&stage.replica.url(), &stage.world.stranger_token);
    let chat = stage.chat.clone();

    let refused = regenerate(&mut stranger, &chat, "").await.expect_err("it is not theirs");
    let missing = regenerate(&mut stage.client, &uuid::Uuid::now_v7().to_string(), "")
        .await
        .expect_err("there is none");
    let malformed = regenerate(&mut stage.client, "garden", "").await.expect_err("it is no id");

    assert_eq!(reason(&refused), "CHAT_NOT_FOUND");
    assert_eq!(reason(&missing), "CHAT_NOT_FOUND");
    assert_eq!(reason(&malformed), "FIELD_INVALID");
    assert_eq!(jobs(&mut stage.sql().await).await, 0);
}

#[tokio::test]
async fn a_job_for_which_no_model_can_be_used_is_dropped() {
    let mut stage = Stage::new().await;
    let mut sql = stage.sql().await;
    execute(&mut sql, "delete from models".to_owned()).await;
    // The replica remembers models for a moment; a job that it could still send is one that is asked for anew.
    eventually("the job is dropped", async || {
        regenerate(&mut stage.client, &stage.chat, "").await.expect("it is asked for");
        eventually("the job is looked at", async || {
            let left = "select count(*) from jobs where session_id is null";
            (number(&mut sql, left.to_owned()).await == 0).then_some(())
        })
        .await;
        (jobs(&mut sql).await == 0).then_some(())
    })
    .await;

    assert_eq!(stage.title().await, ("What is in the garden?".to_owned(), 1));
}

#[tokio::test]
async fn replicas_share_jobs_and_none_is_given_twice() {
    let mut stage = Stage::new().await;
    let second = stage.world.replica(quick()).await;
    let mut far = Worker::open(&second, &stage.world.worker_token, 1).await;
    let mut chats = vec![stage.chat.clone()];
    for no in 0..7 {
        chats.push(stage.client.create_chat(&format!("Chat {no}")).await.chat_id);
    }

    for chat in &chats {
        regenerate(&mut stage.client, chat, "").await.expect("a title is asked for");
    }
    let mut given = BTreeSet::new();
    for _ in 0..4 {
        for worker in [&mut stage.worker, &mut far] {
            let job = job(worker).await;
            assert_eq!(job.attempt, 1);
            given.insert(job.chat_id);
        }
    }

    assert_eq!(given, chats.into_iter().collect());
}

#[tokio::test]
async fn a_job_that_another_replica_is_claiming_is_passed_over() {
    let mut stage = Stage::new().await;
    let other = stage.client.create_chat("Another chat").await.chat_id;
    // Due in a moment, and its row is held by then.
    let mut claiming = stage.sql().await;
    let insert = format!(
        "insert into jobs (job_id, chat_id, kind, metadata_version, lease_time) \
         values ('{}', '{}', 'title', 1, now() + interval '3 seconds')",
        uuid::Uuid::now_v7(),
        stage.chat,
    );
    execute(&mut claiming, insert).await;
    execute(&mut claiming, "begin; select from jobs for update".to_owned()).await;
    let mut sql = stage.sql().await;
    eventually("the job is due", async || {
        let due = "select count(*) from jobs where lease_time <= now()";
        (number(&mut sql, due.to_owned()).await == 1).then_some(())
    })
    .await;

    regenerate(&mut stage.client, &other, "").await.expect("a title is asked for");
    assert_eq!(job(&mut stage.worker).await.chat_id, other);

    execute(&mut claiming, "rollback".to_owned()).await;
    assert_eq!(job(&mut stage.worker).await.chat_id, stage.chat);
}
