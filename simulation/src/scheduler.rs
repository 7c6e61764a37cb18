//! A replica's end of the session protocol, and its roster, compiled from their own files.

#[path = "../../control-plane/src/scheduler/roster.rs"]
#[allow(dead_code)] // The simulator uses a part of it.
mod roster;
#[path = "../../control-plane/src/scheduler/session/mod.rs"]
#[allow(dead_code, unused_imports)] // The simulator uses a part of it.
mod session;

pub(crate) use roster::{Renewal, Roster, Slot};
pub(crate) use session::{Action, Event, HangUp, LeaseKey, LeaseRow, Opening, SettingsMark, Timing};
