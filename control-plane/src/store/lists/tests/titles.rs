//! What the index of titles holds against what a title is compared by.

use crate::{
    limits::Limits,
    store::{Database, Store},
    testing::database,
};

#[tokio::test]
async fn letters_that_a_filter_takes_for_the_same_are_the_same_in_the_index_of_titles() {
    let store = Store::connect(Database::at(&database().await, 2, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let (mut letters, mut cases) = (Vec::new(), Vec::new());
    for letter in ('\u{1}'..=char::MAX).filter(|letter| !letter.is_ascii() || letter.is_alphabetic()) {
        for case in [letter.to_lowercase().collect::<String>(), letter.to_uppercase().collect()] {
            if case.chars().count() == 1 && case != letter.to_string() {
                letters.push(letter.to_string());
                cases.push(case);
            }
        }
    }
    assert!(letters.len() > 2500);

    let different: Vec<String> = sqlx::query_scalar(
        "select p.letter || p.of_case
        from unnest($1::text[], $2::text[]) as p (letter, of_case)
        where chat_title_fold(p.letter) <> chat_title_fold(p.of_case)",
    )
    .bind(letters)
    .bind(cases)
    .fetch_all(&store.connections)
    .await
    .expect("it answers");

    assert_eq!(different, Vec::<String>::new());
}

#[tokio::test]
async fn every_piece_of_a_title_is_found_in_the_index_of_its_owner_alone() {
    let store = Store::connect(Database::at(&database().await, 2, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let title = "It's C:\\Größe & | !(x):* \"東京\" Дом 🦀e\u{301}";
    let characters: Vec<char> = title.chars().collect();
    let mut pieces = Vec::new();
    for start in 0..characters.len() {
        for end in start + 1..=characters.len() {
            pieces.push(characters[start..end].iter().collect::<String>());
        }
    }
    let owners = ["0190000a-0000-7000-8000-00000000000a", "0190000a-0000-7000-8000-00000000000b"];

    for (asking, expected) in [(owners[0], pieces.len()), (owners[1], 0)] {
        let found: i64 = sqlx::query_scalar(
            "select count(*)
            from unnest($1::text[]) as p (piece)
            where chat_title_grams($2::uuid, $3) @@ chat_title_query($4::uuid, p.piece)",
        )
        .bind(&pieces)
        .bind(owners[0].parse::<uuid::Uuid>().expect("it is one"))
        .bind(title)
        .bind(asking.parse::<uuid::Uuid>().expect("it is one"))
        .fetch_one(&store.connections)
        .await
        .expect("it answers");
        assert_eq!(usize::try_from(found).expect("it is small"), expected);
    }
}
