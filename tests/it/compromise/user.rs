//! The real client among the thief's files, and what he made it believe.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use wheelseal::client::{Client, ClientError, LogTrust, MetadataDir, Panel, RecorderError, Source};
use wheelseal::crypto::sha256;
use wheelseal::tlog::policy::Policy;
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::{Limits, TrustError};

use super::ledger::{policy, recorders};
use super::thief::{Net, wanted};
use super::world::{ATTACK, PROJECTS, World};
use crate::scene::days_later;

/// Bytes of a target that are read, at most.
const MAX_TARGET: u64 = 1_000_000;

/// What the client remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Memory {
    /// All it saw when it was there last, before the fix.
    Kept,
    /// The first root, and the policy of the log.
    Pinned,
    /// The same, and recorders of which 2 of 3 must have seen each file.
    Recorders,
    /// The first root alone.
    None,
}

/// What an attack can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// A file or page that nobody ever published.
    Malicious,
    /// A file that nobody ever published.
    File,
    /// A page that nobody ever published.
    Page,
    /// An older page, when its successor is out for longer than a timestamp lives.
    Freeze,
    /// Pages that were never published together, of which this project's is the odd one.
    Mixed,
}

impl Harm {
    /// The columns of the PEPs.
    pub(super) const ALL: [Self; 3] = [Self::Malicious, Self::Freeze, Self::Mixed];
    /// The columns where there is a log: it has files, and no pages.
    pub(super) const LOGGED: [Self; 4] = [Self::File, Self::Page, Self::Freeze, Self::Mixed];
}

/// When an attack ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    /// When a role expires, so many days after it was signed.
    Expires(DateTime<Utc>, String, i64),
    /// Never.
    Never,
}

/// What the client was given of a project.
struct Sight {
    page: Result<[u8; 32], ClientError>,
    malicious: bool,
    foreign: bool,
    refusal: Option<ClientError>,
}

struct Visit(BTreeMap<&'static str, Sight>);

async fn visit(world: &World, net: &Net, memory: Memory, at: DateTime<Utc>) -> Result<Visit, ClientError> {
    // In memory, where there is such a folder: the client waits for the disk whenever it trusts something new.
    let shm = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(shm).or_else(|_| tempfile::tempdir()).unwrap();
    match memory {
        Memory::Kept => {
            for (name, bytes) in &world.memory {
                let at = folder.path().join(name);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, bytes).unwrap();
            }
        }
        Memory::Pinned | Memory::Recorders | Memory::None => {
            fs::write(folder.path().join("root.json"), &world.files["metadata/1.root.json"]).unwrap();
        }
    }
    let cache = MetadataDir::new(folder.path());
    let client = Client::new(net.source("metadata"), net.source("targets"), cache, Limits::default());
    let client = client.with_log(trust(world, net, memory));
    let (session, mut sights) = (client.refresh(at).await?, BTreeMap::new());
    for project in PROJECTS {
        let mut got: Vec<Result<Vec<u8>, ClientError>> = Vec::new();
        for path in wanted(project) {
            got.push(read(&session, &path).await);
        }
        let evil = |got: &Result<Vec<u8>, ClientError>| {
            got.as_ref().is_ok_and(|bytes| !world.genuine.contains(&sha256(bytes)))
        };
        let (malicious, foreign) = (got.iter().any(evil), got.iter().skip(1).any(evil));
        let refusal =
            got.iter().find_map(|result| result.as_ref().err().filter(|error| is_expiry(error)).cloned());
        let page = got.remove(0).map(|bytes| sha256(&bytes));
        sights.insert(project, Sight { page, malicious, foreign, refusal });
    }
    Ok(Visit(sights))
}

/// What a client holds the log to beside what the repository says of it.
fn trust(world: &World, net: &Net, memory: Memory) -> LogTrust {
    let pins = world.log.is_some() && matches!(memory, Memory::Pinned | Memory::Recorders);
    let policy = pins.then(|| Policy::parse(policy().as_bytes()).unwrap());
    let source =
        |base: &str| Ok::<Arc<dyn Source>, RecorderError>(net.source(base.trim_end_matches('/')).into());
    let asks = memory == Memory::Recorders;
    let recorders = asks.then(|| Arc::new(Panel::new(&recorders(), source).unwrap()));
    LogTrust { policy, tiles: None, recorders }
}

async fn read(session: &wheelseal::client::Session, path: &TargetPath) -> Result<Vec<u8>, ClientError> {
    let found = session.find(path).await?;
    session.read(&found, MAX_TARGET).await
}

fn is_expiry(error: &ClientError) -> bool {
    matches!(error, ClientError::Trust(TrustError::Expired { .. }))
}

