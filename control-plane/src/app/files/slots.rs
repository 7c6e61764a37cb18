//! Whose turn it is to upload: as many as memory allows, and few of one user.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chatplane_domain::UserId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{app::Error, limits::files::UPLOADS_PER_USER_MAX};

/// The slots of this replica, and how many of them each user has or waits for.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    users: Users,
}

type Users = Arc<Mutex<HashMap<UserId, usize>>>;

/// A slot. Dropping it gives it to the next.
#[derive(Debug)]
pub(super) struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_user: OfUser,
}

/// One of the uploads of a user.
#[derive(Debug)]
struct OfUser {
    user: UserId,
    users: Users,
}

impl Slots {
    pub(super) fn new(slots: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(slots)), users: Arc::default() }
    }

    /// A slot, within this time. An upload that is one too many of its user is refused at once:
    /// while it waited, its bytes would wait, too, and hold up what else is on its connection, those
    /// uploads before all that it waits for.
    ///
    /// # Errors
    ///
    /// `LimitExceeded`.
    pub(super) async fn take(&self, user: UserId, wait: Duration) -> Result<Slot, Error> {
        let of_user = self.of_user(user)?;
        let Ok(Ok(of_all)) = timeout(wait, Arc::clone(&self.all).acquire_owned()).await else {
            let sentence = "as many files are being uploaded as this replica takes at a time; try again";
            return Err(Error::LimitExceeded(sentence.to_owned()));
        };
        Ok(Slot { _of_all: of_all, _of_user: of_user })
    }

    fn of_user(&self, user: UserId) -> Result<OfUser, Error> {
        let mut users = lock(&self.users);
        let uploads = users.entry(user).or_default();
        if *uploads >= UPLOADS_PER_USER_MAX {
            return Err(Error::LimitExceeded(format!(
                "a user uploads at most {UPLOADS_PER_USER_MAX} files at a time; send this one when another is there"
            )));
        }
        *uploads += 1;
        Ok(OfUser { user, users: Arc::clone(&self.users) })
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.all.available_permits()
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let mut users = lock(&self.users);
        if let Some(uploads) = users.get_mut(&self.user) {
            *uploads -= 1;
            if *uploads == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// Nothing that is done under the lock panics.
fn lock(users: &Users) -> MutexGuard<'_, HashMap<UserId, usize>> {
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn user(number: u128) -> UserId {
        UserId(Uuid::from_u128(number))
    }

    fn sentence(refused: Result<Slot, Error>) -> String {
        match refused {
            Err(Error::LimitExceeded(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_user_who_holds_all_they_may_keeps_nobody_else_from_a_slot() {
        let slots = Slots::new(3);
        let (ada, bob) = (user(1), user(2));
        let first = slots.take(ada, MOMENT).await.expect("there is a slot");
        let _second = slots.take(ada, MOMENT).await.expect("there is a slot");

        let third = slots.take(ada, LONG).await;
        let other = slots.take(bob, MOMENT).await;
        drop(first);

        assert!(sentence(third).contains("at most 2 files at a time"));
        assert!(other.is_ok());
        assert!(slots.take(ada, MOMENT).await.is_ok(), "one of theirs is free again");
    }

    #[tokio::test]
    async fn uploads_beyond_those_that_fit_wait_for_a_slot() {
        let slots = Slots::new(2);
        let _first = slots.take(user(1), MOMENT).await.expect("there is a slot");
        let second = slots.take(user(2), MOMENT).await.expect("there is a slot");

        let refused = slots.take(user(3), MOMENT).await;
        let (waited, ()) = tokio::join!(slots.take(user(3), LONG), async { drop(second) });

        assert!(sentence(refused).contains("try again"));
        assert!(waited.is_ok());
    }

    #[tokio::test]
    async fn users_who_upload_nothing_are_forgotten() {
        let slots = Slots::new(2);
        let held = slots.take(user(1), MOMENT).await;
        let other = slots.take(user(2), MOMENT).await;
        let refused = slots.take(user(3), MOMENT).await;
        assert_eq!(lock(&slots.users).len(), 2);

        drop((held, other, refused));

        assert_eq!(lock(&slots.users).len(), 0);
        assert_eq!(slots.available(), 2);
    }
}
