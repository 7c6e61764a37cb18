//! Tool calls: what the database says of them, what the agents' journals say, and what they did.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sqlx::PgConnection;
use uuid::Uuid;

use super::SHOWN_MAX;
use crate::{model, stage::Workspace};

/// Every call of a command that was ever stored, with its workspace and what was handed in.
const CALLS: &str = "
select c.chat_id, c.message_id, c.call_index, c.workspace_id,
    (
        select p.part ->> 'arguments_json'
        from (
            select a.part, row_number() over (order by a.place) - 1 as call_index
            from jsonb_array_elements(m.content -> 'parts') with ordinality as a (part, place)
            where a.part ->> 'kind' = 'tool_call'
        ) p
        where p.call_index = c.call_index
    ),
    r.content #>> '{parts,0,output}',
    coalesce((r.content #>> '{parts,0,is_error}')::boolean, false),
    r.content #>> '{parts,0,synthetic_reason}'
from calls c
join messages m on m.chat_id = c.chat_id and m.id = c.message_id
left join messages r
    on r.chat_id = c.chat_id
    and r.role = 'tool'
    and (r.content #>> '{parts,0,call_message_id}')::bigint = c.message_id
    and (r.content #>> '{parts,0,call_index}')::bigint = c.call_index
where c.tool_name = 'execute'";

/// How the name of a file ends that an agent is writing.
const UNFINISHED: &str = ".new";

type Row = (Uuid, i64, i32, Option<Uuid>, Option<String>, Option<String>, bool, Option<String>);

/// A call of a command.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    workspace: Option<Uuid>,
    marker: String,
    result: Handed,
}

/// What was handed in as the result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Handed {
    /// It ran, and this is what it wrote.
    Output(String),
    /// It never ran.
    NeverRan(String),
    /// It may have run.
    Unknown,
}

/// What is found in a workspace.
#[derive(Clone, Debug)]
struct Found {
    workspace: Uuid,
    /// The markers of the commands that ran.
    effects: Vec<String>,
    /// The calls that its agent's journal remembers.
    journal: Vec<String>,
}

pub(super) async fn broken(connection: &mut PgConnection, workspaces: &[Workspace]) -> Vec<String> {
    let rows: Vec<Row> = sqlx::query_as(CALLS).fetch_all(connection).await.expect("the calls can be read");
    let calls: Vec<Call> = rows.into_iter().map(call).collect();
    let workspaces: Vec<Found> = workspaces.iter().map(found).collect();
    let mut wrong = wrong(&calls, &workspaces);
    wrong.truncate(SHOWN_MAX);
    wrong
}

/// What calls, effects and journals say against each other.
fn wrong(calls: &[Call], workspaces: &[Found]) -> Vec<String> {
    let by_marker: BTreeMap<&str, &Call> = calls.iter().map(|call| (call.marker.as_str(), call)).collect();
    let names: BTreeSet<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    let mut wrong = Vec::new();
    if by_marker.len() != calls.len() {
        wrong.push(format!("effects: {} calls have {} markers", calls.len(), by_marker.len()));
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for Found { workspace, effects, journal } in workspaces {
        for marker in effects {
            *left.entry(marker).or_default() += 1;
            let place = by_marker.get(marker.as_str()).and_then(|call| call.workspace);
            if place != Some(*workspace) {
                wrong.push(format!("effects: {marker} was run, and its call was stored for {place:?}"));
            }
        }
        let strange = journal.iter().filter(|name| !names.contains(name.as_str()));
        wrong.extend(strange.map(|name| format!("effects: a journal has {name}, which was never stored")));
    }
    let twice = left.iter().filter(|(_, times)| **times > 1);
    wrong.extend(twice.map(|(marker, times)| format!("effects: {marker} was run {times} times")));
    for Call { name, marker, result, .. } in calls {
        let has_run = left.contains_key(marker.as_str());
        match result {
            Handed::Output(output) if !has_run || !output.contains(&model::output_of(marker)) => {
                wrong.push(format!("effects: {name} has run: {has_run}, and its result is {output:?}"));
            }
            Handed::NeverRan(said) if has_run => {
                wrong.push(format!("effects: {name} has run, and its result is {said:?}"));
            }
            Handed::Output(_) | Handed::NeverRan(_) | Handed::Unknown => {}
        }
    }
    wrong
}

fn call(row: Row) -> Call {
    let (chat, message, index, workspace, arguments, output, is_error, synthetic) = row;
    let marker = arguments.as_deref().and_then(model::marker_of).unwrap_or_default();
    // The sentences of the control plane and of the agent for a call that nobody can have run.
    let never_ran = |said: &String| said.contains("did not run.") || said.contains("did not run:");
    let result = match output {
        Some(output) if !is_error && synthetic.is_none() => Handed::Output(output),
        Some(said) if synthetic.is_none() && never_ran(&said) => Handed::NeverRan(said),
        Some(_) | None => Handed::Unknown,
    };
    Call { name: format!("{chat}.{message}.{index}"), workspace, marker, result }
}

fn found(workspace: &Workspace) -> Found {
    let effects = fs::read_to_string(workspace.directory().join(model::EFFECTS)).unwrap_or_default();
    Found {
        workspace: workspace.id.0,
        effects: effects.lines().map(str::to_owned).collect(),
        journal: journal(workspace.state()),
    }
}

/// The calls that a journal remembers; what was only half written when the agent died it will
/// throw away.
fn journal(state: &Path) -> Vec<String> {
    let homes = fs::read_dir(state).expect("the agent's directory is there");
    let calls = homes.filter_map(Result::ok).filter_map(|home| fs::read_dir(home.path().join("calls")).ok());
    let names = calls.flatten().filter_map(Result::ok).map(|file| file.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(UNFINISHED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Uuid = Uuid::from_u128(1);

    fn call(name: &str, result: Handed) -> Call {
        Call { name: name.to_owned(), workspace: Some(HERE), marker: format!("m{name}"), result }
    }

    fn found(effects: &[&str], journal: &[&str]) -> Found {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Found { workspace: HERE, effects: owned(effects), journal: owned(journal) }
    }

    fn output(name: &str) -> Handed {
        Handed::Output(model::output_of(&format!("m{name}")))
    }

    fn never_ran() -> Handed {
        Handed::NeverRan("The tool did not run.".to_owned())
    }

    #[test]
    fn what_ran_once_or_never_is_right() {
        let calls = [
            call("a", output("a")),
            call("b", never_ran()),
            call("c", Handed::Unknown),
            call("d", Handed::Unknown),
        ];

        assert_eq!(wrong(&calls, &[found(&["ma", "mc"], &["a", "c"])]), Vec::<String>::new());
    }

    #[test]
    fn each_lie_is_found() {
        let ran = || vec![call("a", output("a"))];
        let lies = [
            ("run twice", ran(), found(&["ma", "ma"], &[])),
            ("run, never stored", ran(), found(&["ma", "mb"], &[])),
            ("remembered, never stored", ran(), found(&["ma"], &["b"])),
            ("never run, has a result", ran(), found(&[], &[])),
            ("run, was said not to have", vec![call("a", never_ran())], found(&["ma"], &[])),
            ("cut short", vec![call("a", Handed::Output("working on ma\n".to_owned()))], found(&["ma"], &[])),
            ("run elsewhere", vec![Call { workspace: None, ..call("a", output("a")) }], found(&["ma"], &[])),
            ("stored twice", vec![call("a", output("a")), call("a", output("a"))], found(&["ma"], &[])),
        ];
        for (lie, calls, found) in lies {
            assert_eq!(wrong(&calls, &[found]).len(), 1, "{lie}");
        }
    }
}
