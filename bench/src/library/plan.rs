//! Which chats there are, whose, and when which turn of which was: a year of eight users.
//!
//! Rows are written in the order of the year, so that messages of chats that ran at the same time lie beside
//! each other, and the texts of one time are filed under one bucket, as replicas do it.

use uuid::{Builder, Uuid};

use super::random::{Random, Zipf};

/// Shares of the owners, in percent: the first has the most.
pub(super) const OWNER_PERCENTS: [usize; 8] = [30, 20, 15, 12, 10, 7, 4, 2];
/// The owner with the most chats, the one with as many pins as there may be, and the one with the fewest.
pub(crate) const LARGEST: usize = 0;
pub(crate) const PINNING: usize = 1;
pub(crate) const SMALLEST: usize = 7;
/// Messages of a turn: what the user wrote, a call of a tool, its result, and the answer.
pub(super) const TURN_MESSAGES: u32 = 4;
/// Those of them that have words that are found.
const TURN_TEXTS: u64 = 3;
/// Workspaces of an owner.
pub(super) const WORKSPACES: usize = 20;
/// Models with their shares, per mille.
pub(crate) const MODELS: [(&str, usize); 4] =
    [("bench", 600), ("bench-large", 300), ("bench-small", 95), ("bench-rare", 5)];
/// Projects that chats are labelled with, the first the most often.
const PROJECTS: u32 = 200;
/// Pins of the largest owner, and of the one who pins all that may be.
const PINS: [i32; 2] = [10, 100];
/// Messages that have a word of their own, at most; all of the largest owner.
const NEEDLES_MAX: usize = 64;
/// How long the data took to come about.
const SPAN_MICROS: i64 = 365 * 24 * 3600 * 1_000_000;
/// From a turn to the next one of its chat: four hours on average.
const TURN_EVERY_MICROS: i64 = SPAN_MICROS / 2_000;

/// A chat.
#[derive(Debug)]
pub(super) struct PlannedChat {
    pub(super) id: Uuid,
    pub(super) owner: usize,
    /// The root that it is a child of, by its number.
    pub(super) parent: Option<usize>,
    pub(super) workspace: Option<usize>,
    pub(super) model: &'static str,
    pub(super) is_archived: bool,
    pub(super) has_failed: bool,
    pub(super) has_unread: bool,
    pub(super) pin: Option<i32>,
    pub(super) labels: Vec<(&'static str, String)>,
    /// The number of the word that only its first message has.
    pub(super) needle: Option<usize>,
    pub(super) turns: u32,
    pub(super) create_micros: i64,
    pub(super) update_micros: i64,
    /// Texts that were stored before its title.
    pub(super) title_text: u64,
}

/// A turn of a chat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) micros: i64,
    /// The chat, by its number.
    pub(super) chat: usize,
    /// From 0 on, within its chat.
    pub(super) number: u32,
    /// Texts that were stored before its own.
    pub(super) text: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Plan {
    /// In the order of their creation.
    pub(super) chats: Vec<PlannedChat>,
    /// In the order of time.
    pub(super) turns: Vec<Turn>,
    /// All texts, titles among them.
    pub(super) texts: u64,
}

impl Plan {
    /// So many chats with so many turns in all, at least one each, until this moment.
    pub(super) fn new(chats: usize, turns: usize, until_micros: i64) -> Self {
        let mut random = Random::new(0);
        let from = until_micros - SPAN_MICROS;
        let mut planned = plan_chats(&mut random, chats, from);
        spread_turns(&mut random, &mut planned, turns.saturating_sub(chats));
        pin(&mut planned);
        hide_needles(&mut planned);
        let turns = plan_turns(&mut random, &planned, until_micros);
        let mut plan = Self { chats: planned, turns, texts: 0 };
        plan.count_texts();
        plan
    }

