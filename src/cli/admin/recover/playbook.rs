//! The playbooks: for each loss or theft a short list of steps, each with a reason, its state, and the command line.
//!
//! The state of a step is read from the repository and its ceremonies each time, so a playbook can be left and gone on
//! with, and any step can be run by hand, or on another machine.

use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::drill::Scenario;
use super::good::GoodArgs;
use crate::cli::admin::ceremony::Changes;
use crate::cli::exit::Usage;
use crate::cli::keys::open_repository;
use crate::cli::{Context, RepoArg};
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{
    CeremonyError, Detail, EventName, Listed, Repository, RepositoryError, Review, Subject, Unwatched,
};

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Done,
    ToDo,
    /// For signatures, or for something that must be said first.
    Waiting(String),
    /// Nothing here can tell whether it is done.
    People,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// What it does and why.
    pub(super) why: String,
    /// The command, word by word; none if people do it elsewhere.
    pub(super) command: Option<Vec<String>>,
    pub(super) state: State,
}

impl Step {
    fn people(why: &str) -> Self {
        Self { why: why.to_owned(), command: None, state: State::People }
    }

    fn run(why: &str, command: Vec<String>, state: State) -> Self {
        Self { why: why.to_owned(), command: Some(command), state }
    }
}

/// What all playbooks have in common.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) repo: RepoArg,
    /// A signing key that is here, for the steps that sign (`wheelseal help keys`); may be repeated
    #[arg(long = "key", value_name = "URI")]
    pub(super) keys: Vec<String>,
    /// How the ceremony is called; `recover-PLAYBOOK`, if not said
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Go through the steps without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Rehearse it, from the theft to the end, on a copy with throw-away keys; the repository is only read
    #[arg(long)]
    pub(super) drill: bool,
}

/// A key was lost, not stolen: it leaves every role that lists it.
///
/// If so few root keys are left that they cannot sign, this says so: see `recover root`.
#[derive(Debug, Args)]
pub(crate) struct LostKey {
    #[command(flatten)]
    pub(super) common: Common,
    /// The key: the start of its id, eight characters or more, or its URI, most often `pub:FILE`
    #[arg(required_unless_present = "drill")]
    key: Option<String>,
    /// A key in its place, most often `pub:FILE`; may be repeated
    #[arg(long, value_name = "URI")]
    new: Vec<String>,
}

/// The keys that a playbook replaces, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct NewKeys {
    /// A new key in place of the stolen ones, most often `pub:FILE`; may be repeated
    #[arg(long, value_name = "URI")]
    new: Vec<String>,
}

/// The online keys were stolen (PEP 458, steps 1 to 5): timestamp, snapshot, all bins, recently-claimed.
#[derive(Debug, Args)]
pub(crate) struct OnlineKeys {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) good: GoodArgs,
    #[command(flatten)]
    new: NewKeys,
    /// A new key of targets, bins and claimed as well, as PEP 458 asks; may be repeated
    #[arg(long, value_name = "URI")]
    new_offline: Vec<String>,
}

/// The keys of timestamp and snapshot were stolen, and these sign nothing else. New ones make clients forget versions that
/// the thief pushed up.
#[derive(Debug, Args)]
pub(crate) struct SnapshotKeys {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) good: GoodArgs,
    #[command(flatten)]
    new: NewKeys,
}

/// The keys of targets were stolen, which most often sign bins and claimed too: all three get new ones.
#[derive(Debug, Args)]
pub(crate) struct TargetsKeys {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) good: GoodArgs,
    #[command(flatten)]
    new: NewKeys,
}

/// The keys of a claimed project were stolen (PEP 480).
#[derive(Debug, Args)]
pub(crate) struct ProjectKeys {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) good: GoodArgs,
    /// The project
    project: String,
}

/// So many root keys were lost or stolen that root cannot be trusted to sign its successor: a new first root, which users
/// must be told of.
#[derive(Debug, Args)]
pub(crate) struct Root {
    #[command(flatten)]
    pub(super) common: Common,
    /// A key of the new root, at hand here; may be repeated
    #[arg(long = "root-key", value_name = "URI")]
    fresh: Vec<String>,
    /// How many of them must sign
    #[arg(long = "root-threshold", value_name = "N", default_value_t = 1)]
    threshold: u64,
    /// The root keys were stolen, not lost
    #[arg(long)]
    stolen: bool,
}

