//! An S3 server over a folder: buckets are folders, signatures are checked, faults come on demand.
//!
//! ```text
//!   request ──▶ recorded ──▶ 503, as often as a test asked for
//!                    └─────▶ s3s ──▶ FOLDER/BUCKET/KEY
//! ```
//!
//! One thread serves all connections; dropping the server ends it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::{Error, Result};

/// The key's id that the server knows.
pub const ACCESS_KEY: &str = "KHTESTACCESSKEY";
/// The secret that belongs to it.
pub const SECRET_KEY: &str = "kh-test-secret-0123456789";

/// A server on this machine.
pub struct S3Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the thread when it is dropped.
    _ends: oneshot::Sender<()>,
}

#[derive(Default)]
struct Shared {
    faults: AtomicU32,
    requests: Mutex<Vec<String>>,
}

impl S3Server {
    /// Serves a folder on this address; port 0 is a free one.
    ///
    /// # Errors
    ///
    /// The folder is none, or the address is taken.
    pub fn start(folder: &Path, address: SocketAddr) -> Result<S3Server> {
        let failed = |source| Error::io("starting an S3 server", source);
        let files = FileSystem::new(folder)
            .map_err(|error| failed(std::io::Error::other(format!("{error:?}"))))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (ends, ended) = oneshot::channel::<()>();
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("kh-test-s3".to_owned())
            .spawn(move || {
                let serving = runtime.spawn(serve(listener, service, of_thread));
                drop(runtime.block_on(ended));
                serving.abort();
            })
            .map_err(failed)?;
        Ok(S3Server {
            address,
            shared,
            _ends: ends,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables by which a client finds the server and is let in.
    pub fn variables(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("AWS_ENDPOINT_URL", &self.url()),
            pair("AWS_ALLOW_HTTP", "true"),
            pair("AWS_REGION", "us-east-1"),
            pair("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            pair("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
    }

    /// Answers the next so many requests with 503 and nothing else.
    pub fn fail_next(&self, requests: u32) {
        self.shared.faults.store(requests, Ordering::Release);
    }

    /// The method and target of each request since the last call, in the order in which they came.
    pub fn requests(&self) -> Vec<String> {
        let mut requests = self
            .shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut requests)
    }
}

async fn serve(listener: TcpListener, service: S3Service, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(request, service.clone(), Arc::clone(&shared))),
        );
        tokio::spawn(async move {
            // A client that goes away is none of ours.
            drop(connection.await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    service: S3Service,
    shared: Arc<Shared>,
) -> std::result::Result<Response<Body>, HttpError> {
    let line = format!("{} {}", request.method(), request.uri());
    shared
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(line);
    let fails = shared
        .faults
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(1)
        });
    if fails.is_ok() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    }
    service.call(request.map(Body::from)).await
}
