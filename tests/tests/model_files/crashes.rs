//! Files belong to no worker.

use chatplane_tests::{
    Cluster, Options, file_part,
    model_server::{Action, Gate, ModelServer, say},
    text,
};

use super::{at_rest, create, decoded, image, pdf};

#[tokio::test]
async fn a_worker_killed_in_mid_turn_is_replaced_by_one_that_reads_the_files_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.number {
        0 => vec![Action::text("half "), held.wait(), Action::text("and half"), Action::stop()],
        _ => say("half and half"),
    })
    .await;
    let mut cluster =
        Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let picture = client.upload("a.png", &image()).await.expect("the file is stored");
    let document = client.upload("b.pdf", &pdf()).await.expect("the file is stored");
    let chat = create(&mut client, vec![text("Go."), file_part(&picture), file_part(&document)]).await;
    gate.reached().await;

    cluster.add_worker();
    cluster.workers[0].kill();
    at_rest(&mut client, &chat).await;

    let requests = model.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].bytes, requests[0].bytes);
    let blocks = &requests[1].messages()[0]["content"];
    assert_eq!(decoded(&blocks[2]["source"]["data"]), image());
    assert_eq!(decoded(&blocks[3]["source"]["data"]), pdf());
}
