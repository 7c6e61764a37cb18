//! `chatplane.chat.v1.SettingsService`: thin handlers, and the conversions that are theirs alone.

mod debug_recording;
mod retention;

use chatplane_proto::chat::v1::{self as proto, settings_service_server::SettingsService};
use tonic::{Request, Response, Status};

use super::{chat_service::take, convert, page_token};
use crate::{
    app::{App, DEFAULT_PROMPT, DeploymentPrompt, Error, ThresholdRow, UserInstructions},
    limits::pages,
};

/// The operator's text, and a user's: either goes to the model with every call.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// No model has a longer name.
const MODEL_NAME_BYTES_MAX: usize = 1024;

/// The handlers.
pub(crate) struct SettingsHandlers {
    app: App,
}

impl SettingsHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl SettingsService for SettingsHandlers {
    async fn get_deployment_prompt(
        &self,
        request: Request<proto::GetDeploymentPromptRequest>,
    ) -> Result<Response<proto::GetDeploymentPromptResponse>, Status> {
        let (actor, proto::GetDeploymentPromptRequest {}) = take(request)?;
        let prompt = self.app.get_deployment_prompt(&actor).await?;
        let deployment_prompt = Some(deployment_prompt(prompt));
        Ok(Response::new(proto::GetDeploymentPromptResponse { deployment_prompt }))
    }

    async fn update_deployment_prompt(
        &self,
        request: Request<proto::UpdateDeploymentPromptRequest>,
    ) -> Result<Response<proto::UpdateDeploymentPromptResponse>, Status> {
        let (actor, request) = take(request)?;
        check(&request.text, request.expected_version)?;
        let content = (request.text.as_str(), request.default_enabled);
        let prompt = self.app.update_deployment_prompt(&actor, content, request.expected_version).await?;
        let deployment_prompt = Some(deployment_prompt(prompt));
        Ok(Response::new(proto::UpdateDeploymentPromptResponse { deployment_prompt }))
    }

    async fn get_user_instructions(
        &self,
        request: Request<proto::GetUserInstructionsRequest>,
    ) -> Result<Response<proto::GetUserInstructionsResponse>, Status> {
        let (actor, proto::GetUserInstructionsRequest {}) = take(request)?;
        let instructions = self.app.get_user_instructions(&actor).await?;
        let user_instructions = Some(user_instructions(instructions));
        Ok(Response::new(proto::GetUserInstructionsResponse { user_instructions }))
    }

    async fn update_user_instructions(
        &self,
        request: Request<proto::UpdateUserInstructionsRequest>,
    ) -> Result<Response<proto::UpdateUserInstructionsResponse>, Status> {
        let (actor, request) = take(request)?;
        check(&request.text, request.expected_version)?;
        let instructions =
            self.app.update_user_instructions(&actor, &request.text, request.expected_version).await?;
        let user_instructions = Some(user_instructions(instructions));
        Ok(Response::new(proto::UpdateUserInstructionsResponse { user_instructions }))
    }

    async fn list_compaction_thresholds(
        &self,
        request: Request<proto::ListCompactionThresholdsRequest>,
    ) -> Result<Response<proto::ListCompactionThresholdsResponse>, Status> {
        let (actor, request) = take(request)?;
        let limit = convert::page_size(request.page_size, pages::CATALOG_DEFAULT, pages::CATALOG_MAX)?;
        let after = page_token::thresholds(&request.page_token)?;
        let page = self.app.list_compaction_thresholds(&actor, after.as_deref(), limit).await?;
        let next_page_token = match page.thresholds.last() {
            Some(last) if page.has_more => page_token::of_thresholds(&last.model),
            Some(_) | None => String::new(),
        };
        let compaction_thresholds = page.thresholds.into_iter().map(threshold).collect();
        Ok(Response::new(proto::ListCompactionThresholdsResponse { compaction_thresholds, next_page_token }))
    }

