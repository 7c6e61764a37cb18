//! Settings: who reads and writes them, and in which order a model gets to see them.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Action, Gate, ModelServer, call_tools, say},
    text,
};
use serde_json::json;
use sqlx::Executor as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn of(cluster: &Cluster, token: &str) -> Client {
    Client::new(&cluster.url(), token)
}

async fn prompt(client: &mut Client) -> proto::DeploymentPrompt {
    let request = proto::GetDeploymentPromptRequest {};
    let read = client.settings.get_deployment_prompt(request).await.expect("it is read").into_inner();
    read.deployment_prompt.expect("a prompt")
}

async fn set_prompt(
    client: &mut Client,
    text: &str,
    expected_version: Option<i64>,
) -> Result<proto::DeploymentPrompt, Status> {
    let request = proto::UpdateDeploymentPromptRequest {
        text: text.to_owned(),
        default_enabled: true,
        expected_version,
    };
    let stored = client.settings.update_deployment_prompt(request).await?.into_inner();
    Ok(stored.deployment_prompt.expect("a prompt"))
}

async fn instructions(client: &mut Client) -> proto::UserInstructions {
    let request = proto::GetUserInstructionsRequest {};
    let read = client.settings.get_user_instructions(request).await.expect("they are read").into_inner();
    read.user_instructions.expect("instructions")
}

async fn instruct(
    client: &mut Client,
    text: &str,
    expected_version: Option<i64>,
) -> Result<proto::UserInstructions, Status> {
    let request = proto::UpdateUserInstructionsRequest { text: text.to_owned(), expected_version };
    let stored = client.settings.update_user_instructions(request).await?.into_inner();
    Ok(stored.user_instructions.expect("instructions"))
}

async fn set_threshold(client: &mut Client, model: &str, percent: i32) -> Result<(), Status> {
    let request = proto::SetCompactionThresholdRequest { model: model.to_owned(), percent };
    let stored = client.settings.set_compaction_threshold(request).await?.into_inner();
    let expected = proto::CompactionThreshold { model: model.to_owned(), percent };
    assert_eq!(stored.compaction_threshold, Some(expected));
    Ok(())
}

async fn delete_threshold(client: &mut Client, model: &str) -> Result<(), Status> {
    let request = proto::DeleteCompactionThresholdRequest { model: model.to_owned() };
    client.settings.delete_compaction_threshold(request).await.map(|_| ())
}

async fn thresholds(
    client: &mut Client,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<(String, i32)>, String), Status> {
    let request = proto::ListCompactionThresholdsRequest { page_size, page_token: page_token.to_owned() };
    let page = client.settings.list_compaction_thresholds(request).await?.into_inner();
    let listed = page.compaction_thresholds.into_iter().map(|listed| (listed.model, listed.percent));
    Ok((listed.collect(), page.next_page_token))
}

/// Models beside `test`, of which one is not enabled.
async fn add_models(cluster: &Cluster) {
    let statement = "insert into models ( \
             organization_id, name, provider, endpoint, provider_model, context_tokens_max, \
             output_tokens_max, enabled \
         ) \
         select organization_id, model, 'anthropic', 'http://127.0.0.1:9', model, 1000, 100, model <> 'off' \
         from organizations, unnest(array['a', 'b', 'c', 'off']) as model";
    sqlx::query(statement).execute(&mut cluster.database.connection().await).await.expect("they are stored");
}

#[tokio::test]
async fn everybody_reads_the_deployment_prompt_and_only_owners_write_it() {
    let cluster = Cluster::start(Options::default()).await;
    let (mut user, mut owner) = (cluster.client(), of(&cluster, &cluster.tokens.owner));

    let first = prompt(&mut user).await;
    let refused = set_prompt(&mut user, "Mine.", None).await.expect_err("a user is no owner");
    let stored = set_prompt(&mut owner, "Grow beans.", Some(0)).await.expect("nothing was stored");

    assert_eq!((first.text.as_str(), first.default_enabled, first.version), ("", true, 0));
    assert!(!first.default_text.is_empty() && first.update_time.is_none());
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ACTION_FORBIDDEN"));
    assert_eq!((stored.text.as_str(), stored.version), ("Grow beans.", 1));
    assert!(stored.update_time.is_some());
    assert_eq!(prompt(&mut user).await, stored);
    assert_eq!(prompt(&mut owner).await.default_text, first.default_text);
}

