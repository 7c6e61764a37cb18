//! Turns one after the other, of which each is a figure.

use crate::{
    bench::Bench,
    client::{Client, Watch},
    error::Result,
};

/// Turns of a chat before the next one, so that no history grows long.
const TURNS: usize = 20;

/// Has so many turns measured as are asked for, after those that warm up. Each is given its
/// number, and an idle chat that is watched.
pub(super) async fn one_by_one(
    bench: &Bench<'_>,
    client: &mut Client,
    mut turn: impl AsyncFnMut(&mut Client, &mut (String, Watch), u64) -> Result<f64>,
) -> Result<Vec<f64>> {
    let mut figures = Vec::with_capacity(bench.scale.events);
    let mut chat = client.idle_chat("Hello.").await?;
    for event in 0..bench.scale.warm_up + bench.scale.events {
        if event % TURNS == TURNS - 1 {
            chat = client.idle_chat("Hello.").await?;
        }
        let figure = turn(client, &mut chat, event as u64).await?;
        if event >= bench.scale.warm_up {
            figures.push(figure);
        }
    }
    Ok(figures)
}
