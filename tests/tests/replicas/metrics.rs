//! What an autoscaler reads.

use std::{net::SocketAddr, time::Duration};

use chatplane_control_plane::{Caps, Limits};
use chatplane_tests::{Client, eventually, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    replica::{World, quick},
    worker::Worker,
};

/// What stands at /metrics, once there is something.
async fn metrics(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn an_autoscaler_sees_what_waits_for_how_long_and_what_is_free() {
    let world = World::new().await;
    let address = free_port();
    let calls = Limits { metrics_interval: Duration::from_millis(100), ..Limits::default() };
    let replica = world.replica_with(calls, quick(), |config| config.metrics_listen = Some(address)).await;
    let comes_to = async |name: &'static str, is_so: fn(f64) -> bool| {
        eventually(&format!("{name} is so"), async || {
            value(&metrics(address).await?, name).filter(|value| is_so(*value))
        })
        .await
    };

    comes_to("chatplane_slots", |slots| slots == 0.0).await;
    for _ in 0..2 {
        world.client(&replica).create_chat("Hello").await;
    }
    comes_to("chatplane_runnable_chats", |chats| chats == 2.0).await;
    comes_to("chatplane_runnable_oldest_wait_seconds", |seconds| seconds > 0.0).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 3).await;
    for _ in 0..2 {
        worker.lease().await;
    }

    comes_to("chatplane_runnable_chats", |chats| chats == 0.0).await;
    comes_to("chatplane_sessions", |sessions| sessions == 1.0).await;
    comes_to("chatplane_slots", |slots| slots == 3.0).await;
    comes_to("chatplane_slots_free", |slots| slots == 1.0).await;
    assert_eq!(
        value(&metrics(address).await.expect("they are told"), "chatplane_runnable_oldest_wait_seconds"),
        Some(0.0)
    );
    replica.stop().await;
}

/// More workers would not help them.
#[tokio::test]
async fn what_waits_for_a_cap_is_not_counted() {
    let world = World::new().await;
    let address = free_port();
    let caps = Caps { owner_running_max: Some(1), organization_running_max: Some(3) };
    let calls = Limits { metrics_interval: Duration::from_millis(100), caps, ..Limits::default() };
    let replica = world.replica_with(calls, quick(), |config| config.metrics_listen = Some(address)).await;
    let waiting = async |wanted: f64| {
        eventually(&format!("{wanted} wait"), async || {
            let waiting = value(&metrics(address).await?, "chatplane_runnable_chats")?;
            (waiting == wanted).then_some(())
        })
        .await;
    };
    for _ in 0..3 {
        world.client(&replica).create_chat("Hello").await;
    }
    Client::new(&replica.url(), &world.stranger_token).create_chat("Hello").await;

    waiting(2.0).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 4).await;
    for _ in 0..2 {
        worker.lease().await;
    }

    waiting(0.0).await;
    replica.stop().await;
}
