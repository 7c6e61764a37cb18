//! Pages that are asked for again and again, one after the other.

use std::time::Instant;

use super::{Figures, Floor};
use crate::{
    bench::Bench,
    client::{Client, library::Page},
    error::{Error, Result},
    measure::Measure,
    report::table::number,
    wait::milliseconds,
};

/// What must be found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expects<'a> {
    /// On some page a chat at least: a filter that lets nothing pass would measure something else.
    Something,
    Nothing,
    /// Of each page this chat alone.
    Only(&'a [uuid::Uuid]),
}

/// Pages that take turns, since one alone would always find its data at hand.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) measure: &'static Measure,
    pub(super) pages: Vec<Page>,
    pub(super) expects: Expects<'a>,
}

impl Ask<'_> {
    pub(super) async fn measure(self, bench: &Bench<'_>, client: &mut Client) -> Result<Figures> {
        let mut ms = Vec::with_capacity(bench.scale.library_events);
        let (mut listed, mut slowest) = (0, (0.0, ""));
        let events = self.pages.iter().enumerate().cycle();
        for (event, (number, page)) in
            events.take(bench.scale.library_warm_up + bench.scale.library_events).enumerate()
        {
            let start = Instant::now();
            let response = client.list(page).await?;
            let time = milliseconds(start.elapsed());
            self.check(number, &response.chats)?;
            listed += response.chats.len();
            if event >= bench.scale.library_warm_up {
                ms.push(time);
                slowest = if time > slowest.0 { (time, page.q.as_str()) } else { slowest };
            }
        }
        let is_something = matches!(self.expects, Expects::Something);
        if is_something && listed == 0 {
            return Err(Error::wrong(format!("{} has listed nothing", self.measure.name)));
        }
        let what = if slowest.1.is_empty() { "no filter" } else { slowest.1 };
        let note = format!("the slowest took {} ms, with {what}", number(slowest.0));
        Ok(Figures { measure: self.measure, ms, floor: Floor::Read, notes: vec![note] })
    }

    fn check(&self, number: usize, chats: &[chatplane_proto::chat::v1::ListedChat]) -> Result<()> {
        let is_expected = match self.expects {
            Expects::Something => true,
            Expects::Nothing => chats.is_empty(),
            Expects::Only(expected) => {
                let found = chats.iter().filter_map(|listed| listed.chat.as_ref());
                let found: Vec<&str> = found.map(|chat| chat.chat_id.as_str()).collect();
                expected.get(number).is_some_and(|chat| found == [chat.to_string()])
            }
        };
        match is_expected {
            true => Ok(()),
            false => {
                Err(Error::wrong(format!("{} has listed other chats than there are", self.measure.name)))
            }
        }
    }
}
