//! `--drill`: a playbook from the theft to the end, on a copy with throw-away keys, with real clients watching.
//!
//! 1. A sandbox lies over the real store: what is written goes to a temporary folder, and the real store is only read.
//! 2. There a new first root, and a ceremony, give every role throw-away keys: as many as it has, with the same thresholds.
//!    They are never written down.
//! 3. Three clients: one has seen the good state, one will see the thief's, one comes when all is over.
//! 4. The thief uses the keys that the playbook is about. The steps are those of the playbook, done by the same code.
//! 5. Each client must find the good file and refuse the thief's, and what the old keys sign.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use super::throwaway::{Team, keyring};
use crate::cli::exit::{self, SomeFailed};
use crate::cli::gate::reading;
use crate::cli::output::{BAD, GOOD, STRONG, styled};
use crate::cli::{Context, RepoArg};
use crate::client::ClientError;
use crate::repository::{
    Changed, Differing, Edits, EventName, Good, Item, Keep, Keyring, Repository, RepositoryError, RoleEdit,
    Sandbox, Subject, Unwatched,
};
use crate::store::{DirStore, Store};
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;
use crate::tuf::signed::VerifyError;
use crate::tuf::trusted::TrustError;

/// How far a rehearsed thief pushes versions: the highest number that every JSON reader knows exactly.
const PUSHED: u64 = (1 << 53) - 1;

/// What is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    LostKey,
    OnlineKeys,
    SnapshotKeys,
    TargetsKeys,
    Root,
}

/// One step of a drill, and what was seen.
#[derive(Debug, Clone, Serialize)]
struct Row {
    step: &'static str,
    ok: bool,
    saw: String,
}

/// The throw-away keys of all roles.
#[derive(Debug, Clone)]
struct Teams {
    root: Team,
    targets: Team,
    bins: Team,
    claimed: Team,
    /// Timestamp and snapshot.
    snapshot: Team,
    /// All bins, and recently-claimed.
    online: Team,
}

struct Drill<'a> {
    context: &'a Context,
    scenario: Scenario,
    repository: Repository,
    sandbox: Arc<dyn Store>,
    folder: TempDir,
    teams: Teams,
    /// The keys that were stolen, or lost.
    old: Teams,
    /// The root that the first clients were given.
    root: Vec<u8>,
    victim: Option<(TargetPath, TargetFile)>,
    rows: Vec<Row>,
}

/// Rehearses a playbook. The real store is only read.
pub(super) async fn run(scenario: Scenario, repo: &RepoArg, context: &Context) -> anyhow::Result<()> {
    let mut drill = Drill::prepare(scenario, repo, context).await?;
    let outcome = drill.steps().await;
    if let Err(error) = &outcome {
        drill.rows.push(Row { step: "the next step", ok: false, saw: format!("{error:#}") });
    }
    let ok = outcome.is_ok();
    let rows = drill.rows;
    context.out.result(&serde_json::json!({"steps": rows, "ok": ok}), || show(&rows, context))?;
    if ok {
        return Ok(());
    }
    let text = "the drill failed: find out why before you need it".to_owned();
    Err(SomeFailed { text, code: exit::OTHER }.into())
}

fn show(rows: &[Row], context: &Context) {
    for Row { step, ok, saw } in rows {
        let verdict = if *ok { styled(GOOD, "ok") } else { styled(BAD, "failed") };
        context.out.line(format_args!("{verdict} {}: {saw}", styled(STRONG, step)));
    }
    context.out.note("nothing of the repository was changed");
}

impl Teams {
    async fn like(repository: &Repository) -> anyhow::Result<Self> {
        let team = async |subject| Team::new(repository.team(subject).await?);
        Ok(Self {
            root: team(Subject::Root).await?,
            targets: team(Subject::Targets).await?,
            bins: team(Subject::Bins).await?,
            claimed: team(Subject::Claimed).await?,
            snapshot: team(Subject::Snapshot).await?,
            online: team(Subject::BinN).await?,
        })
    }

    fn all(&self) -> [&Team; 6] {
        [&self.root, &self.targets, &self.bins, &self.claimed, &self.snapshot, &self.online]
    }

