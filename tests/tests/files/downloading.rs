//! Reading files, whole and in ranges.

use chatplane_proto::chat::v1::{DownloadFileRequest, File, GetFileRequest, download_file_response::Piece};
use chatplane_tests::Client;
use tonic::{Code, Status};

use crate::{cluster, field, reason};

/// What a file is, and bytes of it in their pieces.
async fn download(
    client: &mut Client,
    id: &str,
    offset: i64,
    length: i64,
) -> Result<(File, Vec<Vec<u8>>), Status> {
    let request = DownloadFileRequest { file_id: id.to_owned(), offset, length };
    let mut stream = client.files.download_file(request).await?.into_inner();
    let first = stream.message().await?.and_then(|response| response.piece);
    let Some(Piece::File(file)) = first else { panic!("first comes the file") };
    let mut pieces = Vec::new();
    while let Some(response) = stream.message().await? {
        let Some(Piece::Data(data)) = response.piece else { panic!("then come bytes") };
        pieces.push(data.to_vec());
    }
    Ok((file, pieces))
}

/// Bytes of a file.
pub(crate) async fn content_of(client: &mut Client, id: &str, offset: i64, length: i64) -> Vec<u8> {
    download(client, id, offset, length).await.expect("it can be read").1.concat()
}

#[tokio::test]
async fn any_range_of_a_file_can_be_read() {
    let (_cluster, mut client) = cluster().await;
    let content: Vec<u8> = (0..200_000_u32).flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let file = client.upload("lines.txt", &content).await.expect("it is stored");
    let size = file.size_bytes;
    let piece = 256 * 1024;

    for (offset, length) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (17, 1000),
        (piece - 1, 2),
        (piece, piece),
        (0, size),
        (0, size + 1),
        (size - 1, 0),
        (size - 1, 5),
        (size, 0),
        (size, 1),
        (5, i64::MAX),
    ] {
        let (found, pieces) = download(&mut client, &file.file_id, offset, length).await.expect("it is read");

        let end = if length == 0 { size } else { size.min(offset.saturating_add(length)) };
        let expected = &content[usize::try_from(offset).unwrap()..usize::try_from(end).unwrap()];
        assert_eq!(found, file);
        assert!(pieces.concat() == expected, "{offset} and {length}");
        assert!(pieces.iter().all(|data| (1..=256 * 1024).contains(&data.len())));
    }
}

#[tokio::test]
async fn a_range_that_is_none_is_refused() {
    let (_cluster, mut client) = cluster().await;
    let file = client.upload("a", b"12345").await.expect("it is stored");
    let empty = client.upload("empty", b"").await.expect("it is stored");

    for (id, offset, length, expected) in [
        (file.file_id.as_str(), 6, 0, "offset"),
        (&file.file_id, -1, 0, "offset"),
        (&file.file_id, i64::MAX, i64::MAX, "offset"),
        (&file.file_id, 0, -1, "length"),
        (&empty.file_id, 1, 0, "offset"),
        ("nonsense", 0, 0, "file_id"),
        ("", 0, 0, "file_id"),
    ] {
        let refused = download(&mut client, id, offset, length).await.expect_err(expected);
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", expected));
    }
    assert_eq!(content_of(&mut client, &empty.file_id, 0, 0).await, b"");
}

#[tokio::test]
async fn anothers_file_is_not_found_by_any_call() {
    let (cluster, mut client) = cluster().await;
    let file = client.upload("mine", b"mine").await.expect("it is stored");
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let mut owner = Client::new(&cluster.url(), &cluster.tokens.owner);
    let get = async |client: &mut Client, id: &str| {
        let got = client.files.get_file(GetFileRequest { file_id: id.to_owned() }).await?.into_inner();
        Ok::<_, Status>(got.file.expect("an answer has its file"))
    };

    let found = get(&mut client, &file.file_id).await.expect("it is mine");

    assert_eq!(found, file);
    let unknown = uuid::Uuid::now_v7().to_string();
    for (client, id) in [(&mut stranger, &file.file_id), (&mut owner, &file.file_id), (&mut client, &unknown)]
    {
        let refused = get(client, id).await.expect_err("it is not theirs");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
        let refused = download(client, id, 0, 0).await.expect_err("it is not theirs");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
    }
    let refused = get(&mut client, "x").await.expect_err("it is no id");
    assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "file_id"));
}