/// Characters of a key's id that tell it from others, as everywhere on the screen.
const SHORT: usize = 8;

/// What signs without a person.
const ONLINE: [&str; 4] = ["timestamp", "snapshot", "recently-claimed", "bin-n"];
/// What people sign, root aside.
const OFFLINE: [&str; 3] = ["targets", "bins", "claimed"];

/// What a playbook knows of the repository.
struct Seen<'a> {
    repository: Repository,
    common: &'a Common,
    name: String,
    changes: Changes,
    /// Whether the new keys are where they should be.
    so: bool,
    /// The ceremony: none, or who is missing.
    missing: Option<Vec<String>>,
}

impl Common {
    fn words(&self, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(["--repo".to_owned(), self.repo.repo.to_string()]).collect()
    }

    fn asked(&self, mut words: Vec<String>) -> Vec<String> {
        words.extend(self.yes.then(|| "--yes".to_owned()));
        words
    }

    /// With the keys that are here.
    fn signed(&self, mut words: Vec<String>, more: &[String]) -> Vec<String> {
        let private = more.iter().filter(|uri| !uri.starts_with("pub:"));
        words.extend(self.keys.iter().chain(private).flat_map(|uri| ["--key".to_owned(), uri.clone()]));
        self.asked(words)
    }

    async fn see(&self, playbook: &str, changes: Changes, new: &[String]) -> anyhow::Result<Seen<'_>> {
        let repository = open_repository(&self.repo).await?;
        let name = self.name.clone().unwrap_or_else(|| format!("recover-{playbook}"));
        let so = !changes.typed().is_empty() && repository.is_so(&changes.edits().await?).await?;
        let event = EventName::new(name.as_str()).map_err(RepositoryError::from)?;
        let missing = match repository.ceremony(&event).await {
            Err(RepositoryError::Ceremony(CeremonyError::Unknown(_))) => None,
            event => {
                let review = event?.review(Detail::Brief, None).map_err(RepositoryError::from)?;
                Some(missing(&review, new.iter().any(|uri| !uri.starts_with("pub:"))))
            }
        };
        Ok(Seen { repository, common: self, name, changes, so, missing })
    }
}

/// Who has still to sign. Old keys of other roles than root are welcome, but not needed; a new key that is at hand shows
/// itself when it signs.
fn missing(review: &Review, at_hand: bool) -> Vec<String> {
    let counts = review.roles.iter().flat_map(|role| role.signatures.iter().map(move |count| (role, count)));
    let needed =
        counts.filter(|(role, count)| !count.complete() && (role.role == "root" || count.by != "now"));
    let signers = needed.map(|(role, count)| format!("{} by {}", role.role, count.missing.join(" or ")));
    let joining = review.new_keys.iter().filter(|key| !key.proven && !at_hand);
    let short = |key: &str| key.chars().take(SHORT).collect::<String>();
    signers.chain(joining.map(|key| format!("joining by {}", short(&key.key)))).collect()
}

