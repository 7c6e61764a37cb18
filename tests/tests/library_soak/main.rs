//! A day in the library, in seconds: several users do at random all that can be done with
//! chats, on two replicas, while retention archives and deletes, and watchers of all their
//! chats are cut and come back. In the end every picture that a watcher was ever shown
//! must have been the truth at one moment, in order; the kinds of changes that it was told
//! must be those that there were; what a watcher knows is what ListChats says; and nobody
//! may have been refused anything for a reason that there was not.
//!
//! It runs for 10 s, with `CI=true` for 120 s, and for as long as `CHATPLANE_SOAK_SECONDS`
//! says; a little longer where something that must be put to the test has not come to pass
//! yet. `CHATPLANE_SOAK_SEED` repeats the choices of a run, though not its timing.

mod check;
mod day;
mod gone;
mod journal;
mod kinds;
mod missing;
mod model;
mod picture;
mod replica;
mod rest;
mod settings;
mod transcript;
mod user;

use settings::Settings;

/// The tool that clients run.
const CLIENT_TOOL: &str = "ask_user";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_all_chats_are_told_what_the_database_says_at_every_point() {
    let settings = Settings::from_environment();
    eprintln!(
        "CHATPLANE_SOAK_SEED={} repeats the choices of this run of {:?}",
        settings.seed, settings.duration
    );

    let faults = day::spend(settings).await;

    assert!(faults.is_empty(), "with seed {}:\n{}", settings.seed, faults.join("\n"));
}