#[tokio::test]
async fn an_update_for_another_version_is_refused_with_the_stored_one() {
    let cluster = Cluster::start(Options::default()).await;
    let mut owner = of(&cluster, &cluster.tokens.owner);
    let version = |refused: &Status| {
        assert_eq!((refused.code(), reason(refused).as_str()), (Code::Aborted, "VERSION_MISMATCH"));
        refused.get_details_error_info().expect("a reason").metadata["version"].clone()
    };

    assert_eq!(version(&set_prompt(&mut owner, "a", Some(1)).await.expect_err("nothing is stored")), "0");
    assert_eq!(version(&instruct(&mut owner, "a", Some(7)).await.expect_err("nothing is stored")), "0");
    for expected in [Some(0), Some(1), None] {
        set_prompt(&mut owner, "a", expected).await.expect("it is the stored version");
        instruct(&mut owner, "a", expected).await.expect("it is the stored version");
    }
    for wrong in [0, 2, 4] {
        assert_eq!(version(&set_prompt(&mut owner, "b", Some(wrong)).await.expect_err("it is another")), "3");
        assert_eq!(version(&instruct(&mut owner, "b", Some(wrong)).await.expect_err("it is another")), "3");
    }

    assert_eq!((prompt(&mut owner).await.text.as_str(), prompt(&mut owner).await.version), ("a", 3));
    assert_eq!(
        (instructions(&mut owner).await.text.as_str(), instructions(&mut owner).await.version),
        ("a", 3)
    );
}

#[tokio::test]
async fn texts_have_limits_that_are_said() {
    let cluster = Cluster::start(Options::default()).await;
    let mut owner = of(&cluster, &cluster.tokens.owner);
    let fits = "ä".repeat(16 * 1024);

    set_prompt(&mut owner, &fits, None).await.expect("it has 32 KiB");
    instruct(&mut owner, &fits, None).await.expect("they have 32 KiB");
    for (wrong, version) in [(format!("{fits}x"), None), ("a\0b".to_owned(), None), (String::new(), Some(-1))]
    {
        for refused in [
            set_prompt(&mut owner, &wrong, version).await.expect_err("it is refused"),
            instruct(&mut owner, &wrong, version).await.expect_err("they are refused"),
        ] {
            assert_eq!(reason(&refused), "FIELD_INVALID");
        }
    }

    assert_eq!(prompt(&mut owner).await.text, fits);
    assert_eq!(instructions(&mut owner).await.text, fits);
}

#[tokio::test]
async fn instructions_are_their_users_alone() {
    let cluster = Cluster::start(Options::default()).await;
    let (mut user, mut stranger) = (cluster.client(), of(&cluster, &cluster.tokens.stranger));

    let stored = instruct(&mut user, "Be brief.", None).await.expect("they are stored");

    assert_eq!(instructions(&mut user).await, stored);
    assert_eq!(instructions(&mut stranger).await, proto::UserInstructions::default());
}

#[tokio::test]
async fn thresholds_are_listed_by_model_page_by_page_and_are_their_users_alone() {
    let cluster = Cluster::start(Options::default()).await;
    add_models(&cluster).await;
    let (mut user, mut stranger) = (cluster.client(), of(&cluster, &cluster.tokens.stranger));
    for (model, percent) in [("test", 0), ("b", 100), ("a", 1), ("c", 50), ("b", 99)] {
        set_threshold(&mut user, model, percent).await.expect("it is stored");
    }
    set_threshold(&mut stranger, "a", 5).await.expect("it is stored");

    let (first, token) = thresholds(&mut user, 3, "").await.expect("they are listed");
    let (second, end) = thresholds(&mut user, 3, &token).await.expect("they are listed");

    let named = |listed: &[(&str, i32)]| -> Vec<(String, i32)> {
        listed.iter().map(|(model, percent)| ((*model).to_owned(), *percent)).collect()
    };
    assert_eq!((first, second), (named(&[("a", 1), ("b", 99), ("c", 50)]), named(&[("test", 0)])));
    assert_eq!(end, "");
    assert_eq!(thresholds(&mut stranger, 0, "").await.expect("they are listed").0, named(&[("a", 5)]));
    for wrong in ["nonsense", "eyJtb2RlbCI6ImEifQ"] {
        let refused = thresholds(&mut user, 0, wrong).await.expect_err("it is none of its tokens");
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }
    assert_eq!(reason(&thresholds(&mut user, -1, "").await.expect_err("a size")), "FIELD_INVALID");
}

