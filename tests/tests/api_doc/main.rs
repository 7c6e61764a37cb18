//! `docs/api.md`: the life of a chat, over the API.
//!
//! The page is made from one list, [`story`]: prose, calls, and of each reply what is worth
//! showing. Both forms of a command, `buf curl` and `grpcurl`, come from the same entry, and the
//! table of errors from the contract's own sentences. What the replies are, only the system says:
//! one test takes the commands from the page and runs them, in order, against a real cluster, and
//! holds what comes back against what is shown.
//!
//! After a change of the list or of what is said here, `buf` writes the page anew:
//!
//!     UPDATE_GOLDEN=1 cargo test -p chatplane-tests --test api_doc

mod page;
mod print;
mod reasons;
mod reply;
mod run;
mod step;
mod story;
mod world;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use chatplane_proto::FILE_DESCRIPTOR_SET;
use chatplane_tests::peers;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::{
    page::{Example, examples, render},
    run::Runner,
    step::{Call, Step},
    world::World,
};

const UPDATE: &str = "run with UPDATE_GOLDEN=1 to write docs/api.md anew";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")
}

fn is_update() -> bool {
    env::var_os("UPDATE_GOLDEN").is_some()
}

fn calls(steps: &[Step]) -> Vec<&Call> {
    let calls = steps.iter().filter_map(|step| match step {
        Step::Call(call) => Some(call),
        Step::Section(_) | Step::Words(_) | Step::Behind(_) => None,
    });
    calls.collect()
}

#[test]
fn the_page_says_what_its_list_says_in_both_forms() {
    if is_update() {
        return;
    }
    let page = fs::read_to_string(path()).expect("the page is there");
    let steps = story::steps();

    let replies: Vec<String> = examples(&page).into_iter().map(|example| example.reply).collect();

    assert_eq!(replies.len(), calls(&steps).len(), "the page has other calls than its list: {UPDATE}");
    let expected = render(&steps, &replies);
    let differs = page.lines().zip(expected.lines()).find(|(page, list)| page != list);
    assert_eq!(differs, None, "the page (left) is not what its list says (right): {UPDATE}");
    assert_eq!(page, expected, "{UPDATE}");
}

#[test]
fn a_reader_meets_every_call_of_the_api() {
    let contract = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it");
    let services = contract.file.iter().flat_map(|file| &file.service);
    let public = services
        .filter(|service| ["ChatService", "FileService", "SettingsService"].contains(&service.name()));
    let offered: BTreeSet<String> = public
        .flat_map(|service| {
            service.method.iter().map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect();

    let steps = story::steps();
    let good = calls(&steps).into_iter().filter(|call| !call.is_refused());
    let met: BTreeSet<String> = good.map(|call| call.method.to_owned()).collect();

    assert_eq!(met, offered);
}

#[tokio::test]
async fn every_command_of_the_page_does_what_the_page_shows() {
    let Some(buf) = buf() else { return };
    let steps = story::steps();
    let page = match is_update() {
        true => render(&steps, &vec!["{}".to_owned(); calls(&steps).len()]),
        false => fs::read_to_string(path()).expect("the page is there"),
    };
    let shown = examples(&page);
    assert_eq!(shown.len(), calls(&steps).len(), "the page has other calls than its list: {UPDATE}");
    let world = Box::pin(World::start()).await;
    let mut runner = Runner::new(&world, &buf);

    let replies = Box::pin(tell(&mut runner, &steps, &shown)).await;

    if is_update() {
        fs::write(path(), render(&steps, &replies)).expect("the page can be written");
    }
}

/// Runs the commands of the page with what happens behind them, and answers what is to be shown.
async fn tell(runner: &mut Runner<'_>, steps: &[Step], shown: &[Example]) -> Vec<String> {
    let mut replies = Vec::new();
    for step in steps {
        match step {
            Step::Section(_) | Step::Words(_) => {}
            Step::Behind(hook) => runner.happen(hook).await,
            Step::Call(call) => {
                let example = &shown[replies.len()];
                let reply = runner.run(call, &example.command).await;
                if !is_update() {
                    let what =
                        format!("the reply to\n{}\n(left) is not what is shown: {UPDATE}", example.command);
                    assert_eq!(reply::comparable(&reply), reply::comparable(&example.reply), "{what}");
                }
                replies.push(reply);
            }
        }
    }
    replies
}

/// `buf`, from `CHATPLANE_BUF` or the path. CI has it; elsewhere its absence is said.
fn buf() -> Option<PathBuf> {
    let named = env::var_os("CHATPLANE_BUF").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|directory| directory.join("buf")).find(|program| program.is_file())
    });
    if found.is_none() {
        assert!(!is_update(), "the page cannot be written without buf");
        peers::skip("buf is not installed (npm install --global @bufbuild/buf)");
    }
    found
}
