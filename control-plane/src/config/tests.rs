use clap::Parser;

use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

/// Settings by flags alone: each flag that an environment of the machine may set is given.
fn config(flags: &[&str]) -> Config {
    let mut config = Arguments::parse_from(["serve", "--database-url", "postgres://localhost/test"]).config;
    config.model = Some("some-model".to_owned());
    (config.provider, config.anthropic_api_key, config.openai_api_key) = (None, None, None);
    config.anthropic_base_url = ANTHROPIC_BASE_URL.to_owned();
    config.openai_base_url = OPENAI_BASE_URL.to_owned();
    config.model_output_tokens = 0;
    for flag in flags {
        let (name, value) = flag.split_once('=').expect("name=value");
        match name {
            "model" => config.model = Some(value.to_owned()),
            "provider" => config.provider = Some(value.to_owned()),
            "anthropic-key" => config.anthropic_api_key = Some(value.to_owned()),
            "openai-key" => config.openai_api_key = Some(value.to_owned()),
            "anthropic-url" => config.anthropic_base_url = value.to_owned(),
            "openai-url" => config.openai_base_url = value.to_owned(),
            "output-tokens" => config.model_output_tokens = value.parse().expect("a number"),
            other => panic!("{other} is no setting"),
        }
    }
    config
}

fn row(flags: &[&str]) -> ModelRow {
    config(flags).model().expect("the settings can be used").expect("a model is named")
}

#[test]
fn the_model_belongs_to_the_provider_whose_key_is_given() {
    for (flags, provider) in [
        (&["anthropic-key=a"][..], "anthropic"),
        (&["openai-key=o"], "openai"),
        (&["openai-key=o", "anthropic-key= "], "openai"),
        (&["openai-key=o", "anthropic-key=a"], "anthropic"),
        (&["openai-key=o", "anthropic-key=a", "provider=openai"], "openai"),
        (&["openai-key=o", "provider=anthropic"], "anthropic"),
        (&["openai-key=o", "provider= "], "openai"),
        (&["provider=openai"], "openai"),
        (&[], "anthropic"),
    ] {
        let row = row(flags);
        assert_eq!((row.provider.as_str(), row.name.as_str()), (provider, "some-model"), "{flags:?}");
    }
}

#[test]
fn each_provider_has_its_own_address_and_an_empty_one_is_its_default() {
    let urls = ["anthropic-url=http://a//", "openai-url= https://o/v1/ "];
    for (provider, urls, endpoint) in [
        ("anthropic", &urls[..], "http://a"),
        ("openai", &urls, "https://o/v1"),
        ("anthropic", &[], "https://api.anthropic.com"),
        ("openai", &[], "https://api.openai.com/v1"),
        ("anthropic", &["anthropic-url="], "https://api.anthropic.com"),
        ("openai", &["openai-url= "], "https://api.openai.com/v1"),
    ] {
        let provider = format!("provider={provider}");
        let flags: Vec<&str> = urls.iter().copied().chain([provider.as_str()]).collect();
        assert_eq!(row(&flags).endpoint, endpoint, "{flags:?}");
    }
}

#[test]
fn an_answer_has_no_bound_of_ours_where_a_provider_can_do_without() {
    for (flags, tokens) in [
        (&["provider=anthropic"][..], 32_000),
        (&["provider=openai"], i64::MAX),
        (&["provider=anthropic", "output-tokens=100"], 100),
        (&["provider=openai", "output-tokens=32000"], 32_000),
    ] {
        assert_eq!(row(flags).output_tokens_max, tokens, "{flags:?}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_naming_flag_and_variable() {
    for (flags, words) in [
        (
            &["provider=other"][..],
            "--provider (CHATPLANE_PROVIDER) must be anthropic or openai, not \"other\"",
        ),
        (&["provider=other", "model="], "--provider (CHATPLANE_PROVIDER)"),
        (&["anthropic-url=api.anthropic.com"], "--anthropic-base-url (ANTHROPIC_BASE_URL) must begin with"),
        (&["openai-key=o", "openai-url=file:///v1"], "--openai-base-url (OPENAI_BASE_URL) must begin with"),
        (&["openai-key=o", "openai-url=https://"], "--openai-base-url (OPENAI_BASE_URL) must begin with"),
    ] {
        let error = config(flags).model().expect_err("the settings cannot be used").to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_address_that_no_model_uses_is_not_looked_at() {
    assert_eq!(row(&["anthropic-key=a", "openai-url=nonsense"]).provider, "anthropic");
    assert!(config(&["model= ", "anthropic-url=nonsense"]).model().expect("nothing is wrong").is_none());
}

#[test]
fn every_key_that_is_given_becomes_a_credential() {
    let both = config(&["anthropic-key= a\n", "openai-key=o"]).credentials();
    assert_eq!((both.key("anthropic"), both.key("openai"), both.key("other")), (Some("a"), Some("o"), None));

    let one = config(&["anthropic-key=", "openai-key=o"]).credentials();
    assert_eq!((one.key("anthropic"), one.key("openai")), (None, Some("o")));
}

#[test]
fn no_secret_is_shown_when_settings_are_printed() {
    let config = config(&["anthropic-key=sk-a", "openai-key=sk-o", "openai-url=https://u:sk-p@host/v1"]);
    let printed = format!("{config:?} {:?}", config.credentials());
    assert!(!printed.contains("sk-"), "{printed}");
}

#[test]
fn titles_are_written_by_the_chats_own_model_unless_the_operator_says_otherwise() {
    let titles = |flags: &[&str]| {
        let flags = [&["serve", "--database-url", "postgres://localhost/test"], flags].concat();
        let TitleSettings { generate, model } = Arguments::parse_from(flags).config.titles();
        (generate, model)
    };

    assert_eq!(titles(&["--generate-titles", "true", "--title-model", " "]), (true, None));
    assert_eq!(
        titles(&["--generate-titles", "false", "--title-model", "small"]),
        (false, Some("small".to_owned()))
    );
    let unsaid = Arguments::try_parse_from(["serve", "--database-url", "x", "--generate-titles", "perhaps"]);
    assert!(unsaid.is_err());
}
