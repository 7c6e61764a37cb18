//! The worker: pulls runnable chats, calls models, runs tools and commits steps.

pub mod llm;