impl Visit {
    fn suffers(&self, world: &World, project: &str, harm: Harm) -> bool {
        let sight = &self.0[project];
        let file = matches!(harm, Harm::Malicious) && sight.malicious || harm == Harm::File && sight.foreign;
        let Ok(page) = sight.page else { return file };
        let genuine = world.genuine.contains(&page);
        match harm {
            Harm::Malicious | Harm::File => file,
            Harm::Page => !genuine,
            Harm::Freeze => genuine && world.moments[world.last()].pages[project] != page,
            Harm::Mixed => {
                let pages =
                    self.0.iter().filter_map(|(name, sight)| Some((*name, *sight.page.as_ref().ok()?)));
                let all: BTreeMap<_, _> = pages.collect();
                let mut others = all.clone();
                others.remove(project);
                let honest = all.values().all(|page| world.genuine.contains(page));
                honest && all.len() == PROJECTS.len() && !world.together(&all) && world.together(&others)
            }
        }
    }
}

/// Whether a client gets the newest page of every project: who gets nothing is not harmed either.
pub(super) async fn sees_the_newest(world: &World, net: &Net, memory: Memory) -> bool {
    let visit = visit(world, net, memory, days_later(ATTACK)).await.unwrap();
    let newest = &world.moments[world.last()].pages;
    visit.0.iter().all(|(project, sight)| sight.page.as_ref() == Ok(&newest[project]) && !sight.malicious)
}

/// An attack that harmed, and how long.
pub(super) type Done = BTreeMap<(&'static str, Harm), Until>;

/// One client's visits to the network of one attack, by date.
struct Diary<'a> {
    world: &'a World,
    net: &'a Net,
    memory: Memory,
    visits: BTreeMap<DateTime<Utc>, Result<Visit, ClientError>>,
}

/// The harm that an attack does on the day, and until when, where it is more than `known`.
pub(super) async fn harm(world: &World, net: &Net, memory: Memory, harms: &[Harm], known: &Done) -> Done {
    let mut diary = Diary { world, net, memory, visits: BTreeMap::new() };
    let mut done = Done::new();
    for project in PROJECTS {
        for harm in harms.iter().copied() {
            let after = match known.get(&(project, harm)) {
                None => days_later(ATTACK),
                Some(Until::Expires(date, ..)) => *date,
                Some(Until::Never) => continue,
            };
            if diary.suffers(days_later(ATTACK), project, harm).await
                && diary.suffers(after, project, harm).await
            {
                done.insert((project, harm), diary.until(after, project, harm).await);
            }
        }
    }
    done
}

impl Diary<'_> {
    async fn visit(&mut self, at: DateTime<Utc>) -> &Result<Visit, ClientError> {
        if !self.visits.contains_key(&at) {
            let visit = visit(self.world, self.net, self.memory, at).await;
            self.visits.insert(at, visit);
        }
        &self.visits[&at]
    }

    async fn suffers(&mut self, at: DateTime<Utc>, project: &str, harm: Harm) -> bool {
        let world = self.world;
        self.visit(at).await.as_ref().is_ok_and(|visit| visit.suffers(world, project, harm))
    }

    /// The clock is moved over every date on which an honest file expires, until the client refuses.
    async fn until(&mut self, after: DateTime<Utc>, project: &str, harm: Harm) -> Until {
        for date in dates(self.world).into_iter().filter(|date| *date > after) {
            if self.suffers(date, project, harm).await {
                continue;
            }
            let error = match self.visit(date).await {
                Ok(visit) => {
                    let others = visit.0.values().find_map(|sight| sight.refusal.clone());
                    visit.0[project].refusal.clone().or(others)
                }
                Err(error) => Some(error.clone()),
            };
            let Some(ClientError::Trust(TrustError::Expired { role, version, .. })) = error else {
                panic!("{project}, {harm:?}: ended by {error:?}")
            };
            let signed = self.world.signed[&(role.clone(), version)];
            return Until::Expires(date, role, (date - signed).num_days());
        }
        Until::Never
    }
}

/// The dates on which honest files expire that were good on the day of the attack.
fn dates(world: &World) -> Vec<DateTime<Utc>> {
    let contents = world.contents.values().map(|role| role.common.expires);
    let snapshots = world.moments.iter().map(|moment| moment.snapshot.common.expires);
    let newest = [world.root.common.expires, world.newest.common.expires];
    let mut dates: Vec<_> = contents.chain(snapshots).chain(newest).collect();
    dates.retain(|date| *date > days_later(ATTACK));
    dates.sort();
    dates.dedup();
    dates
}
