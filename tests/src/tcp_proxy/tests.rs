use tokio::time::timeout;

use super::*;
use crate::wait::DEADLINE;

/// A line to a server that a test plays.
async fn line() -> (TcpProxy, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::start(Upstream::Tcp(vec![server.local_addr().unwrap()])).await;
    (proxy, server)
}

/// Both ends of a connection through the line.
async fn connection(proxy: &TcpProxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = timeout(DEADLINE, server.accept()).await.unwrap().unwrap();
    (client, server)
}

async fn told(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    timeout(DEADLINE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, words);
}

/// The connection ends, in order or not.
async fn ended(stream: &mut TcpStream) {
    let read = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_line_carries_both_directions_and_the_end() {
    let (proxy, server) = line().await;
    let (mut client, mut server) = connection(&proxy, &server).await;

    client.write_all(b"question").await.unwrap();
    told(&mut server, b"question").await;
    server.write_all(b"answer").await.unwrap();
    told(&mut client, b"answer").await;
    drop(server);

    ended(&mut client).await;
}

#[tokio::test]
async fn what_is_held_or_delayed_arrives_in_order() {
    let (proxy, server) = line().await;
    let (mut client, mut server) = connection(&proxy, &server).await;

    proxy.set(Mode::Hold);
    client.write_all(b"one ").await.unwrap();
    proxy.set(Mode::Delay(Duration::from_millis(1)));
    client.write_all(b"two").await.unwrap();

    told(&mut server, b"one two").await;
}

#[tokio::test]
async fn a_held_line_carries_nothing() {
    let (proxy, server) = line().await;
    let (mut client, server) = connection(&proxy, &server).await;
    proxy.set(Mode::Hold);

    client.write_all(b"held").await.unwrap();
    // Whatever a pump could do by now, it has had its chance to.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }

    assert_eq!(server.try_read(&mut [0; 4]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_connection_that_has_lost_something_breaks_when_the_line_works_again() {
    let (proxy, server) = line().await;
    let (mut client, mut lost) = connection(&proxy, &server).await;
    proxy.set(Mode::Swallow);
    // More than fits the pump and the sockets: that it is taken shows that it is swallowed.
    client.write_all(&vec![0; 8 * 1024 * 1024]).await.unwrap();

    proxy.set(Mode::Pass);

    ended(&mut lost).await;
    ended(&mut client).await;
    let (mut client, mut server) = connection(&proxy, &server).await;
    client.write_all(b"again").await.unwrap();
    told(&mut server, b"again").await;
}

#[tokio::test]
async fn a_line_that_refuses_breaks_old_connections_and_new_ones() {
    let (proxy, server) = line().await;
    let (mut client, mut server) = connection(&proxy, &server).await;

    proxy.set(Mode::Refuse);

    ended(&mut client).await;
    ended(&mut server).await;
    ended(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
}

#[tokio::test]
async fn a_connection_goes_to_whoever_answers() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = TcpProxy::start(Upstream::Tcp(vec![gone, server.local_addr().unwrap()])).await;

    for _ in 0..4 {
        let (mut client, mut server) = connection(&proxy, &server).await;
        client.write_all(b"here").await.unwrap();
        told(&mut server, b"here").await;
    }
}
