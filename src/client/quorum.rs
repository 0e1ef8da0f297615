//! Several repositories that must agree (TAP 4): each with its own trusted root, metadata and session.
//!
//! ```text
//! Quorum::sit ──▶ Sitting ──find──▶ Agreed ──download / verify──▶ VerifiedFile
//! ```
//!
//! A repository is asked when a mapping first names it, and once: its session is kept. What "it does not sign that" is
//! an answer, anything else that goes wrong is none: if the others do not reach the threshold without it, the search ends
//! with its error. TAP 4 would go on to the next mapping, which may ask for less: then who can keep a repository from
//! answering could choose the mapping.
//!
//! A file is held against what every agreeing repository signs, not only against what the first of them does.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::{Client, ClientError, FetchError, FileError, Logging, Proven, Session, VerifiedFile, Wanted};
use crate::tuf::lookup::Found;
use crate::tuf::map::{MapFile, Mapping, agreed};
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;

/// Proofs that are fetched at once.
const PROOFS_AT_ONCE: usize = 8;

/// Repositories, and the map that says which of them must agree on what.
#[derive(Debug)]
pub struct Quorum {
    map: MapFile,
    /// By name: one client for each place where the repository is, in order. They share what is trusted.
    members: BTreeMap<String, Vec<Client>>,
}

/// A quorum at work, at one time.
#[derive(Debug)]
pub struct Sitting<'a> {
    quorum: &'a Quorum,
    now: DateTime<Utc>,
    offline: bool,
    /// Of each repository, once it was asked for.
    sessions: BTreeMap<&'a str, OnceCell<Result<Session, ClientError>>>,
}

/// What one repository says of a target.
#[derive(Debug, Clone)]
pub struct Vote<'a> {
    /// Its name.
    pub repository: &'a str,
    /// What it signs.
    pub found: Found,
}

/// A target on which enough repositories agree.
#[derive(Debug, Clone)]
pub struct Agreed<'a> {
    /// The path.
    pub path: TargetPath,
    /// Those who agree, in the order of the mapping; one at least.
    pub votes: Vec<Vote<'a>>,
    /// How many had to.
    pub threshold: usize,
}

impl Quorum {
    /// One repository that answers for everything.
    pub fn of_one(name: &str, client: Client) -> Self {
        Self { map: MapFile::of_one(name), members: [(name.to_owned(), vec![client])].into() }
    }

    /// The repositories of a map; `open` makes the clients of one.
    pub fn new<E>(
        map: MapFile,
        mut open: impl FnMut(&str, &[String]) -> Result<Vec<Client>, E>,
    ) -> Result<Self, E> {
        let mut members = BTreeMap::new();
        for (name, places) in &map.repositories {
            members.insert(name.clone(), open(name, places)?);
        }
        Ok(Self { map, members })
    }

    /// The name of the only repository, if there is one alone: without its session nothing can be done.
    pub fn only(&self) -> Option<&str> {
        let mut names = self.members.keys();
        names.next().filter(|_| names.next().is_none()).map(String::as_str)
    }

    /// Begins; nobody is asked yet. With `offline` only what is on this machine is used.
    pub fn sit(&self, now: DateTime<Utc>, offline: bool) -> Sitting<'_> {
        let sessions = self.members.keys().map(|name| (name.as_str(), OnceCell::new())).collect();
        Sitting { quorum: self, now, offline, sessions }
    }
}

