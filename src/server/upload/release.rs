//! `POST /release/`: what a project's maintainers signed, one file as `wheelseal project` writes it. The files that a
//! release lists were uploaded before. The token says who may ask; what is taken, the signatures alone decide.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::refusal::Refused;
use super::{Desk, Uploads, permitted};
use crate::journal::ClaimChange;
use crate::repository::{Accepted, Applied, Kind, MAX_PROJECT_FILE, ProjectFile, RepositoryError};
use crate::server::watch::{About, Ended, Note, Watch};

/// Requests read at once: each takes a core for a while.
pub(super) const AT_ONCE: usize = 4;
/// Of these, with one token.
pub(super) const EACH: usize = 2;

/// Bytes that must come within [`super::UploadLimits::stall`], or who trickles keeps others out; and bytes of memory that are
/// asked for at once.
pub(super) const PART: usize = 32 * 1024;

/// Parts in memory, of all requests together: three of [`MAX_PROJECT_FILE`] bytes, so that one token cannot take them all. While a
/// request is checked it takes some four times its bytes, and a hostile one ten times: text, what is read of it, role and page.
pub(super) const PARTS: usize = 3 * (32 * 1024 * 1024 / PART + 1);

/// What became of a request.
enum Taken {
    Applied(Applied),
    Waits(ProjectFile),
}

pub(super) async fn take(State(Desk { uploads, metrics, watch }): State<Desk>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (mut body, watch) = (Some(body), watch.as_deref());
    let mut note = watch.map(|watch| watch.note(&head.extensions, &head.headers)).unwrap_or_default();
    let taken = uploads.accept(&head.headers, &mut body, watch, &mut note).await;
    if let Some(watch) = watch {
        watch.tell(&note, ended(&taken));
    }
    match taken {
        Ok(Taken::Applied(applied)) => {
            metrics.published.add(1);
            (StatusCode::OK, said(&applied)).into_response()
        }
        Ok(Taken::Waits(file)) => {
            metrics.staged.add(1);
            let what = if file.kind == Kind::Claim { "the claim" } else { "the change of keys" };
            let text = format!("{what} of {} waits for an admin of the index\n", file.project);
            (StatusCode::ACCEPTED, text).into_response()
        }
        Err(refused) => uploads.refuse(refused, body, &metrics).await,
    }
}

impl Uploads {
    async fn accept(
        &self,
        headers: &HeaderMap,
        body: &mut Option<Body>,
        watch: Option<&Watch>,
        note: &mut Note,
    ) -> Result<Taken, Refused> {
        let grant = self.admit(headers, watch, note)?;
        let _place = self.requests.take(&grant.id)?;
        // Held until all is done with it.
        let (bytes, _memory) = self.read(body.take().unwrap_or_default(), MAX_PROJECT_FILE).await?;
        let form = |error: RepositoryError| Refused::Form(error.to_string());
        // Before all of it is taken apart, which costs much more.
        permitted(&grant, &ProjectFile::project_of(&bytes).map_err(form)?)?;
        let file = tokio::task::spawn_blocking(move || ProjectFile::read(&bytes)).await;
        let file = file.map_err(|error| Refused::Repository(error.to_string()))?.map_err(form)?;
        note.about = Some(About::Project(file.project.clone()));
        let accepted = self.publisher.accept(&file, &self.spool, (self.clock)()).await;
        match accepted.map_err(|error| refused(&error))? {
            Accepted::Applied(applied) => Ok(Taken::Applied(applied)),
            Accepted::Waits => Ok(Taken::Waits(file)),
        }
    }

    /// The bytes of a request, `max` at most, and the memory that is theirs. Who asks for more than there is is to come again.
    pub(super) async fn read(&self, body: Body, max: u64) -> Result<(Vec<u8>, SemaphorePermit<'_>), Refused> {
        let parts = |count: usize| {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.memory.try_acquire_many(count).map_err(|_| Refused::Busy)
        };
        let (mut stream, mut bytes, mut memory) = (body.into_data_stream(), Vec::new(), parts(0)?);
        let mut more = true;
        while more {
            let enough = bytes.len().saturating_add(PART);
            // The last part may have been longer.
            memory.merge(parts(enough.div_ceil(PART).saturating_sub(memory.num_permits()))?);
            let gather = async {
                while bytes.len() < enough {
                    let Some(chunk) = stream.next().await else { return Ok::<_, Refused>(false) };
                    bytes.extend_from_slice(&chunk.map_err(|_| Refused::CutShort)?);
                }
                Ok(true)
            };
            more = timeout(self.limits.stall, gather).await.map_err(|_| Refused::Stalled)??;
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
                return Err(Refused::TooLarge(max));
            }
        }
        Ok((bytes, memory))
    }
}

/// What is wrong with a request is for its maker to know; what is wrong with the index is not.
fn refused(error: &RepositoryError) -> Refused {
    match error {
        error if error.is_of_the_request() => Refused::Unfit(error.to_string()),
        RepositoryError::Busy(_) => Refused::Busy,
        error => Refused::Repository(error.to_string()),
    }
}

/// What the journal says of it.
fn ended(taken: &Result<Taken, Refused>) -> Ended {
    match taken {
        Ok(Taken::Applied(_)) => Ended::Signed(ClaimChange::Applied),
        Ok(Taken::Waits(_)) => Ended::Signed(ClaimChange::Received),
        Err(refused) => refused.ended(),
    }
}

fn said(applied: &Applied) -> String {
    let (project, snapshot) = (&applied.project, applied.snapshot);
    let list = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what} {}", names.join(", ")),
    };
    format!(
        "{project} is published in snapshot {snapshot}{}{}\n",
        list("added", &applied.added),
        list("removed", &applied.removed)
    )
}
