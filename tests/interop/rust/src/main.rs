//! A client or a server of unary gRPC with tonic, for bytes that somebody else makes.
//! usage: tonic-peer client 127.0.0.1:PORT identity|deflate|gzip|zstd  < calls
//!        tonic-peer server 127.0.0.1:PORT identity|deflate|gzip|zstd
//! What it reads and writes is that of ../node/grpc.mjs; its server adds how a message was encoded.

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::io::{BufRead, stdin};
use std::net::SocketAddr;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Buf, BufMut};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::{AsciiMetadataKey, BinaryMetadataKey, BinaryMetadataValue};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

/// Messages are bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

fn encoding(name: &str) -> Option<CompressionEncoding> {
    match name {
        "deflate" => Some(CompressionEncoding::Deflate),
        "gzip" => Some(CompressionEncoding::Gzip),
        "zstd" => Some(CompressionEncoding::Zstd),
        _ => None,
    }
}

async fn run_client(address: &str, compression: &str) {
    let channel = Endpoint::from_str(&format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    if let Some(known) = encoding(compression) {
        grpc = grpc.send_compressed(known).accept_compressed(known);
    }
    for line in stdin().lock().lines() {
        let call: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let body = BASE64_STANDARD.decode(call["body"].as_str().unwrap());
        let mut request = Request::new(body.unwrap());
        request.set_timeout(Duration::from_millis(
            call["timeout_ms"].as_u64().unwrap_or(10_000),
        ));
        for (name, value) in call["metadata"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            if name.ends_with("-bin") {
                let key = BinaryMetadataKey::from_str(name).unwrap();
                let bytes = BASE64_STANDARD.decode(value).unwrap();
                let value = BinaryMetadataValue::from_bytes(&bytes);
                request.metadata_mut().insert_bin(key, value);
            } else {
                let key = AsciiMetadataKey::from_str(name).unwrap();
                request.metadata_mut().insert(key, value.parse().unwrap());
            }
        }
        grpc.ready().await.unwrap();
        let path = call["path"].as_str().unwrap().parse().unwrap();
        let said = match grpc.unary(request, path, Raw).await {
            Ok(answer) => json!({
                "code": 0, "message": "", "body": BASE64_STANDARD.encode(answer.into_inner()),
            }),
            Err(status) => json!({
                "code": i32::from(status.code()), "message": status.message(), "body": "",
            }),
        };
        println!("{said}");
    }
}

/// One of the services of OTLP, by its place among them.
#[derive(Clone)]
struct Exports<const PLACE: usize> {
    compression: Option<CompressionEncoding>,
}

impl NamedService for Exports<0> {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl NamedService for Exports<1> {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl NamedService for Exports<2> {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

struct Export(String);

impl UnaryService<Vec<u8>> for Export {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let encoding = request.metadata().get("grpc-encoding");
        let encoding = encoding.map_or("identity", |value| value.to_str().unwrap());
        let body = request.get_ref();
        let shown = BASE64_STANDARD.encode(body);
        println!(
            "{}",
            json!({"path": self.0, "body": shown, "encoding": encoding})
        );
        ready(if body.starts_with(b"fail") {
            let details = b"details".as_slice().into();
            Err(Status::with_details(
                Code::Unavailable,
                "100 % müde",
                details,
            ))
        } else {
            Ok(Response::new(Vec::new()))
        })
    }
}

impl<const PLACE: usize> Service<http::Request<Body>> for Exports<PLACE> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let compression = self.compression;
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw)
                .accept_compressed(CompressionEncoding::Deflate)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(usize::MAX);
            if let Some(known) = compression {
                grpc = grpc.send_compressed(known);
            }
            Ok(grpc.unary(Export(path), request).await)
        })
    }
}

async fn run_server(address: &str, compression: &str) {
    let compression = encoding(compression);
    let address: SocketAddr = address.parse().unwrap();
    let mut stop = signal(SignalKind::terminate()).unwrap();
    Server::builder()
        .add_service(Exports::<0> { compression })
        .add_service(Exports::<1> { compression })
        .add_service(Exports::<2> { compression })
        .serve_with_shutdown(address, async {
            stop.recv().await;
        })
        .await
        .unwrap();
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [role, address, compression] = arguments.as_slice() else {
        panic!("usage: see the source");
    };
    match role.as_str() {
        "client" => run_client(address, compression).await,
        _ => run_server(address, compression).await,
    }
}
