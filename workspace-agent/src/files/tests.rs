//! The tools as they are called: at the same time, and cancelled.

use std::{fs, path::Path};

use futures::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::tools::{Arguments, OutputSink};

fn files(dir: &Path) -> Files {
    Files::new(Arc::new(Root::new(dir).unwrap()))
}

fn tool(files: &Files, name: &str) -> Arc<dyn Tool> {
    let tools = files.clone().tools().into_iter().chain(files.clone().changing_tools());
    tools.into_iter().find(|tool| tool.definition().name == name).unwrap()
}

fn call(arguments: &Value, cancel: &CancellationToken) -> Call {
    let arguments = Arguments::parse(&arguments.to_string()).unwrap();
    Call { arguments, output: OutputSink::new().0, cancel: cancel.clone() }
}

#[test]
fn every_tool_is_declared_with_a_schema_and_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());

    let declared: Vec<_> = files
        .clone()
        .tools()
        .into_iter()
        .chain(files.changing_tools())
        .map(|tool| {
            let schema: Value = serde_json::from_str(tool.definition().input_schema_json).unwrap();
            assert_eq!(schema["type"], "object");
            (tool.definition().name, tool.effect())
        })
        .collect();

    assert_eq!(
        declared,
        [
            ("list_dir", Effect::Reads),
            ("read_file", Effect::Reads),
            ("write_file", Effect::Changes),
            ("edit_files", Effect::Changes)
        ]
    );
}

#[tokio::test]
async fn edits_of_one_file_by_calls_at_the_same_time_are_all_made() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (0..40).map(|number| format!("<{number}>\n")).collect();
    fs::write(dir.path().join("file"), lines).unwrap();
    let edit = tool(&files(dir.path()), "edit_files");
    let cancel = CancellationToken::new();

    let calls = (0..40).map(|number| {
        let (old, new) = (format!("<{number}>"), format!("[{number}]"));
        let edits = json!({"edits": [{"path": "file", "old_text": old, "new_text": new}]});
        edit.run(call(&edits, &cancel))
    });
    let ended = join_all(calls).await;

    assert!(ended.iter().all(|ended| !ended.is_error), "{ended:?}");
    let expected: String = (0..40).map(|number| format!("[{number}]\n")).collect();
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), expected);
}

#[tokio::test]
async fn a_file_that_many_calls_write_is_always_one_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let write = tool(&files(dir.path()), "write_file");
    let cancel = CancellationToken::new();

    let calls = (0..20).map(|number| {
        let content = number.to_string().repeat(100_000);
        write.run(call(&json!({"path": "new/file", "content": content}), &cancel))
    });
    let ended = join_all(calls).await;

    assert!(ended.iter().all(|ended| !ended.is_error), "{ended:?}");
    assert_eq!(ended.iter().filter(|ended| ended.output.contains("was created")).count(), 1);
    let content = fs::read_to_string(dir.path().join("new/file")).unwrap();
    assert!((0..20).any(|number| content == number.to_string().repeat(100_000)));
    assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_to_change_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let turn = files.change.lock().await;
    let cancel = CancellationToken::new();
    let mut waiting = tool(&files, "write_file").run(call(&json!({"path": "file", "content": ""}), &cancel));
    assert!(futures::poll!(&mut waiting).is_pending());

    cancel.cancel();

    assert_eq!(waiting.await, Ended::failed("The call was cancelled."));
    drop(turn);
    assert!(!dir.path().join("file").exists());
}

#[tokio::test]
async fn a_call_that_waits_too_long_for_its_turn_says_that_nothing_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files { wait_max: Duration::from_millis(1), ..files(dir.path()) };
    let cancel = CancellationToken::new();
    let busy = Ended::from(Error::Busy);
    assert!(busy.output.contains(&format!("{} seconds", WAIT_TIME_MAX.as_secs())));

    let turn = files.change.lock().await;
    let arguments = json!({"path": "file", "content": ""});
    assert_eq!(tool(&files, "write_file").run(call(&arguments, &cancel)).await, busy);
    drop(turn);

    let slots = files.slots.acquire_many(u32::try_from(BLOCKING_MAX).unwrap()).await.unwrap();
    for (name, arguments) in [("write_file", arguments), ("list_dir", json!({"path": "."}))] {
        assert_eq!(tool(&files, name).run(call(&arguments, &cancel)).await, busy);
    }
    drop(slots);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