#[tokio::test]
async fn a_threshold_is_a_percentage_for_a_model_that_is_enabled() {
    let cluster = Cluster::start(Options::default()).await;
    add_models(&cluster).await;
    let mut user = cluster.client();

    for (model, percent, expected) in [
        ("test", -1, "FIELD_INVALID"),
        ("test", 101, "FIELD_INVALID"),
        ("", 50, "FIELD_INVALID"),
        ("off", 50, "MODEL_NOT_FOUND"),
        ("other", 50, "MODEL_NOT_FOUND"),
        ("te\0st", 50, "MODEL_NOT_FOUND"),
    ] {
        let refused = set_threshold(&mut user, model, percent).await.expect_err("it is refused");
        assert_eq!(reason(&refused), expected, "{model:?} {percent}");
    }

    assert_eq!(thresholds(&mut user, 0, "").await.expect("they are listed").0, []);
}

#[tokio::test]
async fn deleting_a_threshold_twice_is_no_error_and_one_of_a_model_that_is_gone_can_be_deleted() {
    let cluster = Cluster::start(Options::default()).await;
    add_models(&cluster).await;
    let mut user = cluster.client();
    set_threshold(&mut user, "a", 5).await.expect("it is stored");
    set_threshold(&mut user, "b", 5).await.expect("it is stored");
    let gone = "delete from models where name = 'a'";
    cluster.database.connection().await.execute(gone).await.expect("it is gone");

    for model in ["a", "a", "never", "te\0st"] {
        delete_threshold(&mut user, model).await.expect("there is none now");
    }

    let refused = delete_threshold(&mut user, "").await.expect_err("no model is named");
    assert_eq!(reason(&refused), "FIELD_INVALID");
    assert_eq!(thresholds(&mut user, 0, "").await.expect("they are listed").0, [("b".to_owned(), 5)]);
}

#[tokio::test]
async fn the_start_of_a_replica_leaves_a_model_switched_off() {
    let mut cluster = Cluster::start(Options::default()).await;
    let off = "update models set enabled = false, compaction_threshold_percent = 12";
    let mut connection = cluster.database.connection().await;
    connection.execute(off).await.expect("it is switched off");

    cluster.restart_control_plane().await;

    let refused = set_threshold(&mut cluster.client(), "test", 50).await.expect_err("it is switched off");
    assert_eq!(reason(&refused), "MODEL_NOT_FOUND");
    let kept: i64 = sqlx::query_scalar("select count(*) from models where compaction_threshold_percent = 12")
        .fetch_one(&mut connection)
        .await
        .expect("it is counted");
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn system_material_reaches_the_model_in_its_order() {
    let model = ModelServer::start(|_| say("Done.")).await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let (mut client, mut owner) = (cluster.client(), of(&cluster, &cluster.tokens.owner));
    set_prompt(&mut owner, "DEPLOYMENT", None).await.expect("it is stored");
    instruct(&mut client, "INSTRUCTIONS", None).await.expect("they are stored");

    let request = proto::CreateChatRequest {
        parts: vec![text("Hello")],
        system_prompt: "CHAT".to_owned(),
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("it is created").into_inner();
    client.watch_to_rest(&created.chat.expect("a chat").chat_id).await;

    let request = model.requests().remove(0);
    let said = request.system_texts().join("\n");
    let built_in = prompt(&mut client).await.default_text;
    let workspace = "workspace \"workspace\"";
    let places: Vec<Option<usize>> = [built_in.as_str(), "DEPLOYMENT", "CHAT", workspace, "INSTRUCTIONS"]
        .into_iter()
        .map(|part| said.find(part))
        .collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}:\n{said}");
}

#[tokio::test]
async fn instructions_that_change_in_mid_turn_are_the_next_turns() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.last_user_text() {
        "Look." if request.new_tool_results().is_empty() => {
            let mut actions = vec![held.wait()];
            actions.extend(call_tools(&[("list_dir", json!({"path": "."}))]));
            actions
        }
        _ => vec![Action::text("Done."), Action::stop()],
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    instruct(&mut client, "OLD", None).await.expect("they are stored");
    let request = proto::CreateChatRequest {
        parts: vec![text("Look.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("it is created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;

    gate.reached().await;
    instruct(&mut client, "NEW", None).await.expect("they are stored");
    gate.open();
    client.watch_to_rest(&chat).await;
    client.send(&chat, "Again.").await.expect("it is sent");
    eventually("the second turn has begun", async || (model.requests().len() == 3).then_some(())).await;

    let told: Vec<bool> = model
        .requests()
        .iter()
        .map(|request| {
            let said = request.system_texts().join("\n");
            assert_ne!(said.contains("OLD"), said.contains("NEW"), "{said}");
            said.contains("NEW")
        })
        .collect();
    assert_eq!(told, [false, false, true]);
}
