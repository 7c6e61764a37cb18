//! Who is let in: every RPC of the contract, with every kind of token.

use std::{fmt::Write as _, path::Path};

use chatplane_proto::FILE_DESCRIPTOR_SET;
use chatplane_tests::{Cluster, Options};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

/// Paths of all RPCs of the contract, as in `/package.Service/Method`.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are well formed");
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods.sort();
    assert!(methods.len() > 20, "the contract has its services");
    methods
}

/// Calls with an empty message, and answers with what came of it.
async fn call(channel: &Channel, path: &str, authorization: Option<&str>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("the server is there");
    let mut request = Request::new(futures::stream::iter([()]));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().expect("it is ASCII"));
    }
    let path = PathAndQuery::try_from(path).expect("a method is a path");
    let response = grpc.streaming(request, path, ProstCodec::<(), ()>::default()).await?;
    let mut stream = response.into_inner();
    stream.message().await.map(|_| ())
}

fn shown(outcome: &Result<(), Status>) -> String {
    let Err(status) = outcome else {
        return "allowed".to_owned();
    };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            let info = status.get_details_error_info().expect("every refusal has a reason");
            assert_eq!(info.domain, "chatplane");
            info.reason
        }
        // It got past the door; an empty message is no more than that.
        _ => "allowed".to_owned(),
    }
}

async fn channel(cluster: &Cluster) -> Channel {
    Endpoint::from_shared(cluster.url()).expect("the URL is one").connect().await.expect("it answers")
}

#[tokio::test]
async fn every_rpc_refuses_a_missing_and_a_wrong_token() {
    let cluster = Cluster::start(Options::default()).await;
    let channel = channel(&cluster).await;
    let long = format!("Bearer {}", "x".repeat(4000));
    let user = cluster.tokens.user.clone();

    for method in methods() {
        for wrong in [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some("Bearer chatplane_user_0000".to_owned()),
            Some(format!("Basic {user}")),
            Some(user.clone()),
            Some(format!("Bearer {user}x")),
            Some(long.clone()),
        ] {
            let refused = call(&channel, &method, wrong.as_deref()).await.expect_err(&method);
            assert_eq!(refused.code(), Code::Unauthenticated, "{method} with {wrong:?}");
            assert_eq!(shown(&Err(refused)), "CREDENTIALS_INVALID");
        }
    }
}

#[tokio::test]
async fn the_permission_matrix_is_what_the_golden_file_says() {
    let cluster = Cluster::start(Options::default()).await;
    let channel = channel(&cluster).await;
    let actors = [
        ("user", &cluster.tokens.user),
        ("owner", &cluster.tokens.owner),
        ("worker", &cluster.tokens.worker),
        ("workspace_agent", &cluster.tokens.workspace_agent),
    ];

    let mut matrix = String::from("# RPC: who gets past the door. UPDATE_GOLDEN=1 writes this file anew.\n");
    for method in methods() {
        write!(matrix, "{method}").expect("a String takes it");
        for (name, token) in actors {
            let outcome = call(&channel, &method, Some(&format!("Bearer {token}"))).await;
            write!(matrix, "  {name}={}", shown(&outcome)).expect("a String takes it");
        }
        matrix.push('\n');
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("permissions.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &matrix).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(matrix, golden);
}

#[tokio::test]
async fn a_plaintext_listener_on_a_public_address_is_refused() {
    let database = chatplane_tests::Database::create().await;
    let logs = tempfile::TempDir::new().expect("a directory for logs");
    let variables = std::collections::BTreeMap::from([
        ("CHATPLANE_LISTEN", "0.0.0.0:0".to_owned()),
        ("CHATPLANE_DATABASE_URL", database.url().to_owned()),
    ]);

    let mut serve = chatplane_tests::Role::start("serve", &["serve"], &variables, logs.path());
    let code = chatplane_tests::eventually("it refuses", async || serve.exit_code()).await;

    assert_eq!(code, 3);
    assert!(serve.log().contains("--allow-plaintext"), "{}", serve.log());
}
