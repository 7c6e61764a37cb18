//! What a copy of a chat must be.

use std::collections::BTreeSet;

use chatplane_domain::{
    Body, Decision, Execution, Inserted, MessageId, Outcome, Settings, SyntheticReason, Versions,
};

use crate::database::{Database, Row};

/// Checks a copy up to `target` against its source.
pub(crate) fn check_fork(source: &Database, target: MessageId, decision: &Decision, copy: &Database) {
    let chat = &copy.chat;
    assert_eq!(chat.execution, Execution::Waiting { archived: false });
    // Its definitions were stored by its own first write.
    assert_eq!(chat.settings, Settings { client_tools_version: 1, ..source.chat.settings.clone() });
    assert_eq!(copy.tools, source.tools);
    assert_eq!(chat.system_prompt, source.chat.system_prompt);
    assert_eq!(chat.versions, Versions { snapshot: 1, history: 1, ..Versions::default() });
    assert_eq!((chat.attempt, &chat.last_lease, &chat.retry), (0, &None, &None));
    assert_eq!(chat.last_turn_summary, "");
    assert_eq!(decision.effects, [], "what runs, runs for the source");
    assert_eq!(decision.outcome, Outcome::Client { entered: Vec::new(), queued: None });

    let inserted = &decision.change.as_ref().expect("a copy is written").inserted;
    for row in inserted {
        let forked = match row {
            Inserted::New(message) => match &message.body {
                Body::Tool(result) => result.synthetic == Some(SyntheticReason::Forked),
                Body::System(_) | Body::User(_) | Body::Assistant(_) => false,
            },
            Inserted::Queued { .. } => false,
        };
        assert!(forked, "only results of open calls are new");
    }
    let newest = copy.rows.keys().last().copied();
    assert!(newest < Some(chat.next_message_id), "new rows have ids above all copied ones");

    // The same rows, with the same ids, up to the target.
    let up_to = |database: &Database| -> Vec<(MessageId, Row)> {
        let rows = database.history().filter(|(id, _)| *id <= target);
        rows.map(|(id, row)| (id, Row { revision: 0, ..row.clone() })).collect()
    };
    assert_eq!(up_to(copy), up_to(source));
    let boundaries = |database: &Database| -> BTreeSet<(MessageId, MessageId)> {
        let rows = database.live().filter_map(|(id, row)| Some((row.covers_through?, id)));
        rows.filter(|(through, _)| *through <= target).collect()
    };
    assert_eq!(boundaries(copy), boundaries(source), "a boundary is copied by what it covers");
}
