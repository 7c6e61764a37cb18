//! Jobs whose chats are asked for anew while somebody works at them.

use std::time::Duration;

use chatplane_domain::{ChatId, ReplicaId, SessionId, Usage};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use super::world::{World, world};
use crate::store::{
    Ask, JobAnswer, JobBounds, JobId, JobLease, SessionOpening, TransactError, jobs::ClaimedJobs,
};

const TTL: Duration = Duration::from_secs(60);
const BOUNDS: JobBounds = JobBounds { per_session_max: 1, attempts_max: 3, lease: TTL, jobs_max: 8 };

impl World {
    async fn session(&self) -> SessionId {
        let session = SessionId(Uuid::new_v4());
        let replica = ReplicaId(Uuid::max());
        let opening = SessionOpening { session, replica, worker_name: "", slots_total: 1, ttl: TTL };
        self.store.open_session(opening).await.expect("it is new");
        session
    }

    async fn ask_for_title(&self, chat: ChatId) {
        let asked =
            self.store.ask_for_title::<()>(chat, JobId(Uuid::now_v7()), &Ask::default(), |_| Ok(())).await;
        asked.expect("it is asked for");
    }

    async fn claim_jobs(&self, session: SessionId) -> ClaimedJobs {
        self.store.claim_jobs(&[session], BOUNDS).await.expect("it answers")
    }

    /// Gives the chat's job to the session.
    async fn job(&self, session: SessionId) -> JobLease {
        let claimed = self.claim_jobs(session).await;
        assert_eq!((claimed.leased.len(), claimed.given_up.len()), (1, 0));
        claimed.leased[0].0
    }

    /// Answers whether the title was written; none when the job is another's.
    async fn titled(&self, chat: ChatId, lease: JobLease, title: &str) -> Option<bool> {
        let usage = Usage { input_tokens: 7, ..Usage::default() };
        let answer = JobAnswer {
            lease,
            chat,
            title: Some(title.to_owned()),
            again_in: None,
            model_call: Some(("test".to_owned(), usage)),
        };
        let finished = self.store.finish_job(&answer).await.expect("it answers");
        finished.map(|finished| finished.is_titled)
    }

    async fn title(&self, chat: ChatId) -> (String, i64) {
        let metadata = self.view(chat).await.metadata;
        (metadata.title, metadata.metadata_version)
    }

    async fn calls_paid(&self) -> i64 {
        self.count("select count(*) from model_calls where fence = 0 and input_tokens = 7").await
    }

    /// As if its time were over.
    async fn forget_what_was_replaced(&self) {
        self.execute("update jobs set replaced_session_id = null, replaced_lease_time = null").await;
    }

    /// Until both wait for a lock.
    async fn both_wait(&self) {
        let waiting = "select count(*) from pg_stat_activity \
             where datname = current_database() and wait_event_type = 'Lock'";
        let both = async {
            while self.count(waiting).await < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(TTL, both).await.expect("both come to the lock");
    }
}

#[tokio::test]
async fn a_title_that_is_asked_for_anew_is_written_by_the_next_lease_alone_and_both_are_paid_for() {
    let world = world().await;
    let chat = world.new_chat().await;
    let (first, second) = (world.session().await, world.session().await);
    world.ask_for_title(chat).await;
    let replaced = world.job(first).await;

    world.ask_for_title(chat).await;

    assert_eq!(world.claim_jobs(first).await, ClaimedJobs::default(), "it still works at the other");
    let anew = world.job(second).await;
    assert_eq!((anew.job, anew.attempt), (replaced.job, 2));
    assert_eq!(world.titled(chat, replaced, "old").await, None);
    assert_eq!(world.titled(chat, anew, "new").await, Some(true));
    assert_eq!(world.titled(chat, anew, "again").await, None, "it is over");
    assert_eq!(world.title(chat).await, ("new".to_owned(), 2));
    assert_eq!(world.calls_paid().await, 2);
    assert_eq!(world.count("select count(*) from jobs").await, 0);
}

#[tokio::test]
async fn the_answer_of_a_job_that_was_replaced_makes_room() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = world.session().await;
    world.ask_for_title(chat).await;
    let replaced = world.job(session).await;
    world.ask_for_title(chat).await;
    assert_eq!(world.claim_jobs(session).await, ClaimedJobs::default());

    assert_eq!(world.titled(chat, replaced, "old").await, None);

    assert_eq!(world.job(session).await.attempt, 2);
}

#[tokio::test]
async fn what_cannot_be_done_is_dropped_and_what_was_asked_for_meanwhile_is_not() {
    let world = world().await;
    let chat = world.new_chat().await;
    let (first, second) = (world.session().await, world.session().await);
    world.ask_for_title(chat).await;
    let replaced = world.job(first).await;
    world.ask_for_title(chat).await;

    world.store.drop_job(replaced).await.expect("it answers");
    let anew = world.job(second).await;
    world.store.drop_job(anew).await.expect("it answers");

    assert_eq!(anew.attempt, 2);
    assert_eq!(world.count("select count(*) from jobs").await, 0);
}

