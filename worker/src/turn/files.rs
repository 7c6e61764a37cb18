//! Files of a turn: read when a model is called, under the lease.

use bytes::Bytes;
use chatplane_domain::FileId;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::{Context, Exit, STALE_MAX, Turn};
use crate::{
    aside::computed,
    files::{self, Contents},
    link::{CallError, Holder},
    llm::{Intake, PromptMessage},
    step::Prompt,
};

/// Files that are read at a time.
const READS_MAX: usize = 4;

/// A prompt with all that its files are to the model.
pub(super) struct ReadyPrompt {
    pub(super) system: Vec<String>,
    pub(super) messages: Vec<PromptMessage>,
}

impl Turn {
    /// Reads the files of a prompt. None when something else is wanted first.
    pub(super) async fn with_files(
        &mut self,
        prompt: Prompt,
        intake: Intake,
    ) -> Result<Option<ReadyPrompt>, Exit> {
        let named = prompt.files();
        let forms = files::forms(&named, &prompt.later_files, &intake);
        let needed = files::needed(&named, &forms);
        let Some(contents) = self.contents(needed).await? else {
            return Ok(None);
        };
        let Prompt { system, messages, .. } = prompt;
        let bytes = contents.values().flatten().map(Bytes::len).sum();
        let messages = computed(bytes, move || files::pieces(messages, forms, &contents, &intake)).await;
        Ok(Some(ReadyPrompt { system, messages }))
    }

    async fn contents(&mut self, needed: Vec<(FileId, usize)>) -> Result<Option<Contents>, Exit> {
        if needed.is_empty() {
            return Ok(Some(Contents::new()));
        }
        let (context, holder) = (self.context.clone(), self.holder.clone());
        let reads = stream::iter(needed).map(|(id, bytes)| {
            let (context, holder) = (&context, &holder);
            async move { Ok((id, content(context, holder, id, bytes).await?)) }
        });
        tokio::select! {
            biased;
            _ = self.next_signal_but(None) => Ok(None),
            contents = reads.buffer_unordered(READS_MAX).try_collect() => contents.map(Some),
        }
    }
}

/// The bytes of a file, from the cache or the control plane, which is asked until it has
/// decided: a file that cannot be read now and can in a moment must not become a placeholder.
async fn content(
    context: &Context,
    holder: &Holder,
    id: FileId,
    bytes: usize,
) -> Result<Option<Bytes>, Exit> {
    if let Some(data) = context.files.get(id) {
        return Ok(Some(data));
    }
    let mut failures = 0;
    let mut stale = 0;
    loop {
        match context.client.read_file(holder, id, bytes).await {
            Ok(data) => {
                context.files.put(id, data.clone());
                return Ok(Some(data));
            }
            Err(CallError::LeaseLost) => return Err(Exit::Lost),
            Err(CallError::Unavailable { pause, .. }) => {
                failures += 1;
                sleep(context.pause_before_repeat(failures, pause)).await;
            }
            // What has changed is about to be heard down the session, and ends this wait.
            Err(CallError::Stale) if stale < STALE_MAX => {
                stale += 1;
                sleep(context.pause_before_repeat(stale, None)).await;
            }
            Err(error @ (CallError::Stale | CallError::Refused { .. })) => {
                tracing::warn!(chat_id = %holder.key.chat_id, file_id = %id, %error, "a file cannot be read");
                return Ok(None);
            }
        }
    }
}