    /// These keys for every role but root.
    fn below_root(&self) -> Vec<(Subject, RoleEdit)> {
        let mut edits = self.targets.edits(&[Subject::Targets]);
        edits.extend(self.bins.edits(&[Subject::Bins]));
        edits.extend(self.claimed.edits(&[Subject::Claimed]));
        edits.extend(self.snapshot.edits(&[Subject::Timestamp, Subject::Snapshot]));
        edits.extend(self.online.edits(&[Subject::RecentlyClaimed, Subject::BinN]));
        edits
    }
}

impl<'a> Drill<'a> {
    async fn prepare(scenario: Scenario, repo: &RepoArg, context: &'a Context) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let above = Arc::new(DirStore::create(folder.path().join("copy")).await?);
        let sandbox: Arc<dyn Store> = Arc::new(Sandbox::new(repo.repo.open().await?, above));
        let repository = Repository::open(Arc::clone(&sandbox)).await?;
        let teams = Teams::like(&repository).await?;
        let old = teams.clone();
        let (root, victim, rows) = (Vec::new(), None, Vec::new());
        Ok(Self { context, scenario, repository, sandbox, folder, teams, old, root, victim, rows })
    }

    async fn steps(&mut self) -> anyhow::Result<()> {
        self.throw_away_keys().await?;
        let good = self.good_state().await?;
        self.look("early", "a client that has seen the good state").await?;
        let stolen = self.theft().await?;
        self.comparison(&good, &stolen).await?;
        self.recovery(&good).await?;
        self.comparison(&good, &[]).await?;
        self.clients(&stolen).await?;
        self.old_keys().await
    }

    fn saw(&mut self, step: &'static str, saw: impl Into<String>) {
        self.rows.push(Row { step, ok: true, saw: saw.into() });
    }

    async fn throw_away_keys(&mut self) -> anyhow::Result<()> {
        let (teams, now) = (self.teams.clone(), self.context.now);
        self.repository.new_first_root(&keyring(&[&teams.root]), &teams.root.plan(), now).await?;
        let edits = Edits { roles: teams.below_root(), bins: None, log_policy: None };
        self.change("drill-keys", &edits, &keyring(&teams.all())).await?;
        self.root = self.repository.first_root().await?;
        self.victim = self.repository.some_target().await?;
        self.saw("a copy", "every role has throw-away keys, as many as it really has");
        Ok(())
    }

    async fn change(&self, name: &str, edits: &Edits, keys: &Keyring) -> anyhow::Result<()> {
        let name = EventName::new(name).map_err(RepositoryError::from)?;
        match self.repository.change(&name, edits, keys, None, self.context.now, &Unwatched).await? {
            Changed::Done(_) => Ok(()),
            Changed::Waiting { why, .. } => Err(why.into()),
        }
    }

    async fn good_state(&mut self) -> anyhow::Result<Good> {
        let file = self.folder.path().join("good.tar.zst");
        let done = self.repository.backup(&file, &Unwatched).await?;
        self.saw("backup", format!("snapshot {}: {} bytes", done.snapshot, done.bytes));
        Ok(self.repository.good_backup(&file, None).await?)
    }

    /// What a client finds; it remembers under `home`.
    async fn find(&self, home: &str, root: &[u8], path: &TargetPath) -> Result<TargetFile, ClientError> {
        let client = reading(&self.sandbox, &self.folder.path().join(home), root)?;
        let session = client.refresh(self.context.now).await?;
        Ok(session.find(path).await?.target)
    }

    /// A client finds the good file.
    async fn look(&mut self, home: &str, who: &'static str) -> anyhow::Result<()> {
        let Some((path, file)) = self.victim.clone() else {
            self.saw(who, "there is no file to ask for");
            return Ok(());
        };
        let found = self.find(home, &self.root.clone(), &path).await?;
        ensure!(found == file, "{who} found another {path} than was published");
        self.saw(who, format!("found {path} as it was published"));
        Ok(())
    }

