//! Lists and searches.

use std::{ops::Range, time::Instant};

use super::{
    Figures, Floor,
    asks::{Ask, Expects},
};
use crate::{
    bench::Bench,
    client::{Client, library::Page},
    error::{Error, Result},
    library::{Facts, LARGEST, MODELS, PINNING, SMALLEST, han, needle, word},
    measure::{Measure, library as measures},
    stack::Stack,
    wait::milliseconds,
};

/// The most that a page may have, for walking to one in the middle.
const PAGE_MAX: i32 = 100;
/// Pages of one kind that take turns.
const PAGES: usize = 5;
/// Ranks of common words: from one in most texts to one in a tenth of them.
const COMMON: Range<usize> = 0..20;
/// Ranks of words that are in a hundredth of the texts, and in few titles.
const RARER: Range<usize> = 200..210;

/// Measures them all.
pub(super) async fn measure(bench: &Bench<'_>, stack: &Stack<'_>, facts: &Facts) -> Result<Vec<Figures>> {
    let of = async |owner: usize| Client::new(stack.channel().await?, &facts.owners[owner].token);
    let (mut largest, mut pinning, mut smallest) =
        (of(LARGEST).await?, of(PINNING).await?, of(SMALLEST).await?);
    let middle = middle_pages(&mut largest, facts.seen.len()).await?;
    let pinned = following_pages(&mut pinning, Page::default(), PAGES).await?;
    let mut second = Vec::with_capacity(PAGES);
    for rank in COMMON.take(PAGES) {
        second.extend(following_pages(&mut largest, search(&word(rank), ""), 2).await?.into_iter().nth(1));
    }
    let mut figures =
        vec![ask(&measures::FIRST_PAGE, vec![Page::default()]).measure(bench, &mut largest).await?];
    figures.push(ask(&measures::MIDDLE_PAGE, middle).measure(bench, &mut largest).await?);
    figures.push(ask(&measures::PINNED_PAGE, pinned).measure(bench, &mut pinning).await?);
    figures.push(ask(&measures::SMALL_OWNER, vec![Page::default()]).measure(bench, &mut smallest).await?);
    for ask in filters(facts) {
        figures.push(ask.measure(bench, &mut largest).await?);
    }
    figures.push(by_workspace(bench, &mut largest, facts).await?);
    let rare: Vec<Page> = (0..facts.needles.len()).map(|number| search(&needle(number), "")).collect();
    let rare = Ask { measure: &measures::RARE_WORD, pages: rare, expects: Expects::Only(&facts.needles) };
    figures.push(rare.measure(bench, &mut largest).await?);
    for ask in searches(second) {
        figures.push(ask.measure(bench, &mut largest).await?);
    }
    figures.push(ask(&measures::SMALL_OWNER_SEARCH, common("")).measure(bench, &mut smallest).await?);
    Ok(figures)
}

fn ask(measure: &'static Measure, pages: Vec<Page>) -> Ask<'static> {
    Ask { measure, pages, expects: Expects::Something }
}

/// Lists by filters, of the largest owner.
fn filters(facts: &Facts) -> Vec<Ask<'static>> {
    let [day, next_day] = &facts.days;
    let all = |filters: &[&str]| filters.iter().copied().map(Page::of).collect();
    let titles = |ranks: Range<usize>| ranks.map(|rank| Page::of(format!("title:{}", word(rank)))).collect();
    let models = MODELS.map(|(name, _)| Page::of(format!("model:{name}"))).to_vec();
    let workspaces = facts.owners[LARGEST].workspaces.iter();
    let workspaces =
        workspaces.take(PAGES).map(|workspace| Page::of(format!("workspace:{workspace}"))).collect();
    let created = [
        format!("created_after:{day} created_before:{next_day}"),
        format!("created_after:{day}"),
        format!("created_before:{day}"),
    ];
    vec![
        ask(&measures::ARCHIVED, all(&["archived:true"])),
        ask(
            &measures::LABEL,
            all(&["label:project=p0", "label:project=p9", "label:project=p150", "label:kind=release"]),
        ),
        ask(&measures::STATE, all(&["state:error", "state:waiting", "state:running"])),
        ask(&measures::UNREAD, all(&["has_unread:true"])),
        ask(&measures::MODEL, models),
        ask(&measures::TITLE, titles(COMMON)),
        ask(&measures::TITLE_RARE, [titles(RARER), vec![Page::of("title:qqqq")]].concat()),
        ask(&measures::WORKSPACE, workspaces),
        ask(&measures::CREATED, created.map(Page::of).to_vec()),
        ask(
            &measures::FILTERS,
            all(&[
                "label:project=p0 model:bench-large state:waiting",
                "label:priority=high has_unread:true model:bench",
            ]),
        ),
    ]
}

