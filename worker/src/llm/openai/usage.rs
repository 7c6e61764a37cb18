//! Tokens as OpenAI counts them, and as we do.

use chatplane_domain::Usage;

use super::wire::WireUsage;

/// What a stream has reported so far.
///
/// Counts grow within a call, and some servers report with every chunk, so the largest
/// count of each kind is the true one.
#[derive(Debug, Default)]
pub(super) struct Counts {
    prompt: i64,
    completion: i64,
    total: i64,
    cached: i64,
    reasoning: i64,
}

impl Counts {
    /// Takes a report.
    pub(super) fn report(&mut self, wire: &WireUsage) {
        let raise = |count: &mut i64, reported: Option<i64>| *count = (*count).max(reported.unwrap_or(0));
        raise(&mut self.prompt, wire.prompt_tokens);
        raise(&mut self.completion, wire.completion_tokens);
        raise(&mut self.total, wire.total_tokens);
        raise(
            &mut self.cached,
            wire.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens),
        );
        let details = wire.completion_tokens_details.as_ref();
        raise(&mut self.reasoning, details.and_then(|details| details.reasoning_tokens));
    }

    /// The same in our words, nothing counted twice: OpenAI's prompt includes what came
    /// from the cache, ours does not. OpenAI's completion includes the reasoning, as ours
    /// does; some servers leave it out there and count it in the total only.
    pub(super) fn usage(&self) -> Usage {
        let cached = self.cached.min(self.prompt);
        let output = self.completion.max(self.total.saturating_sub(self.prompt));
        Usage {
            input_tokens: self.prompt - cached,
            output_tokens: output,
            cache_read_tokens: cached,
            cache_write_tokens: 0,
            reasoning_tokens: self.reasoning.min(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(reports: &[serde_json::Value]) -> Usage {
        let mut counts = Counts::default();
        for report in reports {
            counts.report(&serde_json::from_value(report.clone()).unwrap());
        }
        counts.usage()
    }

    #[test]
    fn no_token_is_counted_twice() {
        let cached = json!({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 20}});
        let reasoning_apart = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 130,
            "completion_tokens_details": {"reasoning_tokens": 20}});

        let expected = Usage {
            input_tokens: 20,
            output_tokens: 30,
            cache_read_tokens: 80,
            cache_write_tokens: 0,
            reasoning_tokens: 20,
        };
        assert_eq!(usage(&[cached]), expected);
        let apart = Usage { input_tokens: 100, cache_read_tokens: 0, ..expected };
        assert_eq!(usage(&[reasoning_apart]), apart);
    }

    #[test]
    fn reports_with_every_chunk_are_not_added_up() {
        let first = json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": null});
        let last = json!({"prompt_tokens": 10, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4}});
        let zeros = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": null});
        let expected = Usage { input_tokens: 6, output_tokens: 5, cache_read_tokens: 4, ..Usage::default() };
        assert_eq!(usage(&[first, last, zeros]), expected);
    }

    #[test]
    fn counts_that_cannot_be_do_no_harm() {
        let odd = json!({"prompt_tokens": -5, "completion_tokens": 1, "total_tokens": i64::MAX,
            "prompt_tokens_details": {"cached_tokens": 9},
            "completion_tokens_details": {"reasoning_tokens": -1}});
        let usage = usage(&[odd]);
        assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens), (0, 0, 0));
    }
}
