//! What a call is held against: the entries of a workspace agent's journal against the calls that are open,
//! and a call that a worker asks for against the answer in which it was committed.

use chatplane_domain::{CallId, ChatId, State, WorkspaceId};
use uuid::Uuid;

use super::{
    Error, Store,
    content::{self, unescape},
    rows::word,
};

impl Store {
    /// The state of each call's chat while the call is open in this workspace; none for every other call:
    /// those that have a result, those that nobody knows, those of another workspace.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn open_in_workspace(
        &self,
        workspace: WorkspaceId,
        calls: &[(ChatId, CallId)],
    ) -> Result<Vec<Option<State>>, Error> {
        let chats: Vec<Uuid> = calls.iter().map(|(chat, _)| chat.0).collect();
        let messages: Vec<i64> = calls.iter().map(|(_, call)| call.message.0).collect();
        let indexes: Vec<i32> = calls.iter().map(|(_, call)| call.index).collect();
        let rows = sqlx::query!(
            r#"select listed.position as "position!", c.state
               from unnest($2::uuid[], $3::bigint[], $4::integer[])
                   with ordinality as listed (chat_id, message_id, call_index, position)
               join calls o
                   on o.chat_id = listed.chat_id
                   and o.message_id = listed.message_id
                   and o.call_index = listed.call_index
               join chats c on c.chat_id = o.chat_id
               where o.workspace_id = $1
               and not o.settled"#,
            workspace.0,
            &chats,
            &messages,
            &indexes,
        )
        .fetch_all(&self.connections)
        .await?;
        let mut states = vec![None; calls.len()];
        for row in rows {
            // Positions count from 1.
            let index = usize::try_from(row.position - 1).map_err(|_| Error::RowInvalid)?;
            *states.get_mut(index).ok_or(Error::RowInvalid)? = Some(word(&row.state)?);
        }
        Ok(states)
    }

    /// The arguments with which a call was committed, which never change. Only they are read, and not the
    /// rest of the answer, which may be large; [`super::content`] is the form they are stored in.
    ///
    /// # Errors
    ///
    /// `RowInvalid` when there is no such call, or what the database says.
    pub(crate) async fn committed_arguments(&self, chat: ChatId, call: CallId) -> Result<String, Error> {
        let row = sqlx::query!(
            r#"select
                   m.content_version,
                   (
                       select parts.part ->> 'arguments_json'
                       from jsonb_array_elements(m.content -> 'parts')
                           with ordinality as parts (part, position)
                       where parts.part ->> 'kind' = 'tool_call'
                       order by parts.position
                       offset $3
                       limit 1
                   ) as arguments_json
               from messages m
               where m.chat_id = $1
               and m.id = $2"#,
            chat.0,
            call.message.0,
            i64::from(call.index),
        )
        .fetch_optional(&self.connections)
        .await?;
        let row = row.ok_or(Error::RowInvalid)?;
        content::check_version(row.content_version)?;
        row.arguments_json.map(unescape).ok_or(Error::RowInvalid)
    }
}
