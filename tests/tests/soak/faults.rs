//! Workers that die in the middle of what they do, and others in their place.

use std::{collections::BTreeSet, time::Duration};

use chatplane_tests::{Cluster, model_server::ModelServer};
use tokio::time::sleep;

use crate::{invariants::accounts, storm::Storm};

/// Between two deaths: others have taken over long before.
const KILL_INTERVAL: Duration = Duration::from_secs(3);
/// At least so many die in a short run, too.
const KILLS_MIN: u32 = 3;

/// Kills the worker that has lived longest and starts another, again and again until the storm
/// is over. Answers the model calls whose worker may not have lived to account for them:
/// those that had no account when a worker died.
pub(crate) async fn kill_workers(
    cluster: &mut Cluster,
    model: &ModelServer,
    storm: &Storm,
    duration: Duration,
) -> BTreeSet<usize> {
    let interval = KILL_INTERVAL.min(duration / (KILLS_MIN + 1));
    let mut unreported = BTreeSet::new();
    for victim in 0.. {
        sleep(interval).await;
        if storm.is_over() {
            break;
        }
        cluster.workers[victim].kill();
        cluster.add_worker();
        // In this order: of a call that comes later the dead worker knows nothing, and an
        // account that comes later does no harm.
        let calls = model.calls().len();
        let accounted = accounts::accounted(&mut cluster.database.connection().await).await;
        let accounted = BTreeSet::from_iter(accounted);
        unreported.extend((0..calls).filter(|call| !accounted.contains(call)));
    }
    unreported
}
