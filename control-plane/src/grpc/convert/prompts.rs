//! What users wrote, for recall.

use chatplane_proto::chat::v1 as proto;

use super::{chat_id, message_bound, timestamp};
use crate::{
    app::{Error, PromptPage, PromptQuery},
    limits::pages,
};

pub(crate) fn list_prompts(request: &proto::ListPromptsRequest) -> Result<PromptQuery, Error> {
    let limit = match usize::try_from(request.limit) {
        Ok(0) => pages::PROMPTS_DEFAULT,
        Ok(limit) if limit <= pages::PROMPTS_MAX => limit,
        Ok(_) | Err(_) => {
            let description = format!("it is 0 to {}", pages::PROMPTS_MAX);
            return Err(Error::invalid("limit", description));
        }
    };
    Ok(PromptQuery {
        chat: chat_id(&request.chat_id)?,
        before: message_bound("before_id", request.before_id)?,
        limit,
    })
}

pub(crate) fn prompts(page: PromptPage) -> proto::ListPromptsResponse {
    let prompts = page
        .prompts
        .into_iter()
        .map(|prompt| proto::Prompt {
            message_id: prompt.message.0,
            text: prompt.text,
            create_time: Some(timestamp(prompt.create_time)),
        })
        .collect();
    proto::ListPromptsResponse { prompts, has_more: page.has_more }
}