    /// Goes through the year: what was stored before, and when each chat changed last.
    fn count_texts(&mut self) {
        for turn in &mut self.turns {
            let chat = &mut self.chats[turn.chat];
            if turn.number == 0 {
                chat.title_text = self.texts;
                self.texts += 1;
            }
            chat.update_micros = turn.micros;
            turn.text = self.texts;
            self.texts += TURN_TEXTS;
        }
    }
}

fn plan_chats(random: &mut Random, count: usize, from: i64) -> Vec<PlannedChat> {
    let projects = Zipf::new(PROJECTS);
    let mut roots: [Vec<usize>; OWNER_PERCENTS.len()] = Default::default();
    let mut chats = Vec::with_capacity(count);
    let between = SPAN_MICROS / i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    for number in 0..count {
        let create_micros = from + between * i64::try_from(number).unwrap_or_default();
        let mut chat = plan_chat(random, &projects, create_micros);
        if random.happens(30) && !roots[chat.owner].is_empty() {
            chat.parent = Some(roots[chat.owner][random.below(roots[chat.owner].len())]);
        } else {
            roots[chat.owner].push(number);
        }
        chats.push(chat);
    }
    chats
}

fn plan_chat(random: &mut Random, projects: &Zipf, create_micros: i64) -> PlannedChat {
    let owner = pick(random, 100, &OWNER_PERCENTS);
    let model = MODELS[pick(random, 1000, &MODELS.map(|(_, share)| share))].0;
    let is_archived = random.happens(300);
    let mut labels = Vec::new();
    if random.happens(400) {
        labels.push(("project", format!("p{}", projects.draw(random))));
    }
    if random.happens(100) {
        labels.push(("priority", if random.happens(300) { "high" } else { "low" }.to_owned()));
    }
    if random.happens(5) {
        labels.push(("kind", "release".to_owned()));
    }
    PlannedChat {
        id: chat_id(random, create_micros),
        owner,
        parent: None,
        workspace: random.happens(500).then(|| random.below(WORKSPACES)),
        model,
        is_archived,
        has_failed: random.happens(20),
        has_unread: !is_archived && random.happens(50),
        pin: None,
        labels,
        needle: None,
        turns: 1,
        create_micros,
        update_micros: create_micros,
        title_text: 0,
    }
}

/// A UUID of version 7, as replicas make them.
fn chat_id(random: &mut Random, micros: i64) -> Uuid {
    let mut rest = [0; 10];
    rest[..8].copy_from_slice(&random.next().to_be_bytes());
    rest[8..].copy_from_slice(&random.next().to_be_bytes()[..2]);
    let millis = u64::try_from(micros / 1000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}

/// One of the shares of a sum, by chance.
fn pick(random: &mut Random, sum: usize, shares: &[usize]) -> usize {
    let drawn = random.below(sum);
    let mut end = 0;
    let found = shares.iter().position(|share| {
        end += share;
        drawn < end
    });
    found.unwrap_or_default()
}

/// Many chats are short and few are long: the longest of 100,000 has more than a thousand turns.
fn spread_turns(random: &mut Random, chats: &mut [PlannedChat], turns: usize) {
    if chats.is_empty() {
        return;
    }
    // Neighbours in the list are of one time, and long chats are of any.
    let stride = 7_919 % chats.len().max(1);
    for _ in 0..turns {
        let fraction = random.fraction();
        let rank = scaled(fraction * fraction, chats.len());
        let chat = rank.wrapping_mul(stride.max(1)) % chats.len();
        chats[chat].turns += 1;
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number"
)]
fn scaled(fraction: f64, of: usize) -> usize {
    ((fraction * of as f64) as usize).min(of.saturating_sub(1))
}

/// The last chats that may be pinned, of the two who pin.
fn pin(chats: &mut [PlannedChat]) {
    for (owner, pins) in [(LARGEST, PINS[0]), (PINNING, PINS[1])] {
        let pinnable = chats
            .iter_mut()
            .rev()
            .filter(|chat| chat.owner == owner && chat.parent.is_none() && !chat.is_archived);
        for (chat, order) in pinnable.step_by(2).zip(1..=pins) {
            chat.pin = Some(order);
        }
    }
}

/// Words that are nowhere else, all over the year.
fn hide_needles(chats: &mut [PlannedChat]) {
    let is_seen = |chat: &PlannedChat| chat.owner == LARGEST && chat.parent.is_none() && !chat.is_archived;
    let seen = chats.iter().filter(|chat| is_seen(chat)).count();
    let every = (seen / NEEDLES_MAX).max(1);
    for (number, chat) in
        chats.iter_mut().filter(|chat| is_seen(chat)).step_by(every).take(NEEDLES_MAX).enumerate()
    {
        chat.needle = Some(number);
    }
}

/// Each chat begins with a turn, and has its others by chance in the time that it lives.
fn plan_turns(random: &mut Random, chats: &[PlannedChat], until: i64) -> Vec<Turn> {
    let mut turns = Vec::new();
    for (number, chat) in chats.iter().enumerate() {
        let life = (i64::from(chat.turns) * TURN_EVERY_MICROS).min(until - chat.create_micros).max(1);
        let mut times = vec![chat.create_micros];
        times.extend((1..chat.turns).map(|_| {
            let after = usize::try_from(life).map_or(0, |life| random.below(life));
            chat.create_micros + i64::try_from(after).unwrap_or_default()
        }));
        times.sort_unstable();
        let turn = |(micros, turn)| Turn { micros, chat: number, number: turn, text: 0 };
        turns.extend(times.into_iter().zip(0..).map(turn));
    }
    turns.sort_by_key(|turn| turn.micros);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: i64 = 1_800_000_000_000_000;

    #[test]
    fn there_are_as_many_chats_and_turns_as_were_asked_for() {
        let plan = Plan::new(2_000, 10_000, UNTIL);

        assert_eq!((plan.chats.len(), plan.turns.len()), (2_000, 10_000));
        assert_eq!(plan.texts, 2_000 + 3 * 10_000);
        assert!(plan.chats.iter().any(|chat| chat.turns > 50), "some are long");
        assert!(plan.turns.is_sorted_by_key(|turn| turn.micros));
        assert!(plan.turns.is_sorted_by_key(|turn| turn.text));
        assert!(plan.chats.iter().all(|chat| (chat.create_micros..UNTIL).contains(&chat.update_micros)));
    }

    #[test]
    fn turns_of_a_chat_are_numbered_in_their_order() {
        let plan = Plan::new(50, 500, UNTIL);
        let mut next = vec![0; 50];

        for turn in &plan.turns {
            assert_eq!(turn.number, next[turn.chat]);
            next[turn.chat] += 1;
        }

        assert!(plan.chats.iter().zip(next).all(|(chat, turns)| chat.turns == turns));
    }

    #[test]
    fn what_is_looked_for_is_there_at_a_small_scale_too() {
        let plan = Plan::new(2_000, 10_000, UNTIL);
        let count = |is: &dyn Fn(&PlannedChat) -> bool| plan.chats.iter().filter(|chat| is(chat)).count();

        assert!((500..700).contains(&count(&|chat| chat.owner == LARGEST)));
        assert!(count(&|chat| chat.owner == SMALLEST) > 20);
        assert!(count(&|chat| chat.owner == PINNING && chat.pin.is_some()) > 50);
        assert_eq!(count(&|chat| chat.needle.is_some()), NEEDLES_MAX);
        for (model, _) in MODELS {
            assert!(count(&|chat| chat.owner == LARGEST && chat.model == model) > 0, "{model}");
        }
        assert!(
            plan.chats
                .iter()
                .all(|chat| chat.parent.is_none_or(|parent| plan.chats[parent].parent.is_none()))
        );
    }

    #[test]
    fn the_same_numbers_make_the_same_plan() {
        let ids = || Plan::new(100, 300, UNTIL).chats.into_iter().map(|chat| chat.id).collect::<Vec<_>>();

        assert_eq!(ids(), ids());
    }
}
