//! What tools do to real files, and what is seen of it meanwhile.

use chatplane_tests::model_server::{ModelServer, call_tools, say};
use serde_json::json;

use crate::world::{World, model_that_calls, model_that_runs};

#[tokio::test]
async fn files_are_written_edited_and_used_in_one_conversation() {
    let model = ModelServer::start(|request| match request.number {
        0 => {
            call_tools(&[("write_file", json!({"path": "src/greet.sh", "content": "echo hello, nobody\n"}))])
        }
        1 => call_tools(&[(
            "edit_files",
            json!({"edits": [
                {"path": "src/greet.sh", "old_text": "nobody", "new_text": "world"},
                {"path": "list.txt", "old_text": "two\n", "new_text": "TWO\n"},
            ]}),
        )]),
        2 => call_tools(&[("execute", json!({"command": "sh greet.sh; exit 3", "directory": "src"}))]),
        _ => say("Done."),
    })
    .await;
    let mut world = World::start(model).await;
    world.write("list.txt", "one\ntwo\nthree\n");

    let chat = world.chat().await;
    let results = world.results(&chat).await;

    assert!(results.iter().all(|result| !result.is_error), "{results:#?}");
    let names: Vec<&str> = results.iter().map(|result| result.tool_name.as_str()).collect();
    assert_eq!(names, ["write_file", "edit_files", "execute"]);
    assert_eq!(world.read("src/greet.sh"), "echo hello, world\n");
    assert_eq!(world.read("list.txt"), "one\nTWO\nthree\n");
    let (diff, ran) = (&results[1].output, &results[2].output);
    assert!(diff.contains("-two") && diff.contains("+TWO") && diff.contains("+echo hello, world"), "{diff}");
    assert!(ran.contains("hello, world\n") && ran.contains("exit code 3"), "{ran}");
    // The model reads what the chat shows.
    let told = world.model.requests().remove(3);
    assert_eq!(told.new_tool_results()[0].1, ran);
}

#[tokio::test]
async fn edits_of_which_one_does_not_fit_change_nothing() {
    let edits = json!({"edits": [
        {"path": "one.txt", "old_text": "1", "new_text": "one"},
        {"path": "two.txt", "old_text": "3", "new_text": "three"},
    ]});
    let mut world = World::start(model_that_calls(vec![("edit_files", edits)]).await).await;
    world.write("one.txt", "1\n");
    world.write("two.txt", "2\n");

    let chat = world.chat().await;
    let result = world.result(&chat).await;

    assert!(result.is_error && result.output.contains("two.txt"), "{result:?}");
    assert_eq!((world.read("one.txt"), world.read("two.txt")), ("1\n".to_owned(), "2\n".to_owned()));
}

#[tokio::test]
async fn what_a_command_writes_is_seen_before_it_ends() {
    let command = "echo first words; while [ ! -e gate ]; do sleep 0.02; done; echo last words";
    let mut world = World::start(model_that_runs(command).await).await;
    let chat = world.chat().await;

    // The command ends only when the gate is there.
    world.seen_live(&chat, "first words").await;
    world.write("gate", "");
    let result = world.result(&chat).await;

    assert!(!result.is_error && result.output.contains("first words\nlast words\n"), "{result:?}");
}
