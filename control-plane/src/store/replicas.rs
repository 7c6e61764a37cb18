//! The replicas: each keeps a row alive by which the others find it.

use chatplane_domain::ReplicaId;

use super::{Error, Store};

/// A replica as its row has it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ReplicaRow {
    /// Its id.
    pub(crate) replica: ReplicaId,
    /// Where the others reach it; none: it takes no peers.
    pub(crate) address: Option<String>,
    /// Proves that who uses it reads this database.
    pub(crate) secret: [u8; 32],
}

impl Store {
    /// Renews a replica's row, or makes it, and answers the others that have renewed theirs within
    /// 30 s, the oldest first. Rows are deleted much later: after an outage all are old, and who comes
    /// back first must not delete those of the others, who are about to renew them.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn renew_replica(
        &self,
        replica: ReplicaId,
        address: Option<&str>,
        secret: &[u8; 32],
    ) -> Result<Vec<ReplicaRow>, Error> {
        let rows = sqlx::query!(
            "with renewed as ( \
                 insert into replicas (replica_id, address, secret) \
                 values ($1, $2, $3) \
                 on conflict (replica_id) do update \
                 set heartbeat_time = now() \
             ), \
             forgotten as ( \
                 delete from replicas \
                 where replica_id in ( \
                     select replica_id \
                     from replicas \
                     where replica_id <> $1 \
                     and heartbeat_time < now() - interval '5 minutes' \
                     for update skip locked \
                 ) \
             ) \
             select r.replica_id, r.address, r.secret \
             from replicas r \
             where r.replica_id <> $1 \
             and r.heartbeat_time >= now() - interval '30 seconds' \
             order by r.replica_id \
             limit 1000",
            replica.0,
            address,
            &secret[..],
        )
        .fetch_all(&self.connections)
        .await?;
        let row = |(replica, address, secret): (_, _, Vec<u8>)| {
            let secret = secret.try_into().map_err(|_| Error::RowInvalid)?;
            Ok(ReplicaRow { replica: ReplicaId(replica), address, secret })
        };
        rows.into_iter().map(|found| row((found.replica_id, found.address, found.secret))).collect()
    }

    /// Forgets a replica that leaves.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn forget_replica(&self, replica: ReplicaId) -> Result<(), Error> {
        sqlx::query!("delete from replicas where replica_id = $1", replica.0)
            .execute(&self.connections)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::Connection as _;
    use uuid::Uuid;

    use super::*;
    use crate::store::Database;

    fn replica(no: u128) -> ReplicaId {
        ReplicaId(Uuid::from_u128(no))
    }

    #[tokio::test]
    async fn replicas_find_each_other_and_forget_those_that_are_gone() {
        let url = crate::testing::database().await;
        let store = Store::connect(Database::at(&url, 2, Duration::from_secs(15)))
            .await
            .expect("the database answers");
        let (one, two, three) = (replica(1), replica(2), replica(3));
        let renew = async |replica, address, secret: u8| {
            let rows = store.renew_replica(replica, address, &[secret; 32]).await.expect("it is renewed");
            rows.into_iter().map(|row| (row.replica, row.address, row.secret[0])).collect::<Vec<_>>()
        };
        assert_eq!(renew(one, Some("http://one"), 1).await, []);
        assert_eq!(renew(two, None, 2).await, [(one, Some("http://one".to_owned()), 1)]);
        assert_eq!(renew(three, None, 3).await.len(), 2);

        let mut connection = sqlx::PgConnection::connect(&url).await.expect("the database answers");
        let silent =
            "update replicas set heartbeat_time = now() - interval '31 seconds' where replica_id <> $1";
        sqlx::query(silent).bind(one.0).execute(&mut connection).await.expect("the rows are there");
        store.forget_replica(three).await.expect("it leaves");

        // The one that was silent for too long and is back is there again.
        assert_eq!(renew(two, None, 2).await, [(one, Some("http://one".to_owned()), 1)]);
        assert_eq!(renew(one, Some("http://one"), 1).await, [(two, None, 2)]);
    }
}
