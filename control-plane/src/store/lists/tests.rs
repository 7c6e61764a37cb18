//! Lists against a real PostgreSQL, over 50,000 messages in 1,200 chats of five owners.

mod library;
mod plans;
mod titles;
mod walks;