impl<'a> Sitting<'a> {
    /// What enough repositories agree on. [`ClientError::NotSigned`]: none of those asked signs it.
    pub async fn find(&self, path: &TargetPath) -> Result<Agreed<'a>, ClientError> {
        let (quorum, mut refusal) = (self.quorum, None);
        let mut mapped = false;
        for mapping in quorum.map.matching(path) {
            mapped = true;
            match self.ask(mapping, path).await? {
                Ok(agreed) => return Ok(agreed),
                Err(reason) => refusal = refusal.or(reason),
            }
        }
        let path = path.to_string();
        Err(match refusal {
            Some(refusal) => refusal,
            None if mapped => ClientError::NotSigned { path },
            None => ClientError::NotMapped { path },
        })
    }

    /// Asks the repositories of one mapping until enough agree. An inner error is that they do not; nothing in it: none of
    /// them signs the path.
    async fn ask(
        &self,
        mapping: &'a Mapping,
        path: &TargetPath,
    ) -> Result<Result<Agreed<'a>, Option<ClientError>>, ClientError> {
        let (mut votes, mut failed, mut silent) = (Vec::<Vote<'a>>::new(), None, Vec::new());
        for repository in &mapping.repositories {
            match self.answer(repository, path).await {
                Ok(found) => votes.push(Vote { repository, found }),
                Err(ClientError::NotSigned { .. }) => silent.push(repository.as_str()),
                Err(error) => failed = failed.or(Some(error)),
            }
            let answers: Vec<_> = votes.iter().map(|vote| &vote.found.target).collect();
            if let Some(agreeing) = agreed(&answers, mapping.threshold) {
                let votes = votes.into_iter().enumerate().filter(|(at, _)| agreeing.contains(at));
                let votes = votes.map(|(_, vote)| vote).collect();
                return Ok(Ok(Agreed { path: path.clone(), votes, threshold: mapping.threshold }));
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let disagreement = (!votes.is_empty()).then(|| ClientError::NoAgreement {
            path: path.to_string(),
            threshold: mapping.threshold,
            said: votes
                .iter()
                .map(said)
                .chain(silent.iter().map(|name| format!("{name}: not signed")))
                .collect(),
        });
        Ok(Err(disagreement))
    }

    async fn answer(&self, repository: &'a str, path: &TargetPath) -> Result<Found, ClientError> {
        self.session(repository).await?.find(path).await
    }

    /// What each repository signs at `path` that the first mapping for it names; those that sign nothing are left out.
    /// For what need not be the same everywhere, such as project pages. With it, how many must agree on what they list.
    pub async fn each(&self, path: &TargetPath) -> Result<(Vec<Vote<'a>>, usize), ClientError> {
        let quorum = self.quorum;
        let Some(mapping) = quorum.map.matching(path).next() else {
            return Err(ClientError::NotMapped { path: path.to_string() });
        };
        let mut votes = Vec::new();
        for repository in &mapping.repositories {
            match self.answer(repository, path).await {
                Ok(found) => votes.push(Vote { repository, found }),
                Err(ClientError::NotSigned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((votes, mapping.threshold))
    }

    /// The session of a repository, which begins when it is first asked for. The first of its places that answers is used.
    pub async fn session(&self, repository: &str) -> Result<&Session, ClientError> {
        let Some(session) = self.sessions.get(repository) else {
            return Err(ClientError::NotMapped { path: repository.to_owned() });
        };
        session.get_or_init(|| self.begin(repository)).await.as_ref().map_err(Clone::clone)
    }

    async fn begin(&self, repository: &str) -> Result<Session, ClientError> {
        let mut failed = ClientError::NotMapped { path: repository.to_owned() };
        for client in self.quorum.members.get(repository).into_iter().flatten() {
            let begun =
                if self.offline { client.offline(self.now).await } else { client.refresh(self.now).await };
            match begun {
                Err(error @ ClientError::Fetch(_)) => failed = error,
                begun => return begun,
            }
        }
        Err(failed)
    }

    /// The logs that the repositories asked so far are in, by repository.
    pub fn logs(&self) -> Vec<(&'a str, Logging)> {
        let begun = self.sessions.iter().filter_map(|(name, session)| Some((*name, session.get()?)));
        begun.filter_map(|(name, session)| Some((name, session.as_ref().ok()?.log()?))).collect()
    }

    /// What recorders said that kept no file back, by repository: see [`Session::recorder_warnings`].
    pub fn recorder_warnings(&self) -> Vec<(&'a str, String)> {
        let begun = self.sessions.iter().filter_map(|(name, session)| Some((*name, session.get()?)));
        let of = |(name, session): (&'a str, &Result<Session, ClientError>)| {
            let warnings = session.as_ref().map(Session::recorder_warnings).unwrap_or_default();
            warnings.into_iter().map(move |warning| (name, warning))
        };
        begun.flat_map(of).collect()
    }

    /// Downloads all, each from the first of its repositories that has it. `progress` is told of the bytes of those
    /// that come from one repository.
    pub async fn download_all(
        &self,
        wanted: &[(Agreed<'a>, PathBuf)],
        jobs: NonZeroUsize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<VerifiedFile>, ClientError> {
        // What one of them did not log is not put in place.
        let proofs = stream::iter(wanted).map(|(agreed, _)| self.prove(agreed)).buffered(PROOFS_AT_ONCE);
        let proofs: Vec<_> = proofs.try_collect().await?;
        let mut files: Vec<Option<VerifiedFile>> = vec![None; wanted.len()];
        let most = wanted.iter().map(|(agreed, _)| agreed.votes.len()).max().unwrap_or(0);
        for turn in 0..most {
            let mut by_repository: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (at, (agreed, _)) in wanted.iter().enumerate() {
                if let (Some(vote), Some(None)) = (agreed.votes.get(turn), files.get(at)) {
                    by_repository.entry(vote.repository).or_default().push(at);
                }
            }
            for (repository, places) in by_repository {
                let Some(Ok(session)) = self.sessions.get(repository).and_then(OnceCell::get) else {
                    continue;
                };
                let some = places.iter().filter_map(|at| wanted.get(*at));
                let some: Vec<_> = some
                    .filter_map(|(agreed, to)| {
                        Some(Wanted { found: agreed.votes.get(turn)?.found.clone(), to: to.clone() })
                    })
                    .collect();
                match session.download_all(&some, jobs, progress).await {
                    Ok(verified) => {
                        for (at, file) in places.into_iter().zip(verified) {
                            files.iter_mut().skip(at).take(1).for_each(|slot| *slot = Some(file.clone()));
                        }
                    }
                    Err(error) if turn + 1 < most && may_have_another(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut complete = Vec::new();
        for ((file, proven), (agreed, to)) in files.into_iter().zip(proofs).zip(wanted) {
            let absent =
                || FileError::Absent { path: agreed.path.to_string(), location: to.display().to_string() };
            let file = file.ok_or_else(absent)?;
            complete.push(of_all(&proven, file)?);
        }
        Ok(complete)
    }

    /// Checks that a target was logged by every agreeing repository that logs; one answer for each vote, in their order.
    pub async fn prove(&self, agreed: &Agreed<'a>) -> Result<Vec<Proven>, ClientError> {
        let mut all = Vec::new();
        for vote in &agreed.votes {
            all.push(self.session(vote.repository).await?.prove(&vote.found).await?);
        }
        if all.is_empty() {
            return Err(ClientError::NotSigned { path: agreed.path.to_string() });
        }
        Ok(all)
    }

    /// Checks local files against what every agreeing repository signs, on every core; what was found of each, in their order.
    pub async fn verify_all(
        &self,
        files: &[(Agreed<'a>, PathBuf)],
    ) -> Vec<Result<VerifiedFile, ClientError>> {
        let proofs = stream::iter(files).map(|(agreed, _)| self.prove(agreed)).buffered(PROOFS_AT_ONCE);
        let proofs: Vec<_> = proofs.collect().await;
        let judged = proofs
            .iter()
            .zip(files)
            .filter_map(|(proofs, (_, file))| Some((proofs.as_ref().ok()?.first()?.clone(), file.clone())));
        let judged: Vec<_> = judged.collect();
        let mut verified = super::file::verify_all(&judged).into_iter();
        let mut all = Vec::new();
        for proofs in proofs {
            let verify = |proofs: Vec<Proven>| verified.next().map(|file| of_all(&proofs, file?));
            all.extend(proofs.map(verify).transpose().map(Result::flatten));
        }
        all
    }
}

/// The file, if those who agree beside the first say nothing else of it.
fn of_all(proofs: &[Proven], file: VerifiedFile) -> Result<VerifiedFile, ClientError> {
    for proven in proofs {
        if proven.target.hashes != file.target().hashes || proven.target.length != file.target().length {
            super::file::verify(proven, file.path())?;
        }
    }
    Ok(file)
}

/// Whether another repository may do better: the file was not there, or nobody answered.
fn may_have_another(error: &ClientError) -> bool {
    match error {
        ClientError::Fetch(error) => !matches!(error, FetchError::Local { .. }),
        ClientError::File(FileError::Absent { .. }) => true,
        _ => false,
    }
}

fn said(vote: &Vote<'_>) -> String {
    let TargetFile { length, hashes, .. } = &vote.found.target;
    let hash = hashes.name().unwrap_or_else(|| "no known hash".to_owned());
    format!("{}: {length} bytes, {hash}", vote.repository)
}
