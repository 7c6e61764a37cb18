//! What the commands talk to: a cluster whose model has a script.

use std::collections::BTreeMap;

use chatplane_tests::{
    Client, Cluster, Options,
    model_server::{Action, Gate, ModelServer, Purpose, Request, call_tools, say},
};
use serde_json::json;
use tonic::Code;

/// Where the model waits for the page.
const GATES: [&str; 5] = ["vegetables", "calendar", "herbs", "poem", "beds"];
/// More than any queue holds.
const SENDS_MAX: usize = 1000;

/// The cluster and its model.
pub(crate) struct World {
    cluster: Cluster,
    gates: BTreeMap<&'static str, Gate>,
    _model: ModelServer,
}

impl World {
    pub(crate) async fn start() -> Self {
        let gates: BTreeMap<&str, Gate> = GATES.into_iter().map(|name| (name, Gate::new())).collect();
        let held = gates.clone();
        let model = ModelServer::start(move |request| answer(request, &held)).await;
        let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
        let cluster = Cluster::start(options).await;
        // Somebody else's chat: from here on a worker is there.
        let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
        let chat = stranger.create_chat("Hello.").await.chat_id;
        stranger.watch_to_rest(&chat).await;
        Self { cluster, gates, _model: model }
    }

    /// What a reader has set before the first command.
    pub(crate) fn variables(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("address", self.cluster.address.to_string()),
            ("token", self.cluster.tokens.user.clone()),
            ("owner_token", self.cluster.tokens.owner.clone()),
        ])
    }

    pub(crate) fn gate(&self, name: &str) -> &Gate {
        &self.gates[name]
    }

    /// Sends messages to a busy chat until its queue takes no more.
    pub(crate) async fn fill_queue(&self, chat: &str) {
        let mut client = self.cluster.client();
        for _ in 0..SENDS_MAX {
            match client.send(chat, "And what else?").await {
                Ok(_) => {}
                Err(status) if status.code() == Code::ResourceExhausted => return,
                Err(status) => panic!("the queue cannot be filled: {status}"),
            }
        }
        panic!("the queue has no end");
    }
}

/// The model's part in the story.
fn answer(request: &Request, gates: &BTreeMap<&str, Gate>) -> Vec<Action> {
    let held = |before: &str, gate: &str, after: &str| {
        vec![Action::text(before), gates[gate].wait(), Action::text(after), Action::stop()]
    };
    match request.purpose() {
        Purpose::Title => return say("A kitchen garden through the year"),
        Purpose::Summary => {
            return say("The user plans a kitchen garden: sowing by month, flowers for bees, four beds.");
        }
        Purpose::Turn => {}
    }
    if !request.new_tool_results().is_empty() {
        return say("At 9 °C the soil is warm enough for peas and spinach.");
    }
    match request.last_user_text() {
        "What can I sow in March?" => held("Peas, spinach ", "vegetables", "and radishes."),
        "And in May?" => say("Beans, courgettes and sweetcorn."),
        "Make a calendar of the whole year." => held("January: prune. ", "calendar", "March: sow peas."),
        "Leave the winter out." => say("March: sow peas. May: sow beans. September: harvest."),
        "Now the same for herbs." => held("Chives: March. ", "herbs", "Basil: May."),
        "And flowers for bees?" => say("Borage and phacelia, from April on."),
        "Write a poem about compost." => held("O heap of leaves, ", "poem", "how warm thou art."),
        "Draw a plan of the beds." => held("Bed one: ", "beds", "peas."),
        "Draw a plan of four beds." => say("Peas, beans, herbs and flowers, one bed each."),
        "Is the soil warm enough to sow?" => call_tools(&[("soil_temperature", json!({"depth_cm": 5}))]),
        "Does the list match the plan?" => say("It does: peas in bed one, beans in bed two."),
        "When do I harvest?" => say("Peas in June, beans in August."),
        _ => say("Hello."),
    }
}
