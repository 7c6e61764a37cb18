//! What a turn is run with beside its messages.

use std::collections::BTreeMap;

use chatplane_domain::{ChatId, ClientTool, Command, ConfigureChat, Rejection, SessionId};
use uuid::Uuid;

use super::world::{World, applied, claimable, leased, run, tool, world};
use crate::{
    scheduler::SettingsMark,
    store::{Ask, DEFAULT_ORGANIZATION, ModelRow, Put, Snapshot, ThresholdRow, TurnSettings},
};

fn model(name: &str, context_tokens_max: i64, percent: Option<i32>) -> ModelRow {
    ModelRow {
        name: name.to_owned(),
        provider: "test".to_owned(),
        endpoint: "http://localhost".to_owned(),
        provider_model: name.to_owned(),
        is_default: false,
        context_tokens_max,
        output_tokens_max: 1_000,
        first_token_timeout_ms: 1_000,
        silence_timeout_ms: 1_000,
        compaction_threshold_percent: percent,
    }
}

impl World {
    async fn put_models(&self) -> [ModelRow; 3] {
        let models =
            [model("large", 500_000, None), model("set", 500_000, Some(80)), model("small", 499_999, None)];
        for model in &models {
            self.store.put_model(DEFAULT_ORGANIZATION, model).await.expect("it answers");
        }
        models
    }

    async fn threshold(&self, model: &str, percent: i32) {
        let threshold = ThresholdRow { model: model.to_owned(), percent };
        let set = self.store.set_compaction_threshold(self.user, DEFAULT_ORGANIZATION, &threshold).await;
        assert!(set.expect("it answers"));
    }

    async fn settings(&self, chat: ChatId, ask: Ask) -> Option<TurnSettings> {
        self.snapshot(chat, &ask).await.turn_settings
    }
}

#[tokio::test]
async fn a_history_is_summarized_as_its_owner_says_or_the_model_or_its_size() {
    let world = world().await;
    let models = world.put_models().await;
    let percents = |settings: &TurnSettings| {
        [0, 1, 2].map(|index: usize| settings.compaction_threshold_percent(&models[index]))
    };
    let beginning = async || {
        let beginning = world.store.beginning::<Rejection>(world.user, DEFAULT_ORGANIZATION, None).await;
        beginning.expect("it answers").turn_settings
    };

    let nobody_said = percents(&beginning().await);
    world.threshold("set", 0).await;
    world.threshold("small", 100).await;
    let owner_said = beginning().await;

    assert_eq!(nobody_said, [30, 80, 70]);
    assert_eq!(percents(&owner_said), [30, 0, 100]);
    let known = BTreeMap::from([("set".to_owned(), 0), ("small".to_owned(), 100)]);
    assert_eq!(owner_said.compaction_thresholds, known);
}

#[tokio::test]
async fn a_model_that_is_not_enabled_is_none_that_chats_can_use() {
    let world = world().await;
    let [large, set, _] = world.put_models().await;

    world.execute("update models set enabled = false where name = 'small'").await;

    let usable = world.store.models(DEFAULT_ORGANIZATION).await.expect("it answers");
    assert_eq!(usable, [large, set]);
    let threshold = ThresholdRow { model: "small".to_owned(), percent: 50 };
    let refused = world.store.set_compaction_threshold(world.user, DEFAULT_ORGANIZATION, &threshold).await;
    assert!(!refused.expect("it answers"));
}

#[tokio::test]
async fn a_turns_settings_come_with_its_input_and_only_then() {
    let world = world().await;
    world.put_models().await;
    world.threshold("set", 55).await;
    let put = world.store.put_user_instructions(world.user, "Be kind.", None).await;
    put.expect("it answers");
    let mut new = world.new_chat_of("first");
    new.client_tools = vec![tool("ask")];
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    let may_lease = Ask { turn_bytes_max: Some(-1), ..Ask::default() };
    let holder = Ask { for_holder: true, ..Ask::default() };
    let expected = TurnSettings {
        client_tools: vec![tool("ask")],
        user_instructions: "Be kind.".to_owned(),
        compaction_thresholds: BTreeMap::from([("set".to_owned(), 55)]),
        debug_recording: false,
    };

    let free = [
        world.settings(chat, Ask::default()).await,
        world.settings(chat, may_lease.clone()).await,
        world.settings(chat, holder.clone()).await,
    ];
    let claim = |snapshot: &Snapshot| run(snapshot, Command::Lease(SessionId(Uuid::now_v7())));
    let claimed = leased(world.store.claim(claimable(&[]), claim).await);
    let held = [world.settings(chat, may_lease).await, world.settings(chat, holder).await];

    assert_eq!(free, [None, Some(expected.clone()), None]);
    assert_eq!(claimed.turn_settings(), Some(expected.clone()));
    assert_eq!(held, [None, Some(expected)]);
}