/// Searches of the largest owner.
fn searches(second: Vec<Page>) -> Vec<Ask<'static>> {
    let pages = |words: Vec<String>| words.iter().map(|words| search(words, "")).collect::<Vec<_>>();
    let beginnings = pages(COMMON.map(|rank| word(rank)[..2].to_owned()).collect());
    let two = pages(COMMON.map(|rank| format!("{} {}", word(rank), word(rank + 20))).collect());
    let two_rare = pages(RARER.map(|rank| format!("{} {}", word(rank), word(rank + 100))).collect());
    let han = pages((5..15).map(|rank| [han(rank), han(rank / 2)].iter().collect()).collect());
    vec![
        Ask { expects: Expects::Nothing, ..ask(&measures::NO_WORD, vec![search("qqqq", "")]) },
        ask(&measures::COMMON_WORD, common("")),
        ask(&measures::COMMON_WORD_NEXT, second),
        ask(&measures::BEGINNING, beginnings),
        ask(&measures::TWO_WORDS, two),
        ask(&measures::TWO_RARE_WORDS, two_rare),
        ask(&measures::NO_SPACES, han),
        ask(
            &measures::WITH_LABEL,
            [common("label:project=p0"), common("label:project=p9"), common("label:kind=release")].concat(),
        ),
        ask(&measures::WITH_UNREAD, common("has_unread:true")),
    ]
}

fn search(words: &str, filter: &str) -> Page {
    Page::of(format!("search:\"{words}\" {filter}"))
}

/// Searches of common words with a filter.
fn common(filter: &str) -> Vec<Page> {
    COMMON.map(|rank| search(&word(rank), filter)).collect()
}

/// Pages after as many chats as half of those that there are.
async fn middle_pages(client: &mut Client, chats: usize) -> Result<Vec<Page>> {
    let mut page = Page { size: PAGE_MAX, ..Page::default() };
    let mut passed = 0;
    while passed < chats / 2 {
        let response = client.list(&page).await?;
        passed += response.chats.len();
        if response.next_page_token.is_empty() {
            return Err(Error::wrong("a list ends before its middle"));
        }
        page.token = response.next_page_token;
    }
    page.size = 0;
    following_pages(client, page, PAGES).await
}

/// A page and those that follow it, so many at most.
async fn following_pages(client: &mut Client, first: Page, count: usize) -> Result<Vec<Page>> {
    let mut pages = vec![first];
    while pages.len() < count {
        let last = &pages[pages.len() - 1];
        let token = client.list(last).await?.next_page_token;
        if token.is_empty() {
            break;
        }
        pages.push(Page { token, ..last.clone() });
    }
    Ok(pages)
}

async fn by_workspace(bench: &Bench<'_>, client: &mut Client, facts: &Facts) -> Result<Figures> {
    let mut ms = Vec::with_capacity(bench.scale.library_events);
    let mut found = 0;
    for event in 0..bench.scale.library_warm_up + bench.scale.library_events {
        let start = Instant::now();
        found = client.latest(&facts.owners[LARGEST].workspaces).await?;
        if event >= bench.scale.library_warm_up {
            ms.push(milliseconds(start.elapsed()));
        }
    }
    match found {
        0 => Err(Error::wrong("no workspace has a chat")),
        _ => Ok(Figures { measure: &measures::BY_WORKSPACE, ms, floor: Floor::Read, notes: Vec::new() }),
    }
}
