use super::{Duration, ReplicaId, Resumed, SessionId, SessionOpening, Store, Uuid};
use crate::{limits::Limits, store::Database, testing::database};

const TTL: Duration = Duration::from_secs(8);

fn opening(session: SessionId, ttl: Duration) -> SessionOpening<'static> {
    SessionOpening { session, replica: ReplicaId(Uuid::max()), worker_name: "", slots_total: 1, ttl }
}

async fn opened(store: &Store, ttl: Duration) -> SessionId {
    let session = SessionId(Uuid::new_v4());
    store.open_session(opening(session, ttl)).await.expect("it is new");
    session
}

#[tokio::test]
async fn a_worker_that_comes_back_too_late_is_told_from_one_that_was_given_up() {
    let store = Store::connect(Database::at(&database().await, 2, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let replica = ReplicaId(Uuid::max());
    let within = opened(&store, TTL).await;
    let past = opened(&store, Duration::ZERO).await;
    let open = opened(&store, TTL).await;
    assert!(store.close_session(within, replica, 1).await.expect("it answers"));
    assert_eq!(store.close_expired_sessions().await.expect("it answers"), 1);

    let mut resumed = Vec::new();
    for session in [within, past, SessionId(Uuid::new_v4()), open] {
        resumed.push(store.resume_session(opening(session, TTL)).await.expect("it answers"));
    }

    let too_late = Resumed::TooLate { closed_by: replica };
    let goes_on = Resumed::Open { connection: 2, leases: Vec::new() };
    assert_eq!(resumed, [too_late, Resumed::Lost, Resumed::Lost, goes_on]);
}
