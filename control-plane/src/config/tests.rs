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
fn hints_go_where_a_session_is_ones_own_and_a_url_that_is_none_is_named() {
    let with = |listener: &str| {
        let mut config = config(&[]);
        config.listener_database_url = Some(listener.to_owned());
        config
    };

    assert_eq!(with("postgres://direct/test").listener_database_url(), "postgres://direct/test");
    assert_eq!(with(" ").listener_database_url(), "postgres://localhost/test");
    assert!(with("postgres://direct/test").hints().is_ok());
    let refused = with("no URL").hints().expect_err("it is refused").to_string();
    assert!(refused.contains("--listener-database-url (CHATPLANE_LISTENER_DATABASE_URL)"), "{refused}");
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

#[test]
fn the_address_for_other_replicas_is_a_url_and_an_empty_one_is_none() {
    let advertise = |address: &str| {
        let mut config = config(&[]);
        config.advertise = Some(address.to_owned());
        config.advertise()
    };

    assert_eq!(advertise(" ").expect("it is none"), None);
    assert_eq!(advertise(" https://a:1 ").expect("it is one"), Some("https://a:1".to_owned()));
    let long = format!("http://{}", "a".repeat(ADVERTISE_BYTES_MAX));
    for address in ["a:1", "ftp://a:1", "http://", &long] {
        let error = advertise(address).expect_err(address).to_string();
        assert!(error.contains("--advertise (CHATPLANE_ADVERTISE) must begin with"), "{error}");
    }
}

#[test]
fn the_authorities_of_other_replicas_are_certificates() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ca.pem");
    let authorities = || {
        let mut config = config(&[]);
        config.peer_ca_cert = Some(path.clone());
        config.peer_ca_cert()
    };

    let missing = authorities().expect_err("there is no such file").to_string();
    fs::write(&path, "no certificate").expect("it is written");
    let wrong = authorities().expect_err("it is none").to_string();
    fs::write(&path, "-----BEGIN CERTIFICATE-----").expect("it is written");

    assert!(missing.contains("check --peer-ca-cert") && wrong.contains("check --peer-ca-cert"));
    assert!(authorities().expect("it is one").is_some());
    assert!(config(&[]).peer_ca_cert().expect("there is none").is_none());
}

#[test]
fn an_address_for_other_replicas_is_a_url_with_a_host_or_none() {
    let advertise = |value: &str| {
        let mut config = config(&[]);
        config.advertise = Some(value.to_owned());
        config.advertise().map_err(|error| error.to_string())
    };

    assert_eq!(
        advertise(" https://replica-1.internal:7400 "),
        Ok(Some("https://replica-1.internal:7400".into()))
    );
    assert_eq!(advertise(" "), Ok(None));
    let too_long = format!("http://{}", "h".repeat(ADVERTISE_BYTES_MAX));
    for wrong in ["replica-1:7400", "ftp://replica-1", "http://", &too_long] {
        let error = advertise(wrong).expect_err("it is no such address");
        assert!(error.starts_with("--advertise (CHATPLANE_ADVERTISE) must begin with"), "{error}");
    }
}

#[test]
fn authorities_of_replicas_that_cannot_be_read_or_are_none_name_the_file_and_the_flag() {
    let folder = tempfile::tempdir().expect("a directory");
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    fs::write(&empty, "-----BEGIN PRIVATE KEY-----\n").expect("it is written");

    for path in [missing, empty] {
        let mut config = config(&[]);
        config.peer_ca_cert = Some(path.clone());
        let error = config.peer_ca_cert().expect_err("there is no certificate").to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("--peer-ca-cert"), "{error}");
    }
}

#[test]
fn a_pooler_needs_a_way_around_it() {
    let mut config = config(&[]);
    config.no_statement_cache = true;
    config.listener_database_url = Some(String::new());

    let error = config.hints().map(|_| ()).expect_err("hints would go through the pooler").to_string();
    assert!(error.contains("--listener-database-url"), "{error}");

    config.listener_database_url = Some("postgres://localhost/direct".to_owned());
    assert!(config.hints().is_ok());
}

#[test]
fn the_listeners_url_stands_in_for_the_databases_and_one_that_is_none_names_both_flags() {
    let mut config = config(&[]);
    assert_eq!(config.listener_database_url(), "postgres://localhost/test");
    config.listener_database_url = Some(" ".to_owned());
    assert_eq!(config.listener_database_url(), "postgres://localhost/test");
    config.listener_database_url = Some("postgres://user:secret@localhost:port/test".to_owned());

    let error = config.hints().map(|_| ()).expect_err("it is no such URL").to_string();

    assert!(error.contains("--listener-database-url") && error.contains("--database-url"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_cap_of_0_is_none() {
    let mut config = config(&[]);
    assert!(!config.caps().any());
    (config.owner_running_max, config.organization_running_max) = (2, 0);

    assert_eq!(config.caps(), Caps { owner_running_max: Some(2), organization_running_max: None });
}
