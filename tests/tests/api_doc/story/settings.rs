//! What users and owners set.

use crate::step::{Step, call, refused};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = instructions();
    steps.extend(deployment_prompt());
    steps.extend(thresholds());
    steps.extend(retention());
    steps
}

fn instructions() -> Vec<Step> {
    vec![
        Step::Section("Settings"),
        Step::Words(
            "What you want every agent to know that works for you; chats use it from their next turn on.",
        ),
        call(
            "SettingsService/UpdateUserInstructions",
            r#"{"text": "I garden in a cold valley. Answer in metric units."}"#,
            &["userInstructions.text", "userInstructions.version"],
        )
        .keep("version", "userInstructions.version")
        .into(),
        call(
            "SettingsService/GetUserInstructions",
            "{}",
            &["userInstructions.text", "userInstructions.version", "userInstructions.updateTime"],
        )
        .into(),
        Step::Words(
            "`expectedVersion` keeps two editors from overwriting each other: the one that comes second hears of it.",
        ),
        call(
            "SettingsService/UpdateUserInstructions",
            r#"{"text": "I garden in a cold valley.", "expectedVersion": "$version"}"#,
            &["userInstructions.text", "userInstructions.version"],
        )
        .into(),
        refused(
            "SettingsService/UpdateUserInstructions",
            r#"{"text": "I garden on a roof.", "expectedVersion": "$version"}"#,
        )
        .into(),
    ]
}

fn deployment_prompt() -> Vec<Step> {
    vec![
        Step::Words(
            "Every new chat of the organization begins with the deployment prompt: a built-in text that can be \
             switched off, and the operator's own below it. Everybody can read it.",
        ),
        call(
            "SettingsService/GetDeploymentPrompt",
            "{}",
            &["deploymentPrompt.defaultEnabled", "deploymentPrompt.defaultText"],
        )
        .into(),
        Step::Words("Owners change it, text and switch together."),
        refused(
            "SettingsService/UpdateDeploymentPrompt",
            r#"{"text": "Recommend native plants.", "defaultEnabled": true}"#,
        )
        .into(),
        call(
            "SettingsService/UpdateDeploymentPrompt",
            r#"{"text": "Recommend native plants.", "defaultEnabled": true}"#,
            &["deploymentPrompt.text", "deploymentPrompt.defaultEnabled", "deploymentPrompt.version"],
        )
        .with_token("$owner_token")
        .into(),
    ]
}

fn thresholds() -> Vec<Step> {
    vec![
        Step::Words(
            "When a history is summarized can be set for each model: percent of its context, 100 for never. Yours \
             goes before the model's own.",
        ),
        call(
            "SettingsService/SetCompactionThreshold",
            r#"{"model": "test", "percent": 80}"#,
            &["compactionThreshold"],
        )
        .into(),
        refused("SettingsService/SetCompactionThreshold", r#"{"model": "no-such-model", "percent": 80}"#)
            .into(),
        call("SettingsService/ListCompactionThresholds", "{}", &["compactionThresholds"]).into(),
        call("SettingsService/DeleteCompactionThreshold", r#"{"model": "test"}"#, &[]).into(),
    ]
}

fn retention() -> Vec<Step> {
    vec![
        Step::Words(
            "Everything is kept for ever, unless owners say otherwise: after how many days without a change a chat is \
             archived, after how many in the archive it is deleted, and when recordings are. 0 is never; a pin keeps \
             a chat out of the archive. Everybody can read the rule.",
        ),
        call(
            "SettingsService/UpdateRetention",
            r#"{"autoArchiveDays": 90, "deleteArchivedDays": 365, "deleteDebugDays": 7}"#,
            &[
                "retention.autoArchiveDays",
                "retention.deleteArchivedDays",
                "retention.deleteDebugDays",
                "retention.version",
            ],
        )
        .with_token("$owner_token")
        .into(),
        call(
            "SettingsService/GetRetention",
            "{}",
            &[
                "retention.autoArchiveDays",
                "retention.deleteArchivedDays",
                "retention.deleteDebugDays",
                "retention.version",
                "retention.updateTime",
            ],
        )
        .into(),
    ]
}
