//! `protem serve`: runs as live pages, for a browser on this machine.

mod answers;
mod files;
mod guard;
mod runs;
mod watched;

use crate::args::ServeArgs;
use crate::console::{say, warn};
use crate::failure::Failure;
use crate::system::stop_flag;
use guard::Guard;
use runs::Runs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How soon a request to stop is heard.
const HEARD: Duration = Duration::from_millis(50);

/// Runs the command until it is asked to stop.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let runs = Runs::of(&args.runs).map_err(|why| {
        Failure::usage(format!(
            "{why}; name a folder of runs, or the folder that train has by --out"
        ))
    })?;
    let (listener, address) = listen(args)?;
    let stop = stop_flag(None)?;
    if !address.ip().is_loopback() {
        warn(format!(
            "anyone who reaches port {} of this machine sees the runs, and the pictures in their reports",
            address.port()
        ));
    }
    say(format!(
        "http://{address}/ shows {} (Ctrl-C ends it)",
        args.runs.display()
    ));
    let guard = Guard::of(&args.host, address.ip());
    serve(listener, guard, runs, &stop)
}

/// Opens the port; where it is, for a port of 0 has become another.
fn listen(args: &ServeArgs) -> Result<(TcpListener, SocketAddr), Failure> {
    let (host, port) = (&args.host, args.port);
    let addresses = (&host[..], port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = addresses
        .map_err(|e| Failure::usage(format!("--host {host} is no address: {e}")))?
        .collect();
    let bound = TcpListener::bind(&addresses[..]).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        Failure::usage(match error.kind() {
            ErrorKind::AddrInUse => format!(
                "port {port} of {host} is taken: name another by --port, or 0 for any that is free"
            ),
            ErrorKind::PermissionDenied => {
                format!("port {port} of {host} may not be had: name one from 1024 on by --port")
            }
            ErrorKind::AddrNotAvailable => {
                format!("--host {host} is no address of this machine: name one that is")
            }
            _ => format!("cannot listen at port {port} of {host}: {error}"),
        })
    })
}

fn serve(
    listener: TcpListener,
    guard: Guard,
    runs: Runs,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let failed = |e| Failure::running(format!("cannot serve: {e}"));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(failed)?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let pages = axum::serve(listener, answers::router(Arc::new(runs), guard));
        tokio::select! {
            served = std::future::IntoFuture::into_future(pages) => served,
            () = asked(stop) => Ok(()),
        }
    });
    // Whoever still reads is not waited for, nor a disk that does not answer.
    runtime.shutdown_background();
    served.map_err(failed)?;
    Err(Failure::interrupted("stopped"))
}

async fn asked(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(HEARD).await;
    }
}
