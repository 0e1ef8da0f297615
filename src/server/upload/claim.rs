//! `POST /claim/`: what maintainers claim of a release before its files come, or a commitment to that. Answered with a receipt:
//! the proof that it is logged. The token says who may ask; what is taken, the signatures alone decide.
//!
//! The journal has no project of it: an embargoed one is nobody's business, and one that was told lies in the store.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::refusal::Refused;
use super::{Desk, Uploads, permitted};
use crate::claim_desk::DeskError;
use crate::journal::ClaimChange;
use crate::release_claim::{ClaimError, ClaimRequest, MAX_REQUEST};
use crate::server::watch::{Ended, Note, Watch};

/// Time for a place to become free.
const WAIT: Duration = Duration::from_secs(5);
/// Time for all of a claim to come: a megabyte.
const WHOLE: Duration = Duration::from_mins(1);
/// What a receipt is.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) async fn take(State(Desk { uploads, metrics, watch }): State<Desk>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (mut body, watch) = (Some(body), watch.as_deref());
    let mut note = watch.map(|watch| watch.note(&head.extensions, &head.headers)).unwrap_or_default();
    let taken = uploads.receipt(&head.headers, &mut body, watch, &mut note).await;
    if let Some(watch) = watch {
        watch.tell(
            &note,
            taken.as_ref().map_or_else(Refused::ended, |_| Ended::Signed(ClaimChange::Received)),
        );
    }
    match taken {
        Ok(receipt) => {
            let fields = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (StatusCode::OK, fields, receipt).into_response()
        }
        Err(refused) => uploads.refuse(refused, body, &metrics).await,
    }
}

impl Uploads {
    async fn receipt(
        &self,
        headers: &HeaderMap,
        body: &mut Option<Body>,
        watch: Option<&Watch>,
        note: &mut Note,
    ) -> Result<String, Refused> {
        let grant = self.admit(headers, watch, note)?;
        let nowhere = || Refused::Unfit("this index takes no claims: it has no public address".to_owned());
        let desk = self.desk.as_ref().ok_or_else(nowhere)?;
        if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
            return Err(Refused::Form("a claim is sent as application/json".to_owned()));
        }
        let _place = self.claims.take_within(&grant.id, WAIT).await?;
        let max = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
        let read = timeout(WHOLE, self.read(body.take().unwrap_or_default(), max)).await;
        let (bytes, _memory) = read.map_err(|_| Refused::Stalled)??;
        let request = tokio::task::spawn_blocking(move || ClaimRequest::parse(&bytes)).await;
        let request = request.map_err(|error| Refused::Repository(error.to_string()))?;
        let request = request.map_err(|error| Refused::Form(error.to_string()))?;
        permitted(&grant, request.project())?;
        let receipt = desk.take(&request, (self.clock)()).await.map_err(|error| refused(&error))?;
        Ok(receipt.to_string())
    }
}

/// What is wrong with a claim is for its maker to know; what is wrong with the index is not.
fn refused(error: &DeskError) -> Refused {
    match error {
        DeskError::Claim(ClaimError::BelowThreshold { .. } | ClaimError::OtherProject { .. })
        | DeskError::OtherIndex { .. }
        | DeskError::NotClaimed(_)
        | DeskError::Full(_)
        | DeskError::NoLog => Refused::Unfit(error.to_string()),
        DeskError::Claim(_) => Refused::Form(error.to_string()),
        DeskError::TooMany(_) => Refused::Busy,
        DeskError::Repository(error) => Refused::of(error),
        error => Refused::Repository(error.to_string()),
    }
}