    /// The thief at work. Returns the targets that were touched.
    async fn theft(&mut self) -> anyhow::Result<Vec<TargetPath>> {
        let victim = self.victim.as_ref().map(|(path, _)| path.clone());
        let stolen = match self.scenario {
            Scenario::LostKey | Scenario::TargetsKeys => return Ok(Vec::new()),
            Scenario::SnapshotKeys => Vec::new(),
            Scenario::OnlineKeys | Scenario::Root => {
                let added = match &victim {
                    Some(victim) => format!("{victim}.stolen"),
                    None => "stolen/stolen-1.0.tar.gz".to_owned(),
                };
                victim.into_iter().chain([TargetPath::new(added)?]).collect()
            }
        };
        let keys = match self.scenario {
            Scenario::SnapshotKeys => keyring(&[&self.teams.snapshot]),
            _ => keyring(&[&self.teams.snapshot, &self.teams.online]),
        };
        self.repository.rehearse_theft(&keys, &stolen, PUSHED, self.context.now).await?;
        let (files, saw) = (stolen.len(), "the version of snapshot and timestamp is 2^53 - 1");
        self.saw("the thief", format!("{files} files of the thief's own are signed, {saw}"));
        if let Some(path) = stolen.last() {
            self.find("middle", &self.root, path).await.context("a client that updated now")?;
            self.saw("a client that updated now", format!("was given {path}"));
        } else if let Some((path, _)) = &self.victim {
            self.find("middle", &self.root, path).await.context("a client that updated now")?;
        }
        Ok(stolen)
    }

    async fn comparison(&mut self, good: &Good, expected: &[TargetPath]) -> anyhow::Result<()> {
        let mut found = Vec::new();
        let mut tell = |differing: &Differing| {
            if differing.item == Item::Target {
                found.push(differing.path.clone());
            }
            Ok(())
        };
        self.repository.compare(good, &Keep::default(), &Unwatched, &mut tell).await?;
        found.sort();
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        ensure!(found == expected, "the comparison found {found:?} instead of {expected:?}");
        let saw = if found.is_empty() { "nothing differs".to_owned() } else { found.join(", ") };
        self.saw("compare with the good state", saw);
        Ok(())
    }

    /// New keys take over, and the bins go back, in one commit.
    async fn recovery(&mut self, good: &Good) -> anyhow::Result<()> {
        let fresh = Teams::like(&self.repository).await?;
        let before = self.teams.clone();
        let (edits, teams) = match self.scenario {
            Scenario::LostKey => return self.lost_key(&fresh).await,
            Scenario::SnapshotKeys => {
                let edits = fresh.snapshot.edits(&[Subject::Timestamp, Subject::Snapshot]);
                (edits, Teams { snapshot: fresh.snapshot, ..before })
            }
            Scenario::OnlineKeys => {
                let mut edits = fresh.snapshot.edits(&[Subject::Timestamp, Subject::Snapshot]);
                edits.extend(fresh.online.edits(&[Subject::RecentlyClaimed, Subject::BinN]));
                (edits, Teams { snapshot: fresh.snapshot, online: fresh.online, ..before })
            }
            Scenario::TargetsKeys => {
                let mut edits = fresh.targets.edits(&[Subject::Targets]);
                edits.extend(fresh.bins.edits(&[Subject::Bins]));
                edits.extend(fresh.claimed.edits(&[Subject::Claimed]));
                let Teams { targets, bins, claimed, .. } = fresh;
                (edits, Teams { targets, bins, claimed, ..before })
            }
            Scenario::Root => {
                let keys = keyring(&[&fresh.root]);
                self.repository.new_first_root(&keys, &fresh.root.plan(), self.context.now).await?;
                self.saw("a new first root", fresh.root.people("root"));
                (fresh.below_root(), fresh)
            }
        };
        // The stolen keys are not used again; those that were not stolen sign.
        let keys = keyring(&teams.all());
        let name = EventName::new("drill-recovery").map_err(RepositoryError::from)?;
        let edits = Edits { roles: edits, bins: None, log_policy: None };
        let (repository, now) = (&self.repository, self.context.now);
        let mut event = repository.draft(name, &edits, now).await?;
        event.sign_with(&keys, now).await?;
        let restoration = repository.restoration(good, &Keep::default(), &Unwatched).await?;
        let people = [("root", &teams.root), ("targets", &teams.targets), ("bins", &teams.bins)];
        let signed = people.into_iter().filter(|(role, _)| event.roles().any(|name| name == *role));
        let signed: Vec<_> = signed.map(|(role, team)| team.people(role)).collect();
        let (finished, done) =
            repository.finish_restoring(&event, restoration, &keys, None, now, &Unwatched).await?;
        let (restored, withdrawn) = (done.restored.len(), done.withdrawn.len());
        self.saw("a ceremony for new keys", format!("needs {}", signed.join(", ")));
        self.saw(
            "new keys and restoration in one commit",
            format!("{} bins signed, {restored} restored, {withdrawn} withdrawn", finished.bins),
        );
        self.teams = teams;
        Ok(())
    }

