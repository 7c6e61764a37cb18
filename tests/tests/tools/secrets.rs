//! What the agent has in its environment is not for what it runs.

use std::collections::BTreeMap;

use chatplane_tests::Options;

use crate::world::{World, model_that_runs};

/// Variables that hold keys and tokens on machines of all kinds.
const SECRETS: [&str; 10] = [
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "DATABASE_URL",
    "CHATPLANE_WORKER_TOKEN",
    "CHATPLANE_DATABASE_URL",
    "NPM_CONFIG__AUTHTOKEN",
    "HTTPS_PROXY",
];

#[tokio::test]
async fn a_command_that_lists_its_environment_sees_no_key_and_no_token() {
    let secret = |name: &str| format!("secret-of-{name}");
    let mut agent: BTreeMap<&'static str, String> = SECRETS.map(|name| (name, secret(name))).into();
    agent.insert("LANG", "C.UTF-8".to_owned());
    let options = Options { agent, ..Options::default() };
    let mut world = World::start_with(model_that_runs("env; export -p").await, options).await;

    let chat = world.chat().await;
    let result = world.result(&chat).await;

    assert!(!result.is_error && result.output.contains("LANG=C.UTF-8"), "{result:?}");
    let leaked: Vec<&str> = SECRETS.into_iter().filter(|name| result.output.contains(name)).collect();
    assert_eq!(leaked, [""; 0], "{}", result.output);
    for forbidden in ["secret-of", "CHATPLANE_", "TOKEN", &world.cluster.tokens.workspace_agent] {
        assert!(!result.output.contains(forbidden), "{forbidden} in {}", result.output);
    }
}
