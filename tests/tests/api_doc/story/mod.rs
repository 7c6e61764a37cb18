//! The list that the page is made from.

mod changing;
mod debugging;
mod ending;
mod files;
mod library;
mod reading;
mod settings;
mod steering;
mod tools;

use crate::step::Step;

const INTRODUCTION: &str = include_str!("introduction.md");
const ERRORS: &str = include_str!("errors.md");

/// The whole page, but for the table of errors at its end.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = vec![Step::Words(INTRODUCTION)];
    steps.extend(reading::steps());
    steps.extend(steering::steps());
    steps.extend(changing::steps());
    steps.extend(tools::steps());
    steps.extend(files::steps());
    steps.extend(ending::steps());
    steps.extend(library::steps());
    steps.extend(settings::steps());
    steps.extend(debugging::steps());
    steps.extend([Step::Section("Errors"), Step::Words(ERRORS)]);
    steps
}
