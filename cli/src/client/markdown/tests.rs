use super::*;

/// What is shown, with the look of each piece in brackets: `[b:bold]`.
fn marked(spans: &[Span]) -> String {
    const NAMES: [(Style, &str); 6] = [
        (Style::BOLD, "b"),
        (Style::DIM, "d"),
        (Style::ITALIC, "i"),
        (Style::UNDERLINED, "u"),
        (Style::STRUCK, "s"),
        (Style::CODE, "c"),
    ];
    let name = |style: Style| -> String {
        NAMES.iter().filter(|(part, _)| style.and(*part) == style).map(|(_, name)| *name).collect()
    };
    let mut joined: Vec<Span> = Vec::new();
    spans.iter().for_each(|span| add(&mut joined, span.style, &span.text));
    let piece = |span: &Span| match span.style {
        Style::PLAIN => span.text.clone(),
        style => format!("[{}:{}]", name(style), span.text),
    };
    joined.iter().map(piece).collect()
}

fn rendered(text: &str) -> String {
    rendered_in(text, 100)
}

fn rendered_in(text: &str, columns: usize) -> String {
    let mut markdown = Markdown::new(columns);
    let mut shown = markdown.push(text);
    shown.extend(markdown.finish());
    marked(&shown)
}

#[test]
fn words_between_marks_get_a_look_and_lose_the_marks() {
    for (text, shown) in [
        ("**bold** and *so*", "[b:bold] and [i:so]"),
        ("__bold__ and _so_", "[b:bold] and [i:so]"),
        ("***both***, ~~gone~~", "[bi:both], [s:gone]"),
        ("`code`, ``a ` b``", "[c:code], [c:a ` b]"),
        ("**all `code` here**", "[b:all ][bc:code][b: here]"),
        ("*a **b** c*", "[i:a ][bi:b][i: c]"),
        ("see [the book](https://e.test/a_b_c)", "see [u:the book] (https://e.test/a_b_c)"),
        ("[https://e.test](https://e.test)", "[u:https://e.test]"),
        ("\\*no\\* \\a", "*no* \\a"),
        ("`**no**`", "[c:**no**]"),
    ] {
        assert_eq!(rendered(text), shown, "{text:?}");
    }
}

#[test]
fn a_mark_without_a_partner_is_text() {
    for text in [
        "2 * 3 * 4",
        "a*b and **c",
        "snake_case_name and __init__x",
        "*.rs and *.toml",
        "one ` tick",
        "a [1] and [x](not closed",
        "5 ~ 6 ~~ 7",
        "a **** b",
        "ends in \\",
        "#hash and #",
        "-5 and --flag",
        "[](empty) []",
    ] {
        assert_eq!(rendered(text), text, "{text:?}");
    }
}

#[test]
fn lines_are_what_they_begin_with() {
    let text =
        "# Title\n## Part *two*\n- one\n  * two\n+ three\n1. four\n> said **so**\n>> twice\n---\n- - -\nend";

    assert_eq!(
        rendered(text),
        format!(
            "[bu:Title]\n[b:Part ][bi:two]\n• one\n  • two\n• three\n1. four\n[d:│ ]said [b:so]\n[d:│ │ ]twice\n\
             [d:{RULE}]\n[d:{RULE}]\nend"
        )
    );
}

#[test]
fn a_block_of_code_is_shown_as_it_is() {
    let text = "```rust\nlet a = **b;\n# no title\n~~~\n```\n**b**\n~~~~\n```\n~~~~\nx";

    assert_eq!(
        rendered(text),
        "[d:```rust]\n[c:let a = **b;]\n[c:# no title]\n[c:~~~]\n[d:```]\n[b:b]\n[d:~~~~]\n[c:```]\n[d:~~~~]\nx"
    );
}

#[test]
fn a_table_gets_columns_where_it_fits() {
    let text = "| a | **long** |\n|---|:--:|\n| 1\\|2 | ü |\n\nafter";

    assert_eq!(rendered(text), "[b:a]  [d: │ ][b:long]\n[d:────┼─────]\n1|2[d: │ ]ü\n\nafter");
    assert_eq!(rendered_in(text, 5), text);
    assert_eq!(rendered("| no table\nafter"), "| no table\nafter");
    assert_eq!(rendered("|a|\n|-|\n|b|"), "[b:a]\n[d:─]\nb");
    let endless = "| x |\n|---|\n".to_owned() + &"| y |\n".repeat(TABLE_BYTES_MAX / 4);
    assert_eq!(rendered(&endless).matches('y').count(), TABLE_BYTES_MAX / 4);
}

#[test]
fn however_the_text_is_cut_the_same_is_shown() {
    let text = "# T\nSome **bold `c` x** text, _so_ [w](t).\n\n- a\n  - *b*\n```sh\nls *\n```\n> q\n---\n\
                |a|b|\n|-|-|\n|1|ü|\nend ** of \\_it\\_ ***x***";
    let whole = rendered(text);

    for length in 1..7 {
        let mut markdown = Markdown::new(100);
        let mut shown = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(length) {
            shown.extend(markdown.push(&piece.iter().collect::<String>()));
        }
        shown.extend(markdown.finish());

        assert_eq!(marked(&shown), whole, "in pieces of {length}");
    }
}

#[test]
fn text_is_shown_as_it_comes_but_for_what_marks_may_change() {
    let mut markdown = Markdown::new(100);
    let mut push = |text: &str| marked(&markdown.push(text));

    assert_eq!(push("Hel"), "Hel");
    assert_eq!(push("lo, **yo"), "lo, ");
    assert_eq!(push("u**"), "[b:you]");
    assert_eq!(push("!\n#"), "!\n");
    assert_eq!(push(" Ti"), "[bu:Ti]");
    assert_eq!(push("tle\n```"), "[bu:tle]\n");
    assert_eq!(push("\nlet"), "[d:```]\n[c:let]");
    assert_eq!(push(" *x"), "[c: *x]");
}

#[test]
fn a_mark_whose_partner_does_not_come_is_waited_for_within_a_bound() {
    let mut markdown = Markdown::new(100);
    let text = format!("*{}", "x".repeat(HELD_BYTES_MAX));

    let shown = marked(&markdown.push(&text));

    assert_eq!(shown, text);
}

#[test]
fn nothing_that_is_written_panics_or_is_held_without_a_bound() {
    let marks = ['*', '_', '`', '~', '[', ']', '(', ')', '\\', '#', '>', '|', '-', ' ', '\n', 'ü', 'a', '\t'];
    let mut state = 7_u32;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..40 {
            // A small generator is random enough to find every pair of marks.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(marks[(state >> 16) as usize % marks.len()]);
        }
        let whole = rendered(&text);
        let mut markdown = Markdown::new(100);
        let mut shown = Vec::new();
        for character in text.chars() {
            shown.extend(markdown.push(character.encode_utf8(&mut [0; 4])));
            assert!(markdown.held.len() <= HELD_BYTES_MAX + 4);
        }
        shown.extend(markdown.finish());

        let letters = |text: &str| text.chars().filter(|letter| matches!(letter, 'ü' | 'a')).count();
        assert!(letters(&marked(&shown)) >= letters(&text), "{text:?}");
        assert!(letters(&whole) >= letters(&text), "{text:?}");
    }
}
