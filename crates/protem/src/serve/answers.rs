//! What is asked for, and what is answered.

use super::files::{self, FILES};
use super::guard::{Guard, guarded};
use super::runs::{Named, Runs};
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use protem_report as report;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
/// What a page may have is of this server; widths of bars stand in the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A report is a file that anyone may have written: it has nothing but itself.
const OF_REPORT: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Shared = State<Arc<Runs>>;

/// All addresses there are.
pub fn router(runs: Arc<Runs>, guard: Guard) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/changes", get(list_changes))
        .route("/live.css", get(style))
        .route("/live.js", get(script))
        .route("/runs/{name}", get(with_slash))
        .route("/runs/{name}/", get(run))
        .route("/runs/{name}/changes", get(run_changes))
        .route("/runs/{name}/{file}", get(file))
        .route("/api/runs", get(api_list))
        .route("/api/runs/{name}", get(api_run))
        .fallback(async || nothing("There is no such page."))
        .layer(from_fn_with_state(guard, guarded))
        .layer(from_fn(with_headers))
        .with_state(runs)
}

/// What is true of every answer.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = headers.entry(header::CONTENT_SECURITY_POLICY);
    policy.or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn style() -> Response {
    answer("text/css; charset=utf-8", report::STYLE)
}

async fn script() -> Response {
    answer("text/javascript; charset=utf-8", report::SCRIPT)
}

fn answer(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Without the name of what was asked for: it can be anything, and may be long. A page may be asked for at
/// any depth, and so the way to the list is whole.
fn nothing(why: &str) -> Response {
    let page = report::refusal(
        "Not found",
        &format!(
            "{why} There is the list of runs, and a page for each of them with its report, metrics and config; for programs /api/runs and /api/runs/ with a run's name."
        ),
        "/",
    );
    (StatusCode::NOT_FOUND, answer(HTML, page)).into_response()
}

/// Computes an answer that reads files, while others are answered.
async fn computed(answer: impl FnOnce() -> Response + Send + 'static) -> Response {
    let done = tokio::task::spawn_blocking(answer).await;
    done.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// What is told of the list of runs.
async fn of_list(
    runs: Arc<Runs>,
    tell: impl FnOnce(report::Runs) -> Response + Send + 'static,
) -> Response {
    computed(move || match runs.list() {
        Ok(entries) => tell(report::Runs::new(runs.folder(), entries, SystemTime::now())),
        Err(error) => {
            let why = format!("The folder of runs cannot be read: {error}.");
            let page = report::refusal("No runs", &why, "/");
            (StatusCode::SERVICE_UNAVAILABLE, answer(HTML, page)).into_response()
        }
    })
    .await
}

/// What is told of the run that stands at the `n`th place of an address, from 0.
async fn of_run(
    runs: Arc<Runs>,
    uri: Uri,
    n: usize,
    tell: impl FnOnce(Named) -> Response + Send + 'static,
) -> Response {
    computed(move || {
        let name = uri.path().split('/').nth(n + 1).unwrap_or_default();
        runs.find(name)
            .map_or_else(|| nothing("There is no run of this name."), tell)
    })
    .await
}

async fn list(State(runs): Shared) -> Response {
    of_list(runs, |list| answer(HTML, list.page())).await
}

async fn list_changes(State(runs): Shared, RawQuery(known): RawQuery) -> Response {
    of_list(runs, move |list| changes(&list.parts(), known.as_deref())).await
}

async fn api_list(State(runs): Shared) -> Response {
    of_list(runs, |list| answer(JSON, list.json().to_string())).await
}

/// So that what a run's page asks for is found below it.
async fn with_slash(uri: Uri) -> Redirect {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    Redirect::permanent(&format!("/runs/{name}/"))
}

async fn run(State(runs): Shared, uri: Uri) -> Response {
    let page = |run: Named| {
        let told = run.look(|live| match live {
            Ok(live) => live.page(),
            Err(why) => report::broken(&run.name, why),
        });
        answer(HTML, told)
    };
    of_run(runs, uri, 1, page).await
}

async fn run_changes(State(runs): Shared, uri: Uri, RawQuery(known): RawQuery) -> Response {
    let tell = move |run: Named| {
        run.look(|live| match live {
            Ok(live) => changes(&live.parts(), known.as_deref()),
            Err(why) => changes(&report::broken_parts(why), known.as_deref()),
        })
    };
    of_run(runs, uri, 1, tell).await
}

async fn api_run(State(runs): Shared, uri: Uri) -> Response {
    let tell = |run: Named| {
        let told = run.look(|live| match live {
            Ok(live) => live.json(),
            Err(why) => json!({ "name": run.name, "error": why }),
        });
        answer(JSON, told.to_string())
    };
    of_run(runs, uri, 2, tell).await
}

/// The parts of a page whose versions are none of those that are known, `id=version&…`.
fn changes(parts: &[report::Part], known: Option<&str>) -> Response {
    let known: Vec<&str> = known.unwrap_or_default().split('&').collect();
    let changed = parts.iter().filter_map(|part| {
        let version = part.version();
        let new = !known.contains(&&format!("{}={version}", part.id)[..]);
        new.then(|| {
            (
                part.id.to_owned(),
                json!({ "version": version, "html": part.html }),
            )
        })
    });
    let changed: serde_json::Map<String, Value> = changed.collect();
    answer(JSON, Value::Object(changed).to_string())
}

/// A file of a run by its name, which must be one of those that are sent.
async fn file(State(runs): Shared, uri: Uri) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some((name, kind)) = FILES.into_iter().find(|(known, _)| *known == name) else {
        return nothing("A run has no such page.");
    };
    of_run(runs, uri, 1, move |run| {
        let path = run.root().join(name);
        let sent = report::open_plain(&path).map(|file| file.map(|file| files::answer(file, kind)));
        match sent {
            Ok(Some(Ok(mut response))) => {
                if kind == HTML {
                    let policy = HeaderValue::from_static(OF_REPORT);
                    let headers = response.headers_mut();
                    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
                }
                response
            }
            Ok(None) => nothing(&format!("The run has no {name}.")),
            Ok(Some(Err(error))) | Err(error) => {
                nothing(&format!("{name} cannot be read: {error}."))
            }
        }
    })
    .await
}
