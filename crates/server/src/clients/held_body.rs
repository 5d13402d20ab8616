//! Bodies of answers that count as unread until their client has taken them.

use std::convert::Infallible;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::BodyExt;

use super::ClientId;
use crate::error::ApiError;
use crate::state::AppState;

/// The size in bytes from which a body is counted.
const COUNTED: u64 = 64 << 10;
/// The size in bytes of the pieces that are passed on. The connection takes a few of them into its buffer, and
/// the rest stays here until the client has read those.
const PIECE: usize = 16 << 10;

/// Counts the body of each large answer that is not streamed as unread bytes of its client. An answer for
/// which there is no room, because the client has not read others, is a 429.
pub(crate) async fn hold(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientId>().copied();
    let response = next.run(request).await;
    let size = response.body().size_hint().exact().filter(|&size| size >= COUNTED);
    let (Some(client), Some(size)) = (client, size) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return ApiError::internal().into_response();
    };
    // An answer by itself is bounded by its own limits.
    let has_others = state.ledger.unread_of(client) > 0;
    let held = state.ledger.add_unread(client, bytes.len());
    if has_others && state.ledger.reads_too_little(client) {
        return ApiError::unread().into_response();
    }
    // The pieces share one allocation, so all of it counts until the last one is taken.
    let pieces = stream::unfold((bytes, held), |(mut bytes, held)| async move {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<Bytes, Infallible>(piece), (bytes, held)))
    });
    head.headers.insert(CONTENT_LENGTH, size.into());
    Response::from_parts(head, Body::from_stream(pieces))
}
