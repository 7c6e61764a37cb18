//! What the list is made of.

/// One entry of the list.
pub(crate) enum Step {
    /// A heading.
    Section(&'static str),
    /// Prose, or anything else that stands on the page as it is.
    Words(&'static str),
    /// A command and its reply.
    Call(Call),
    /// What the reader does not see.
    Behind(Hook),
}

/// What happens behind the page.
pub(crate) enum Hook {
    /// Waits until the model has come to this place of its script.
    Reached(&'static str),
    /// Lets the model go on there.
    Open(&'static str),
    /// Fills the queue of the chat that this variable names.
    FillQueue(&'static str),
}

/// A call of the API.
pub(crate) struct Call {
    /// Service and method.
    pub(crate) method: &'static str,
    /// The request: JSON, with variables of the shell.
    pub(crate) body: &'static str,
    /// What stands for the token in the command.
    pub(crate) token: &'static str,
    pub(crate) shown: Shown,
    /// The command is repeated until its reply has this text at this path.
    pub(crate) until: Option<(&'static str, &'static str)>,
    /// Variables of later commands, with their paths in the reply.
    pub(crate) keeps: Vec<(&'static str, &'static str)>,
}

/// What is shown of a reply.
pub(crate) enum Shown {
    /// What lies at these paths.
    Reply(&'static [&'static str]),
    /// The refusal.
    Refusal,
    /// These events, in this order, out of a stream that is cut after the last.
    Events(Vec<Event>),
}

/// An event of a stream.
pub(crate) struct Event {
    /// Its kind, as JSON names it.
    pub(crate) kind: &'static str,
    /// It is the first one that has this text at this path.
    pub(crate) with: Option<(&'static str, &'static str)>,
    /// Paths that are shown.
    pub(crate) paths: &'static [&'static str],
    /// A variable of later commands, with its path in the event.
    pub(crate) keep: Option<(&'static str, &'static str)>,
    /// The model goes on there once the event has come.
    pub(crate) opens: Option<&'static str>,
}

impl Call {
    /// Whether the call is made to be refused.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.shown, Shown::Refusal)
    }
}

fn request(method: &'static str, body: &'static str, shown: Shown) -> Call {
    Call { method, body, token: "$token", shown, until: None, keeps: Vec::new() }
}

/// A call that is answered.
pub(crate) fn call(method: &'static str, body: &'static str, paths: &'static [&'static str]) -> Call {
    request(method, body, Shown::Reply(paths))
}

/// A call that is refused.
pub(crate) fn refused(method: &'static str, body: &'static str) -> Call {
    request(method, body, Shown::Refusal)
}

/// A call that is answered by a stream.
pub(crate) fn streamed(method: &'static str, body: &'static str, events: Vec<Event>) -> Call {
    request(method, body, Shown::Events(events))
}

/// A chat that is watched.
pub(crate) fn watched(body: &'static str, events: Vec<Event>) -> Call {
    streamed("ChatService/WatchChat", body, events)
}

/// An event of this kind.
pub(crate) fn event(kind: &'static str, paths: &'static [&'static str]) -> Event {
    Event { kind, with: None, paths, keep: None, opens: None }
}

impl Call {
    /// The same with another token.
    pub(crate) fn with_token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    /// The same, repeated until the reply has this text at this path.
    pub(crate) fn until(self, path: &'static str, text: &'static str) -> Self {
        Self { until: Some((path, text)), ..self }
    }

    /// The same; later commands name what lies at this path of its reply.
    pub(crate) fn keep(mut self, variable: &'static str, path: &'static str) -> Self {
        self.keeps.push((variable, path));
        self
    }
}

impl Event {
    /// The first that has this text at this path.
    pub(crate) fn with(self, path: &'static str, text: &'static str) -> Self {
        Self { with: Some((path, text)), ..self }
    }

    /// The same; later commands name what lies at this path of it.
    pub(crate) fn keep(self, variable: &'static str, path: &'static str) -> Self {
        Self { keep: Some((variable, path)), ..self }
    }

    /// The same; the model goes on when it has come.
    pub(crate) fn opens(self, gate: &'static str) -> Self {
        Self { opens: Some(gate), ..self }
    }
}

impl From<Call> for Step {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}