impl Seen<'_> {
    /// Proposing new keys, and having them signed.
    fn ceremony(&self, why: &str, flag: &str) -> Vec<Step> {
        let mut start = self.common.words(&["ceremony", "start", &self.name]);
        let typed = self.changes.typed();
        let said = !typed.is_empty();
        start.extend(typed);
        let proposed = match (self.so, &self.missing) {
            (true, _) | (_, Some(_)) => State::Done,
            _ if !said => State::Waiting(format!("for new keys: wheelseal key gen, then {flag}")),
            _ => State::ToDo,
        };
        let sign = self.common.signed(self.common.words(&["ceremony", "sign", &self.name]), &[]);
        let signed = match &self.missing {
            _ if self.so => State::Done,
            None => State::Waiting("for the step before".to_owned()),
            Some(missing) if missing.is_empty() => State::Done,
            Some(missing) if self.common.keys.is_empty() => State::Waiting(self.signatures(missing)),
            Some(_) => State::ToDo,
        };
        let signing =
            "The holders of offline keys sign it, here or elsewhere: `ceremony export`, `sign`, `import`.";
        vec![Step::run(why, start, proposed), Step::run(signing, sign, signed)]
    }

    fn signatures(&self, missing: &[String]) -> String {
        format!("for signatures: {} (wheelseal ceremony export {} FILE)", missing.join("; "), self.name)
    }

    /// Whether the ceremony can be finished, or was.
    fn ready(&self) -> State {
        match &self.missing {
            _ if self.so => State::Done,
            None => State::Waiting("for the steps before".to_owned()),
            Some(missing) if missing.is_empty() => State::ToDo,
            Some(missing) => State::Waiting(self.signatures(missing)),
        }
    }

    fn check(&self) -> Step {
        let check = self.common.words(&["check"]);
        Step::run("Everything is verified as a client would.", check, State::ToDo)
    }

    /// What differs is looked at.
    async fn compare(&self, good: &GoodArgs) -> anyhow::Result<(Step, bool)> {
        let opened = good.open(&self.repository).await?;
        let left = self.repository.restoration(&opened, &good.keep(), &Unwatched).await?;
        let words = good.typed(self.common.words(&["recover", "compare"]));
        let why = "What was added, changed or removed since the last known good state? Name what is not the thief's \
                   with --keep.";
        let differs =
            !left.is_empty() || !left.outcome().claimed.is_empty() || !left.outcome().missing.is_empty();
        let state = if differs { State::ToDo } else { State::Done };
        Ok((Step::run(why, words, state), !left.is_empty()))
    }

    /// New keys for stolen ones, and the bins as they were, in one commit.
    async fn stolen(
        &self,
        good: &GoodArgs,
        new: &[String],
        why: &str,
        tell: &str,
    ) -> anyhow::Result<Vec<Step>> {
        let (compare, to_do) = self.compare(good).await?;
        let mut steps = vec![Step::people(STOP), compare];
        steps.extend(self.ceremony(why, "--new pub:FILE"));
        let mut restore = good.typed(self.common.words(&["recover", "restore"]));
        let state = match self.ready() {
            State::Done if to_do => State::ToDo,
            state => state,
        };
        if !self.so {
            restore.extend(["--ceremony".to_owned(), self.name.clone()]);
        }
        let finish = "The new keys take over, and what the bins list goes back to the good state in the same commit. \
                      Clients forget the versions that the thief pushed up.";
        steps.push(Step::run(finish, self.common.signed(restore, new), state));
        steps.push(self.check());
        steps.push(Step::people(tell));
        Ok(steps)
    }
}

const STOP: &str = "Stop everything that publishes, take the thief's access to the store away, and copy the repository and \
                    its logs aside.";
const TELL: &str = "Tell your users what happened, from when to when, and which files were touched. Have the project \
                    pages that were changed looked at by their maintainers. Publish again.";

/// The roles that list a key, which is named by its URI or the start of its id.
async fn listed(repository: &Repository, key: &str) -> anyhow::Result<Vec<Listed>> {
    if key.contains(':') {
        let known = keys::open_public(&KeyUri::from_str(key)?, &Ask).await?;
        return Ok(repository.roles_of(&move |_, key| key.public() == known.public()).await?);
    }
    let start = key.to_owned();
    Ok(repository.roles_of(&move |id, _| start.len() >= SHORT && id.starts_with(&start)).await?)
}

impl LostKey {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let repository = open_repository(&self.common.repo).await?;
        let key = self.key.clone().unwrap_or_default();
        let listed = listed(&repository, &key).await?;
        let new = u64::try_from(self.new.len()).unwrap_or(u64::MAX);
        let count = |left: usize| u64::try_from(left).unwrap_or(u64::MAX);
        if let Some(root) = listed.iter().find(|role| role.subject == Subject::Root)
            && count(root.left) < root.threshold
        {
            let why = format!(
                "root needs {} signatures, and without this key {} can be made: nothing that root says can change. \
                 Publishing goes on until root expires. Users need a new first root.",
                root.threshold, root.left
            );
            let command = self.common.words(&["recover", "root", "--root-key", "NEW"]);
            return Ok(vec![Step::run(&why, command, State::People)]);
        }
        if let Some(short) = listed.iter().find(|role| count(role.left).saturating_add(new) < role.threshold)
        {
            let why = format!(
                "{} needs {} signatures, and {} of its keys are left: make a new key, and name it with --new.",
                short.subject.name(),
                short.threshold,
                short.left
            );
            return Ok(vec![Step::run(
                &why,
                vec!["key".to_owned(), "gen".to_owned(), "NEW".to_owned()],
                State::People,
            )]);
        }
        let roles: Vec<&str> = listed.iter().map(|role| role.subject.name()).collect();
        let changes = Changes::replaced_key(&roles, &key, &self.new);
        let mut seen = self.common.see("lost-key", changes, &self.new).await?;
        seen.so = roles.is_empty() && seen.missing.is_none();
        let why = format!("The key leaves the roles that list it: {}.", roles.join(", "));
        let mut steps = seen.ceremony(&why, "--new pub:FILE");
        let mut finish = self.common.words(&["ceremony", "finish", &seen.name]);
        let private = self.new.iter().filter(|uri| !uri.starts_with("pub:"));
        finish
            .extend(self.common.keys.iter().chain(private).flat_map(|uri| ["--key".to_owned(), uri.clone()]));
        steps.push(Step::run("It is published, after a client has looked at it.", finish, seen.ready()));
        steps.push(seen.check());
        Ok(steps)
    }
}

