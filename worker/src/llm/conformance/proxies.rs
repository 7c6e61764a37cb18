//! Proxies of the environment carry calls to providers, and never those to this machine.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::dialect::{DIALECTS, call};
use super::server::{OK, pieces, serve};
use crate::llm::{ModelEvent, Providers};

/// Tells the child of this test what to call.
const CHILD: &str = "CHATPLANE_TEST_PROXY_CHILD";
/// Longer than a child takes to start on a busy machine.
const CHILD_TIMEOUT: Duration = Duration::from_secs(60);

/// The environment belongs to a whole process, so that the calls are made in a child: this
/// same test once more, which finds its orders in a variable.
#[tokio::test]
async fn a_proxy_carries_calls_to_providers_and_never_those_to_this_machine() {
    if let Ok(orders) = env::var(CHILD) {
        let (name, endpoint) = orders.split_once(' ').expect("a name and an endpoint");
        return assert_answered(name, endpoint).await;
    }
    for dialect in DIALECTS {
        let stream = [OK, dialect.start, dialect.begin, dialect.end];
        let mut proxy = serve(pieces(&stream)).await;
        let elsewhere = format!("http://models.example{}", dialect.base);

        run_child(&proxy.endpoint, &format!("{} {elsewhere}", dialect.name)).await;

        let request = proxy.request.try_recv().expect("the proxy was called");
        let line = format!("POST http://models.example{} HTTP/1.1\r\n", dialect.path);
        assert!(request.starts_with(&line), "{request}");

        let proxy = serve(pieces(&stream)).await;
        let mut here = serve(pieces(&stream)).await;

        run_child(&proxy.endpoint, &format!("{} {}{}", dialect.name, here.endpoint, dialect.base)).await;

        let request = here.request.try_recv().expect("the server was called");
        assert!(request.starts_with(&format!("POST {} HTTP/1.1\r\n", dialect.path)), "{request}");
        assert!(!proxy.task.is_finished(), "nobody has called the proxy");
        proxy.task.abort();
    }
}

async fn assert_answered(name: &str, endpoint: &str) {
    let provider = Providers::default().get(name).expect("the provider is known");
    let events: Vec<ModelEvent> = provider.call(call(endpoint)).try_collect().await.expect("an answer");
    assert!(matches!(events.last(), Some(ModelEvent::Finished(_))));
}

async fn run_child(proxy: &str, orders: &str) {
    let name =
        "llm::conformance::proxies::a_proxy_carries_calls_to_providers_and_never_those_to_this_machine";
    let mut command = Command::new(env::current_exe().expect("this test has a file"));
    command.args([name, "--exact", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::piped());
    for variable in ["http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"] {
        command.env_remove(variable);
    }
    command.env("HTTP_PROXY", proxy).env(CHILD, orders).kill_on_drop(true);
    let output =
        timeout(CHILD_TIMEOUT, command.output()).await.expect("the child ends").expect("the child starts");
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