    async fn set_compaction_threshold(
        &self,
        request: Request<proto::SetCompactionThresholdRequest>,
    ) -> Result<Response<proto::SetCompactionThresholdResponse>, Status> {
        let (actor, proto::SetCompactionThresholdRequest { model, percent }) = take(request)?;
        if !names_a_model(&model)? {
            return Err(Error::ModelNotFound.into());
        }
        if !(0..=100).contains(&percent) {
            return Err(Error::invalid("percent", "it is 0 to 100; 100 for never").into());
        }
        let wanted = ThresholdRow { model, percent };
        self.app.set_compaction_threshold(&actor, &wanted).await?;
        let compaction_threshold = Some(threshold(wanted));
        Ok(Response::new(proto::SetCompactionThresholdResponse { compaction_threshold }))
    }

    async fn delete_compaction_threshold(
        &self,
        request: Request<proto::DeleteCompactionThresholdRequest>,
    ) -> Result<Response<proto::DeleteCompactionThresholdResponse>, Status> {
        let (actor, request) = take(request)?;
        if names_a_model(&request.model)? {
            self.app.delete_compaction_threshold(&actor, &request.model).await?;
        }
        Ok(Response::new(proto::DeleteCompactionThresholdResponse {}))
    }

    async fn get_retention(
        &self,
        request: Request<proto::GetRetentionRequest>,
    ) -> Result<Response<proto::GetRetentionResponse>, Status> {
        let (actor, proto::GetRetentionRequest {}) = take(request)?;
        Ok(Response::new(retention::get_retention(&self.app, &actor).await?))
    }

    async fn update_retention(
        &self,
        request: Request<proto::UpdateRetentionRequest>,
    ) -> Result<Response<proto::UpdateRetentionResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(retention::update_retention(&self.app, &actor, request).await?))
    }

    async fn get_debug_recording(
        &self,
        request: Request<proto::GetDebugRecordingRequest>,
    ) -> Result<Response<proto::GetDebugRecordingResponse>, Status> {
        let (actor, proto::GetDebugRecordingRequest {}) = take(request)?;
        Ok(Response::new(debug_recording::get_debug_recording(&self.app, &actor).await?))
    }

    async fn update_debug_recording(
        &self,
        request: Request<proto::UpdateDebugRecordingRequest>,
    ) -> Result<Response<proto::UpdateDebugRecordingResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(debug_recording::update_debug_recording(&self.app, &actor, request).await?))
    }
}

// From clients.

fn check(text: &str, expected_version: Option<i64>) -> Result<(), Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid("text", format!("at most {TEXT_BYTES_MAX} bytes")));
    }
    if text.contains('\0') {
        return Err(Error::invalid("text", "it has no NUL character"));
    }
    if expected_version.is_some_and(|version| version < 0) {
        return Err(Error::invalid("expected_version", "it is the version that you have read, 0 for none"));
    }
    Ok(())
}

/// Whether a model may have that name; PostgreSQL could not even compare another one.
fn names_a_model(name: &str) -> Result<bool, Error> {
    if name.is_empty() {
        return Err(Error::invalid("model", "name a model; ListModels shows those that can be used"));
    }
    Ok(name.len() <= MODEL_NAME_BYTES_MAX && !name.contains('\0'))
}

// To clients.

fn deployment_prompt(prompt: DeploymentPrompt) -> proto::DeploymentPrompt {
    proto::DeploymentPrompt {
        text: prompt.text,
        default_enabled: prompt.default_enabled,
        default_text: DEFAULT_PROMPT.to_owned(),
        version: prompt.version,
        update_time: prompt.update_time.map(convert::timestamp),
    }
}

fn user_instructions(instructions: UserInstructions) -> proto::UserInstructions {
    proto::UserInstructions {
        text: instructions.text,
        version: instructions.version,
        update_time: instructions.update_time.map(convert::timestamp),
    }
}

fn threshold(row: ThresholdRow) -> proto::CompactionThreshold {
    proto::CompactionThreshold { model: row.model, percent: row.percent }
}