impl OnlineKeys {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let online = Changes::new_keys(&ONLINE, &self.new.new);
        let seen = self
            .common
            .see("online-keys", online.and(Changes::new_keys(&OFFLINE, &self.new_offline)), &self.new.new)
            .await?;
        let why = "Root, targets and bins name new keys for timestamp, snapshot, recently-claimed and every bin (PEP 458, \
                   steps 1, 2 and 4).";
        seen.stolen(&self.good, &self.new.new, why, TELL).await
    }
}

impl SnapshotKeys {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let changes = Changes::new_keys(&["timestamp", "snapshot"], &self.new.new);
        let seen = self.common.see("snapshot-keys", changes, &self.new.new).await?;
        let mut others = Vec::new();
        for other in [Subject::BinN, Subject::RecentlyClaimed] {
            for stolen in [Subject::Timestamp, Subject::Snapshot] {
                if !seen.so && seen.repository.shares_keys(stolen, other).await? {
                    others.push(other.name());
                }
            }
        }
        if !others.is_empty() {
            others.dedup();
            let why = format!(
                "The same keys sign {} too: everything online must get new keys.",
                others.join(" and ")
            );
            let command = self.good.typed(self.common.words(&["recover", "online-keys"]));
            return Ok(vec![Step::run(&why, command, State::People)]);
        }
        let why = "Root names new keys for timestamp and snapshot. A client that follows it forgets the versions it knew.";
        seen.stolen(&self.good, &self.new.new, why, TELL).await
    }
}

impl TargetsKeys {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let seen = self.common.see("targets-keys", Changes::new_keys(&OFFLINE, &self.new.new), &[]).await?;
        let why = "Root names new keys for targets, and targets for bins and claimed. Without timestamp and snapshot the \
                   thief could do nothing with the old ones; if these are stolen too: recover online-keys --new-offline.";
        let mut steps = seen.stolen(&self.good, &self.new.new, why, TELL).await?;
        steps.insert(2, Step::people(
            "Does the comparison show that targets, bins or claimed delegate to other roles than before? No ceremony takes a \
             role away again: make the repository anew from the backup (docs/operating.md, After a disaster).",
        ));
        Ok(steps)
    }
}

impl ProjectKeys {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let seen = self.common.see("project-keys", Changes::default(), &[]).await?;
        let claimed =
            seen.repository.claimed().await?.into_iter().any(|claimed| claimed.project == self.project);
        let (compare, to_do) = seen.compare(&self.good).await?;
        let name = &self.project;
        let maintainers = format!(
            "If the maintainers still hold their keys, they do it themselves: `wheelseal project rotate {name} --from ID \
             --to URI`, then `wheelseal project release {name}` with the files that are theirs. If the thief has \
             changed the keys, go on."
        );
        let revoke = "The index takes the project back: its files are signed by the index until it is claimed again. Below \
                      claimed this wants the offline keys.";
        let state = if claimed { State::ToDo } else { State::Done };
        let command = self.common.words(&["claims", "revoke", name]);
        let keys = self.common.keys.iter().flat_map(|uri| ["--key".to_owned(), uri.clone()]);
        let revoke = Step::run(revoke, command.into_iter().chain(keys).collect(), state.clone());
        let restore = match state {
            State::ToDo => State::Waiting("for the step before".to_owned()),
            _ if to_do => State::ToDo,
            _ => State::Done,
        };
        let words = self.common.asked(self.good.typed(self.common.words(&["recover", "restore"])));
        let back = "The project's files go back to what the good state says.";
        let again = format!(
            "The maintainers make new keys and claim it again: `wheelseal project claim {name}`; you receive and promote \
             it. They release from a clean machine."
        );
        Ok(vec![
            Step::people(
                "Ask the maintainers, by a way that the thief does not have: which keys, since when?",
            ),
            compare,
            Step::people(&maintainers),
            revoke,
            Step::run(back, words, restore),
            seen.check(),
            Step::people(&again),
            Step::people(TELL),
        ])
    }
}

