//! What every wire format must do, tested for all of them with the same tests: any history
//! becomes a request that its provider accepts, any split of a stream says the same, and
//! no server, however hostile, gets more than a typed failure.

mod anthropic_rules;
mod dialect;
mod histories;
mod hostile;
mod large;
mod openai_rules;
mod prefixes;
mod proxies;
mod server;
mod streams;