#[tokio::test]
async fn a_lease_that_comes_with_new_tools_brings_them() {
    let world = world().await;
    let chat = world.new_chat().await;
    let ask = Ask { turn_bytes_max: Some(1024), ..Ask::default() };
    let configure = ConfigureChat { client_tools: Some(vec![tool("look")]), ..ConfigureChat::default() };

    let configured = applied(world.transact(chat, &ask, Command::ConfigureChat(configure)).await);

    let before = configured.snapshot.turn_settings.as_ref().expect("it was asked for");
    assert_eq!(before.client_tools, []);
    assert_eq!(configured.turn_settings().expect("it was asked for").client_tools, [tool("look")]);
}

#[tokio::test]
async fn creating_a_chat_begins_with_what_the_operator_and_the_user_say() {
    let world = world().await;
    let begin = async || {
        let beginning = world.store.beginning::<Rejection>(world.user, DEFAULT_ORGANIZATION, None).await;
        beginning.expect("it answers")
    };

    let nothing = begin().await;
    let prompt = ("Be good.", false);
    let put = world.store.put_deployment_prompt(DEFAULT_ORGANIZATION, world.user, prompt, None).await;
    put.expect("it answers");
    world.store.put_user_instructions(world.user, "Be kind.", None).await.expect("it answers");
    let both = begin().await;

    assert_eq!((nothing.deployment_prompt, nothing.turn_settings), (None, TurnSettings::default()));
    let stored = both.deployment_prompt.expect("it was written");
    assert_eq!((stored.text.as_str(), stored.default_enabled), ("Be good.", false));
    assert_eq!(both.turn_settings.user_instructions, "Be kind.");
}

#[tokio::test]
async fn a_repeat_of_an_update_finds_its_own_write_and_another_writers_is_a_mismatch() {
    let world = world().await;
    let instruct = async |text: &str, expected| {
        world.store.put_user_instructions(world.user, text, expected).await.expect("it answers")
    };
    let prompt = async |text: &str, default_enabled, expected| {
        let put = world.store.put_deployment_prompt(
            DEFAULT_ORGANIZATION,
            world.user,
            (text, default_enabled),
            expected,
        );
        put.await.expect("it answers")
    };

    let first = (instruct("be short", Some(0)).await, prompt("be kind", true, Some(0)).await);
    let repeated = (instruct("be short", Some(0)).await, prompt("be kind", true, Some(0)).await);

    assert!(matches!(&first, (Put::Stored(_), Put::Stored(_))), "{first:?}");
    assert_eq!(repeated, first);
    assert_eq!(instruct("be long", Some(0)).await, Put::Mismatch { version: 1 });
    assert_eq!(prompt("be kind", false, Some(0)).await, Put::Mismatch { version: 1 });
    assert_eq!(prompt("be loud", true, Some(0)).await, Put::Mismatch { version: 1 });
    // What was asked for may be there again: not as the write that was expected.
    instruct("be long", Some(1)).await;
    instruct("be short", Some(2)).await;
    assert_eq!(instruct("be short", Some(0)).await, Put::Mismatch { version: 3 });
    assert_eq!(instruct("be short", Some(i64::MAX)).await, Put::Mismatch { version: 3 });
}

#[tokio::test]
async fn other_definitions_under_the_same_names_are_other_settings_of_a_lease() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.client_tools = vec![tool("ask")];
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    let session = world.lease(chat).await;
    let marks = async || {
        let leases = world.store.session_leases(session).await.expect("it answers");
        let read = world.snapshot(chat, &Ask::default()).await.chat.settings;
        assert_eq!(leases[0].settings, read);
        SettingsMark::of(&read)
    };
    let before = marks().await;

    world.apply(chat, world.send("more")).await;
    let sent = marks().await;
    let other = ClientTool { description: "does something else".to_owned(), ..tool("ask") };
    let configure = ConfigureChat { client_tools: Some(vec![other]), ..ConfigureChat::default() };
    world.apply(chat, Command::ConfigureChat(configure)).await;

    assert_eq!(sent, before);
    assert_ne!(marks().await, before);
}
