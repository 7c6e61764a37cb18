//! Lists, search, unread and watch-all among the chats of a company. What a page and a search may take is the
//! design's; a resume may take what row 12 of the budgets says; what a mark and an event of a change may, is what
//! a page may: a person sees them side by side.

use super::{Budget, Measure, Unit};

const LIST: Budget = Budget::Tail { p99: 10.0 };
const SEARCH: Budget = Budget::Tail { p99: 50.0 };
const CHANGE: Budget = Budget::Tail { p99: 10.0 };
const RESUME: Budget = Budget::Tail { p99: 50.0 };

const fn measure(id: &'static str, name: &'static str, budget: Budget) -> Measure {
    Measure { id, name, unit: Unit::Milliseconds, budget }
}

pub(crate) const FIRST_PAGE: Measure = measure("l1", "ListChats, first page", LIST);
pub(crate) const MIDDLE_PAGE: Measure = measure("l2", "ListChats, a page in the middle", LIST);
pub(crate) const PINNED_PAGE: Measure = measure("l3", "ListChats, the first five pages with 100 pins", LIST);
pub(crate) const SMALL_OWNER: Measure = measure("l4", "ListChats, first page of the smallest owner", LIST);
pub(crate) const ARCHIVED: Measure = measure("l5", "ListChats archived:true", LIST);
pub(crate) const LABEL: Measure = measure("l6", "ListChats label:, of many and of few chats", LIST);
pub(crate) const STATE: Measure = measure("l7", "ListChats state:", LIST);
pub(crate) const UNREAD: Measure = measure("l8", "ListChats has_unread:true", LIST);
pub(crate) const MODEL: Measure = measure("l9", "ListChats model:, of many and of few chats", LIST);
pub(crate) const TITLE: Measure = measure("l10", "ListChats title:, of many chats", LIST);
pub(crate) const TITLE_RARE: Measure = measure("l11", "ListChats title:, of few chats or none", LIST);
pub(crate) const WORKSPACE: Measure = measure("l12", "ListChats workspace:", LIST);
pub(crate) const CREATED: Measure =
    measure("l13", "ListChats created_before: and created_after:, a day and half a year", LIST);
pub(crate) const FILTERS: Measure = measure("l14", "ListChats, three filters", LIST);
pub(crate) const BY_WORKSPACE: Measure = measure("l15", "ListChatsByWorkspace, 20 workspaces", LIST);

pub(crate) const RARE_WORD: Measure = measure("s1", "search: a word of one message", SEARCH);
pub(crate) const NO_WORD: Measure = measure("s2", "search: a word that nobody wrote", SEARCH);
pub(crate) const COMMON_WORD: Measure = measure("s3", "search: a common word", SEARCH);
pub(crate) const COMMON_WORD_NEXT: Measure = measure("s4", "search: a common word, second page", SEARCH);
pub(crate) const BEGINNING: Measure = measure("s5", "search: two letters that words begin with", SEARCH);
pub(crate) const TWO_WORDS: Measure = measure("s6", "search: two common words", SEARCH);
pub(crate) const TWO_RARE_WORDS: Measure =
    measure("s7", "search: two words that are seldom together", SEARCH);
pub(crate) const NO_SPACES: Measure = measure("s8", "search: a text without spaces", SEARCH);
pub(crate) const WITH_LABEL: Measure = measure("s9", "search: a common word and a label", SEARCH);
pub(crate) const WITH_UNREAD: Measure = measure("s10", "search: a common word and has_unread:true", SEARCH);
pub(crate) const SMALL_OWNER_SEARCH: Measure =
    measure("s11", "search: a common word, by the smallest owner", SEARCH);

pub(crate) const MARK_READ: Measure = measure("u1", "MarkRead", CHANGE);
pub(crate) const EVENT: Measure = measure("w1", "UpdateChat → its event at a watcher of all chats", CHANGE);
pub(crate) const RESUMED: Measure =
    measure("w2", "WatchChats, resumed after 100 changes → the last one", RESUME);
