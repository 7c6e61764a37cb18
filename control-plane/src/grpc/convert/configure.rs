//! Settings of a chat that are to change.

use std::fmt::Write as _;

use chatplane_domain::SYSTEM_PROMPT_BYTES_MAX;
use chatplane_proto::chat::v1 as proto;

use super::{chat_id, client_tools, effort, some_text, violation, workspace_id};
use crate::app::{ConfigureChat, Error, FieldViolation};

/// What `update_mask` may name.
const PATHS: [&str; 6] =
    ["model", "effort", "client_tools", "workspace_id", "system_prompt", "action_timeout_ms"];

/// The settings that the mask names; the other fields are not looked at.
pub(crate) fn configure_chat(request: proto::ConfigureChatRequest) -> Result<ConfigureChat, Error> {
    let paths = request.update_mask.unwrap_or_default().paths;
    check_paths(&paths, &PATHS)?;
    let mut configure = ConfigureChat::of(chat_id(&request.chat_id)?);
    let mut violations = Vec::new();
    let has = |path: &str| paths.iter().any(|given| given == path);
    if has("model") {
        configure.model = Some(some_text(request.model));
    }
    if has("effort") {
        configure.effort = Some(effort(request.effort)?.unwrap_or_default());
    }
    if has("client_tools") {
        configure.client_tools = Some(client_tools::declared(request.client_tools, &mut violations));
    }
    if has("workspace_id") {
        configure.workspace = Some(workspace_id(&request.workspace_id)?);
    }
    if has("system_prompt") {
        check_prompt(&request.system_prompt, &mut violations);
        configure.system_prompt = Some(some_text(request.system_prompt));
    }
    if has("action_timeout_ms") {
        match client_tools::action_timeout(request.action_timeout_ms) {
            Ok(timeout) => configure.action_timeout = Some(timeout),
            Err(wrong) => violations.push(wrong),
        }
    }
    if violations.is_empty() { Ok(configure) } else { Err(Error::FieldInvalid(violations)) }
}

pub(super) fn check_prompt(prompt: &str, violations: &mut Vec<FieldViolation>) {
    if prompt.len() > SYSTEM_PROMPT_BYTES_MAX {
        violations.push(violation("system_prompt", format!("at most {SYSTEM_PROMPT_BYTES_MAX} bytes")));
    }
}

/// Whether a mask names something, and nothing but what there is.
pub(super) fn check_paths(paths: &[String], known: &[&str]) -> Result<(), Error> {
    let is_known = |path: &String| known.contains(&path.as_str());
    if !paths.is_empty() && paths.iter().all(is_known) {
        return Ok(());
    }
    let mut description = format!("it names one or more of {}", known.join(", "));
    if let Some(unknown) = paths.iter().find(|path| !is_known(path)) {
        let shown: String = unknown.chars().take(64).collect();
        write!(description, "; not {shown:?}").expect("writing to a String cannot fail");
    }
    Err(Error::invalid("update_mask", description))
}
