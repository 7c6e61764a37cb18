//! Tokens as OpenAI counts them, and as we do.

use chatplane_domain::Usage;
use serde_json::Value;

/// The largest count of tokens that is believed: far above every context, and small enough
/// that no sum over the calls of an account overflows.
const TOKENS_MAX: i64 = 1_000_000_000;

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
    written: i64,
    reasoning: i64,
}

impl Counts {
    /// Takes a report. What is no count is passed over: an answer is not lost to the way in
    /// which its tokens are told.
    pub(super) fn report(&mut self, wire: &Value) {
        let raise = |count: &mut i64, reported: &Value| {
            let believed = reported.as_i64().filter(|tokens| *tokens <= TOKENS_MAX);
            *count = (*count).max(believed.unwrap_or(0));
        };
        raise(&mut self.prompt, &wire["prompt_tokens"]);
        raise(&mut self.completion, &wire["completion_tokens"]);
        raise(&mut self.total, &wire["total_tokens"]);
        raise(&mut self.cached, &wire["prompt_tokens_details"]["cached_tokens"]);
        raise(&mut self.written, &wire["prompt_tokens_details"]["cache_write_tokens"]);
        raise(&mut self.reasoning, &wire["completion_tokens_details"]["reasoning_tokens"]);
    }

    /// The same in our words, nothing counted twice: OpenAI's prompt includes what came
    /// from the cache and, at servers that tell it, what was written there; ours does not.
    /// OpenAI's completion includes the reasoning, as ours does; some servers leave it out
    /// there and count it in the total only.
    pub(super) fn usage(&self) -> Usage {
        let cached = self.cached.min(self.prompt);
        let written = self.written.min(self.prompt - cached);
        let output = self.completion.max(self.total - self.prompt);
        Usage {
            input_tokens: self.prompt - cached - written,
            output_tokens: output,
            cache_read_tokens: cached,
            cache_write_tokens: written,
            reasoning_tokens: self.reasoning.min(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(reports: &[Value]) -> Usage {
        let mut counts = Counts::default();
        for report in reports {
            counts.report(report);
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
    fn what_was_written_to_the_cache_is_no_other_input() {
        let report = |written: i64| {
            json!({"prompt_tokens": 100, "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": written}})
        };
        for (written, input_tokens, cache_write_tokens) in [(30, 10, 30), (70, 0, 40)] {
            let expected = Usage {
                input_tokens,
                output_tokens: 1,
                cache_read_tokens: 60,
                cache_write_tokens,
                reasoning_tokens: 0,
            };
            assert_eq!(usage(&[report(written)]), expected);
        }
    }

    #[test]
    fn counts_that_cannot_be_do_no_harm() {
        let odd = json!({"prompt_tokens": -5, "completion_tokens": 1, "total_tokens": i64::MAX,
            "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": TOKENS_MAX + 1},
            "completion_tokens_details": {"reasoning_tokens": -1}});
        assert_eq!(usage(&[odd]), Usage { output_tokens: 1, ..Usage::default() });

        let huge = json!({"prompt_tokens": 0, "completion_tokens": TOKENS_MAX});
        assert_eq!(usage(&[huge]), Usage { output_tokens: TOKENS_MAX, ..Usage::default() });
    }

    #[test]
    fn what_is_no_count_is_passed_over() {
        let odd = json!({"prompt_tokens": "many", "completion_tokens": 3, "total_tokens": 1e300,
            "prompt_tokens_details": 7, "completion_tokens_details": {"reasoning_tokens": [2]}});
        let others = [json!(7), json!("none"), json!([])];
        assert_eq!(usage(&[&[odd][..], &others].concat()), Usage { output_tokens: 3, ..Usage::default() });
    }
}