    /// One key leaves its role, and another comes: of root, if the others can sign without it.
    async fn lost_key(&mut self, fresh: &Teams) -> anyhow::Result<()> {
        let (subject, team, new) = if self.teams.root.can_spare_one() {
            (Subject::Root, &self.teams.root, &fresh.root)
        } else {
            (Subject::Targets, &self.teams.targets, &fresh.targets)
        };
        let (Some(lost), Some(found)) = (team.first(), new.first()) else { bail!("a role without keys") };
        let roles = vec![
            (subject, RoleEdit::RemoveThis(Box::new(lost.clone()))),
            (subject, RoleEdit::AddKey(Box::new(found))),
        ];
        let keys = keyring(&[&team.without(&lost), &self.teams.root.without(&lost), new]);
        self.change("drill-recovery", &Edits { roles, bins: None, log_policy: None }, &keys).await?;
        let people = self.teams.root.people("root");
        self.saw("a ceremony for the new key", format!("{}: needs {people}", subject.name()));
        Ok(())
    }

    async fn clients(&mut self, stolen: &[TargetPath]) -> anyhow::Result<()> {
        if self.scenario == Scenario::Root {
            for home in ["early", "middle"] {
                self.refuses(home, "a client of the old root").await?;
            }
            self.root = self.repository.first_root().await?;
            for home in ["told-early", "told-middle"] {
                self.look(home, "a client that trusts the new root").await?;
            }
        } else {
            self.look("early", "the client that saw the good state").await?;
            self.look("middle", "the client that saw the thief's state").await?;
        }
        self.look("late", "a client without memory").await?;
        let Some(evil) = stolen.last() else { return Ok(()) };
        let homes = match self.scenario {
            Scenario::Root => ["told-early", "told-middle", "late"],
            _ => ["early", "middle", "late"],
        };
        for home in homes {
            match self.find(home, &self.root, evil).await {
                Err(ClientError::NotSigned { .. }) => {}
                other => bail!("a client was not refused {evil}: {other:?}"),
            }
        }
        self.saw("the thief's file", "is refused by all of them");
        Ok(())
    }

    /// A client that can only read what keys sign that were replaced.
    async fn refuses(&mut self, home: &str, who: &'static str) -> anyhow::Result<()> {
        let path = TargetPath::new("no-such-project/no-such-file")?;
        match self.find(home, &self.root, &path).await {
            Err(ClientError::Trust(TrustError::Verify(error @ VerifyError::BelowThreshold { .. }))) => {
                self.saw(who, format!("refuses: {error}"));
                Ok(())
            }
            other => bail!("{who} did not refuse: {other:?}"),
        }
    }

    /// What the old online keys sign is refused from now on.
    async fn old_keys(&mut self) -> anyhow::Result<()> {
        if matches!(self.scenario, Scenario::LostKey | Scenario::TargetsKeys) {
            return Ok(());
        }
        let keys = keyring(&[&self.old.snapshot]);
        let before = self.repository.rehearse_timestamp(&keys, u64::MAX).await?;
        self.refuses("late", "what the old keys sign").await?;
        self.repository.rehearse_undo(&before).await?;
        Ok(())
    }
}
