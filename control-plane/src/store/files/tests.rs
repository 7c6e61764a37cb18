use std::time::Duration;

use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    limits::Limits,
    store::{DEFAULT_ORGANIZATION, Database},
    testing::database,
};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn world() -> (Store, PgPool, UserId) {
    let url = database().await;
    let store = Store::connect(Database::at(&url, 4, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let user = UserId(Uuid::now_v7());
    store.create_user(user, DEFAULT_ORGANIZATION, "user", false).await.expect("the user is new");
    let pool = PgPoolOptions::new().connect(&url).await.expect("the database answers");
    (store, pool, user)
}

/// A file whose content is its name, as far as the store looks.
fn file(owner: UserId, name: &'static str, content: &'static [u8]) -> NewFile<'static> {
    let mut sha256 = [0; 32];
    sha256[..content.len()].copy_from_slice(content);
    NewFile { id: FileId(Uuid::now_v7()), owner, name, media_type: "text/plain", sha256, content }
}

const BOUNDS: FileBounds = FileBounds { files_max: 100, bytes_max: 1000 };

/// The file that was stored.
fn stored(put: Result<PutFile, Error>) -> FileView {
    match put.expect("the database does it") {
        PutFile::Stored(file) => file,
        refused => panic!("{refused:?}"),
    }
}

/// Waits until a statement of the store waits for somebody's lock.
async fn until_one_waits(pool: &PgPool) {
    let waiting = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    let waits = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.expect("it answers") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, waits).await.expect("a statement waits");
}

#[tokio::test]
async fn a_file_whose_content_goes_while_it_is_stored_is_stored_anew() {
    let (store, pool, user) = world().await;
    stored(store.put_file(&file(user, "a", b"bytes"), BOUNDS).await);
    let mut deleting = pool.begin().await.expect("it begins");
    sqlx::query("delete from files").execute(&mut *deleting).await.expect("they go");
    sqlx::query("delete from file_contents").execute(&mut *deleting).await.expect("they go");

    let storing = tokio::spawn({
        let store = store.clone();
        async move { store.put_file(&file(user, "b", b"bytes"), BOUNDS).await }
    });
    until_one_waits(&pool).await;
    deleting.commit().await.expect("it is committed");

    let stored = stored(storing.await.expect("it does not panic"));
    assert_eq!(stored.name, "b");
    let piece = store.file_piece(stored.file_id, 0, 10).await.expect("it is read");
    assert_eq!(piece.as_deref(), Some(&b"bytes"[..]));
}

#[tokio::test]
async fn a_file_that_another_stores_meanwhile_is_found() {
    let (store, pool, user) = world().await;
    let mut other = pool.begin().await.expect("it begins");
    let theirs = file(user, "a", b"bytes");
    sqlx::query("insert into file_contents (owner_id, sha256, content) values ($1, $2, $3)")
        .bind(user.0)
        .bind(&theirs.sha256[..])
        .bind(theirs.content)
        .execute(&mut *other)
        .await
        .expect("it is new");
    sqlx::query(
        "insert into files (file_id, owner_id, name, media_type, size_bytes, sha256) \
         values ($1, $2, 'a', 'text/plain', 5, $3)",
    )
    .bind(theirs.id.0)
    .bind(user.0)
    .bind(&theirs.sha256[..])
    .execute(&mut *other)
    .await
    .expect("it is new");

    let storing = tokio::spawn({
        let store = store.clone();
        async move { store.put_file(&file(user, "a", b"bytes"), BOUNDS).await }
    });
    until_one_waits(&pool).await;
    other.commit().await.expect("it is committed");

    let found = stored(storing.await.expect("it does not panic"));
    assert_eq!(found.file_id, theirs.id);
}

#[tokio::test]
async fn a_piece_is_read_without_the_rest() {
    let (store, pool, user) = world().await;
    let stored = stored(store.put_file(&file(user, "a", b"0123456789"), BOUNDS).await);

    for (offset, length, expected) in
        [(0, 3, &b"012"[..]), (3, 4, b"3456"), (8, 5, b"89"), (10, 1, b""), (0, 100, b"0123456789")]
    {
        let piece = store.file_piece(stored.file_id, offset, length).await.expect("it is read");
        assert_eq!(piece.as_deref(), Some(expected));
    }
    assert_eq!(store.file_piece(FileId(Uuid::now_v7()), 0, 1).await.expect("it answers"), None);
    // What is compressed would be read from its beginning to find a place in it.
    let storage = "select attstorage = 'e' from pg_attribute \
                   where attrelid = 'file_contents'::regclass and attname = 'content'";
    let row = sqlx::query(storage).fetch_one(&pool).await.expect("it answers");
    assert!(row.get::<bool, _>(0), "the content is stored outside its row, as it is");
}

#[tokio::test]
async fn only_its_owner_is_given_a_file_by_its_id() {
    let (store, _pool, user) = world().await;
    let stored = stored(store.put_file(&file(user, "a", b"bytes"), BOUNDS).await);
    let unknown = FileId(Uuid::now_v7());

    let mine = store.files(user, &[stored.file_id, unknown]).await.expect("it answers");
    let theirs = store.files(UserId(Uuid::now_v7()), &[stored.file_id]).await.expect("it answers");

    assert_eq!((mine, theirs), (vec![stored], Vec::new()));
}

#[tokio::test]
async fn a_file_that_is_uploaded_again_stays_as_long_as_a_new_one() {
    let (store, pool, user) = world().await;
    let age = "update files set unlink_time = now() - interval '2 days'";
    let first = stored(store.put_file(&file(user, "a", b"bytes"), BOUNDS).await);
    sqlx::query(age).execute(&pool).await.expect("the statement is right");

    let again = stored(store.put_file(&file(user, "a", b"bytes"), BOUNDS).await);
    let day = Duration::from_secs(24 * 60 * 60);
    let kept = store.sweep_files(day, 10).await.expect("it answers");
    sqlx::query(age).execute(&pool).await.expect("the statement is right");
    let swept = store.sweep_files(day, 10).await.expect("it answers");

    assert_eq!(again, first);
    assert_eq!((kept.seen, swept.deleted), (0, 1));
}

#[tokio::test]
async fn an_owner_has_no_more_files_and_bytes_than_an_owner_may_have() {
    let (store, _pool, user) = world().await;
    let bounds = FileBounds { files_max: 3, bytes_max: 10 };
    let put =
        async |name, content| store.put_file(&file(user, name, content), bounds).await.expect("it answers");
    let first = put("a", b"123456").await;

    let large = put("b", b"12345").await;
    // A content under another name, and a repeat, bring no bytes.
    let named = put("b", b"123456").await;
    let fits = put("c", b"1234").await;
    let many = put("d", b"").await;
    let renamed = put("d", b"1234").await;
    let again = put("a", b"123456").await;

    assert!(matches!((&named, &fits), (PutFile::Stored(_), PutFile::Stored(_))), "{named:?}, {fits:?}");
    assert_eq!((large, many, renamed), (PutFile::TooManyBytes, PutFile::TooManyFiles, PutFile::TooManyFiles));
    assert_eq!(again, first);
    let stranger = UserId(Uuid::now_v7());
    store.create_user(stranger, DEFAULT_ORGANIZATION, "stranger", false).await.expect("the user is new");
    let theirs = store.put_file(&file(stranger, "a", b"123456"), bounds).await.expect("it answers");
    assert!(matches!(theirs, PutFile::Stored(_)), "{theirs:?}");
}