impl Root {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        let new = Changes::new_keys(&["root"], &self.fresh);
        let seen = self.common.see("root", new, &[]).await?;
        let mut words = self.common.words(&["recover", "first-root"]);
        words.extend(self.fresh.iter().flat_map(|uri| ["--root-key".to_owned(), uri.clone()]));
        words.extend(["--root-threshold".to_owned(), self.threshold.to_string()]);
        let state = match (seen.so, self.fresh.is_empty()) {
            (true, _) => State::Done,
            (_, true) => State::Waiting("for a new key: wheelseal key gen, then --root-key FILE".to_owned()),
            _ => State::ToDo,
        };
        let why = "A new first root, signed by new keys alone, over the same content: no other role is signed anew.";
        let mut steps = Vec::from_iter(self.stolen.then(|| Step::people(STOP)));
        steps.push(Step::run(why, self.common.asked(words), state));
        steps.push(Step::people(
            "If several people are to hold root: a ceremony that adds them and raises the threshold, now, before users are \
             told (docs/operating.md, The first ceremony).",
        ));
        if self.stolen {
            let command = self.common.words(&["recover", "online-keys", "--good", "FILE", "--new", "URI"]);
            let why = "Whoever had root can have named keys of their own for every role: all of them are replaced, and the \
                       content is compared.";
            steps.push(Step::run(why, command, State::People));
        }
        steps.push(seen.check());
        steps.push(Step::people(
            "Tell every user by another channel: the SHA-256 of the new root, `wheelseal trust remove NAME`, `wheelseal \
             trust add NAME URL --root FILE`. Clients that trust the old root go on until it expires, or until other \
             keys are replaced, and refuse from then on.",
        ));
        Ok(steps)
    }
}

/// A command as one would type it.
pub(super) fn typed(words: &[String]) -> String {
    let plain = |word: &str| word.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&c));
    let quoted = words.iter().map(|word| {
        if plain(word) && !word.is_empty() {
            return word.clone();
        }
        format!("'{}'", word.replace('\'', "'\\''"))
    });
    ["wheelseal".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

/// Steps of a playbook, asked for again before each one is done.
pub(super) enum Playbook {
    LostKey(LostKey),
    OnlineKeys(OnlineKeys),
    SnapshotKeys(SnapshotKeys),
    TargetsKeys(TargetsKeys),
    ProjectKeys(ProjectKeys),
    Root(Root),
}

impl Playbook {
    pub(super) async fn steps(&self) -> anyhow::Result<Vec<Step>> {
        match self {
            Self::LostKey(playbook) => playbook.steps().await,
            Self::OnlineKeys(playbook) => playbook.steps().await,
            Self::SnapshotKeys(playbook) => playbook.steps().await,
            Self::TargetsKeys(playbook) => playbook.steps().await,
            Self::ProjectKeys(playbook) => playbook.steps().await,
            Self::Root(playbook) => playbook.steps().await,
        }
    }

    pub(super) fn common(&self) -> &Common {
        match self {
            Self::LostKey(playbook) => &playbook.common,
            Self::OnlineKeys(playbook) => &playbook.common,
            Self::SnapshotKeys(playbook) => &playbook.common,
            Self::TargetsKeys(playbook) => &playbook.common,
            Self::ProjectKeys(playbook) => &playbook.common,
            Self::Root(playbook) => &playbook.common,
        }
    }

    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        if !self.common().drill {
            return super::walk::run(self, context).await;
        }
        let scenario = match self {
            Self::LostKey(_) => Scenario::LostKey,
            Self::OnlineKeys(_) => Scenario::OnlineKeys,
            Self::SnapshotKeys(_) => Scenario::SnapshotKeys,
            Self::TargetsKeys(_) => Scenario::TargetsKeys,
            Self::Root(_) => Scenario::Root,
            Self::ProjectKeys(_) => {
                let text = "there is no drill of it: the keys are the maintainers', who rehearse with a project of theirs";
                return Err(Usage(text.to_owned()).into());
            }
        };
        super::drill::run(scenario, &self.common().repo, context).await
    }
}