#[tokio::test]
async fn each_request_has_its_leases_and_no_lease_has_the_number_of_another() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = world.session().await;
    for request in 0..2 {
        world.ask_for_title(chat).await;
        // What is asked for anew is no more held.
        world.forget_what_was_replaced().await;
        for try_no in 1..=3 {
            assert_eq!(world.job(session).await.attempt, request * 3 + try_no);
            world.execute("update jobs set lease_time = now()").await;
        }
    }

    let last = world.claim_jobs(session).await;

    assert_eq!((last.leased.len(), last.given_up.len()), (0, 1));
}

#[tokio::test]
async fn what_a_call_cost_is_kept_where_there_are_session_and_chat_whatever_the_job() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = world.session().await;
    let lease = JobLease { job: JobId(Uuid::now_v7()), session, attempt: 1 };

    let unknown = JobLease { session: SessionId(Uuid::new_v4()), ..lease };
    assert_eq!(world.titled(chat, unknown, "no").await, None);
    assert_eq!(world.titled(ChatId(Uuid::now_v7()), lease, "no").await, None);
    assert_eq!(world.calls_paid().await, 0);
    for _ in 0..2 {
        assert_eq!(world.titled(chat, lease, "no").await, None);
    }

    assert_eq!(world.calls_paid().await, 1);
    // The job of one chat is none of another's.
    let other = world.new_chat().await;
    world.ask_for_title(chat).await;
    let lease = world.job(session).await;
    assert_eq!(world.titled(other, lease, "no").await, None);
    assert_eq!(world.titled(chat, lease, "yes").await, Some(true));
}

#[tokio::test]
async fn a_request_that_waits_for_an_answer_asks_for_the_title_after_it() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = world.session().await;
    world.ask_for_title(chat).await;
    let lease = world.job(session).await;
    // Somebody names the chat, and has not committed when both come.
    let mut connection = world.pool.acquire().await.expect("it answers");
    let renaming = renamed(&mut connection).await;

    let finish = world.titled(chat, lease, "written");
    let ask = world.ask_for_title(chat);
    let commit = async {
        world.both_wait().await;
        renaming.commit().await.expect("it is committed");
    };
    let (finished, (), ()) = tokio::join!(finish, ask, commit);

    // Whichever was first, the name stands, and a title is wanted in its place.
    assert_ne!(finished, Some(true));
    assert_eq!(world.title(chat).await, ("mine".to_owned(), 2));
    world.forget_what_was_replaced().await;
    let anew = world.job(session).await;
    assert_eq!(world.titled(chat, anew, "new").await, Some(true));
    assert_eq!(world.title(chat).await, ("new".to_owned(), 3));
}

#[tokio::test]
async fn answers_and_requests_at_once_all_get_through() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = world.session().await;
    let asks = async {
        for _ in 0..30 {
            world.ask_for_title(chat).await;
        }
    };
    let answers = async {
        let mut written = 0;
        for no in 0..30 {
            world.forget_what_was_replaced().await;
            for (lease, _) in world.claim_jobs(session).await.leased {
                let title = format!("title {no}");
                written += i64::from(world.titled(chat, lease, &title).await == Some(true));
            }
        }
        written
    };

    let ((), written) = tokio::join!(asks, answers);

    assert_eq!(world.title(chat).await.1, 1 + written, "each title was of the metadata before it");
    world.ask_for_title(chat).await;
    world.forget_what_was_replaced().await;
    assert_eq!(world.titled(chat, world.job(session).await, "last").await, Some(true));
}

async fn renamed(connection: &mut PgConnection) -> sqlx::Transaction<'_, sqlx::Postgres> {
    let mut renaming = connection.begin().await.expect("it begins");
    sqlx::query("update chat_metadata set title = 'mine', metadata_version = metadata_version + 1")
        .execute(&mut *renaming)
        .await
        .expect("it is written");
    renaming
}

#[tokio::test]
async fn a_title_that_is_asked_for_while_the_chat_is_deleted_keeps_no_reply() {
    let world = world().await;
    let chat = world.new_chat().await;
    let mut deleting = world.pool.begin().await.expect("it begins");
    for statement in [
        "update chats set state = 'waiting', runnable_since = null, archived = true, delete_time = now() \
         where chat_id = $1",
        "update chat_metadata set title = '', metadata_version = metadata_version + 1 where chat_id = $1",
    ] {
        sqlx::query(statement).bind(chat.0).execute(&mut *deleting).await.expect("the statement is right");
    }

    let asking = tokio::spawn({
        let (store, ask) = (world.store.clone(), Ask { request: Some(world.request(1)), ..world.ask() });
        async move { store.ask_for_title::<()>(chat, JobId(Uuid::now_v7()), &ask, |_| Ok(())).await }
    });
    world.until_somebody_waits().await;
    deleting.commit().await.expect("it is committed");

    let asked = asking.await.expect("it does not panic");
    assert!(matches!(asked, Err(TransactError::ChatNotFound)), "{asked:?}");
    assert_eq!(world.count("select count(*) from requests").await, 0);
    assert_eq!(world.count("select count(*) from jobs").await, 0);
}
