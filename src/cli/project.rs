//! What maintainers type: `project claim | release | cosign | send | add-maintainer | … | standing | status | verify-published`.
//!
//! All of it works on what the verifying client sees. Keys stay on this machine; what is signed goes into a file, or a folder
//! with distributions beside it, that the index applies with `claims receive`.

mod claimed;
mod config;
mod published;
mod send;
mod show;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};

use self::claimed::{ClaimsArg, When};
use self::published::Seen;
use self::send::{TokenArg, send};
use super::Context;
use super::attested::{AttestationsArg, write_release};
use super::client::TrustArg;
use super::exit::{SomeFailed, Usage};
use super::files::write_file;
use super::output::{GOOD, styled};
use crate::keys::{self, Ask, KeyUri};
use crate::python::{DistributionFilename, FreeText, ProjectName};
use crate::repository::{
    Base, Edit, Keyring, Kind, MAX_PROJECT_FILE, Next, Owners, ProjectFile, read_distribution,
};
use crate::tuf::key::{Key, KeyId};

/// Days that a project's role lives. Freshness is the timestamp's business; this bounds how old a state of the project a
/// client can be shown that has never seen a newer one.
const EXPIRES_DAYS: u32 = 365;

/// The file in a release's folder.
pub(super) const RELEASE: &str = "release.json";

#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Claim a project: from then on your keys sign its files
    Claim(Claim),
    /// Sign files of your project, and withdraw or yank some
    Release(Release),
    /// Add your signature to what another maintainer signed
    Cosign(Cosign),
    /// Send what was signed to the index
    Send(send::Send),
    /// Let another key sign for your project
    AddMaintainer(AddMaintainer),
    /// Let a key sign for your project no more
    RemoveMaintainer(RemoveMaintainer),
    /// Replace one of your project's keys
    Rotate(Rotate),
    /// Hand your project over to others
    Transfer(Transfer),
    /// What recorders say of a release, by what was claimed of it
    Standing(standing::StandingOf),
    /// Who signs for a project, and until when
    Status(Status),
    /// Are the published files those of your project's role, and the same as here?
    VerifyPublished(VerifyPublished),
}

/// Keys and what is signed with them.
#[derive(Debug, Args)]
struct Signing {
    #[command(flatten)]
    trust: TrustArg,
    /// A signing key of yours; may be repeated
    #[arg(long = "key", value_name = "URI", required = true)]
    keys: Vec<String>,
    /// Days until the project's metadata must be signed again
    #[arg(long, value_name = "DAYS", default_value_t = EXPIRES_DAYS)]
    expires: u32,
    /// Sign as this version of the project's role, because the next one is taken by a transaction that came to nothing
    #[arg(long, value_name = "N")]
    role_version: Option<u64>,
}

/// Claim a project: from then on your keys sign its files.
///
/// Files that are published already stay, unless you leave them out. Every key must sign: those of others with cosign.
#[derive(Debug, Args)]
pub(crate) struct Claim {
    #[command(flatten)]
    signing: Signing,
    /// A public key of another maintainer, who cosigns the claim; may be repeated
    #[arg(long = "maintainer", value_name = "URI")]
    maintainers: Vec<String>,
    /// How many keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u64,
    /// A published file that shall not stay; may be repeated
    #[arg(long, value_name = "FILENAME")]
    without: Vec<String>,
    /// Where to write the claim, if not to NAME.claim.json; or a folder for it
    #[arg(long, value_name = "FILE|FOLDER")]
    out: Option<PathBuf>,
    /// The project; several are claimed one by one, with the same keys
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Sign files of your project, and withdraw or yank some.
///
/// Writes a folder with all that the index needs: send it with `wheelseal project send`, or hand it over, and they run
/// `wheelseal claims receive FOLDER`. With --upload it is sent at once, and no folder stays. An index with a log, and recorders,
/// are told what was signed before any file goes up; their receipts are kept.
#[derive(Debug, Args)]
pub(crate) struct Release {
    #[command(flatten)]
    signing: Signing,
    /// A published file to withdraw; may be repeated
    #[arg(long, value_name = "FILENAME")]
    remove: Vec<String>,
    /// A published file to yank (PEP 592); may be repeated
    #[arg(long, value_name = "FILENAME")]
    yank: Vec<String>,
    /// Why it is yanked
    #[arg(long, value_name = "TEXT", requires = "yank")]
    reason: Option<String>,
    /// A published file whose yank to take back; may be repeated
    #[arg(long, value_name = "FILENAME")]
    unyank: Vec<String>,
    /// Where to write the folder, if not to NAME.release
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Send it to this index, which runs `wheelseal serve`: its address, or its name in the configuration of twine or uv. As
    /// the last word alone: the index that is configured there
    #[arg(long, value_name = "URL|NAME", num_args = 0..=1, default_missing_value = "")]
    upload: Option<String>,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    claims: ClaimsArg,
    /// Address of the index in what is claimed, if it is not that of --upload
    #[arg(long, value_name = "URL")]
    claim_index: Option<String>,
    /// Send commitments to what is claimed alone; `project send` tells it, and sends the files
    #[arg(long)]
    embargo: bool,
    #[command(flatten)]
    attestations: AttestationsArg,
    /// Show what would change, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The project
    name: String,
    /// Wheels and sdists
    #[arg(value_name = "DIST")]
    dists: Vec<PathBuf>,
}

/// Add your signature to what another maintainer signed: a claim, a release, a change of keys.
#[derive(Debug, Args)]
pub(crate) struct Cosign {
    #[command(flatten)]
    trust: TrustArg,
    /// A signing key of yours; may be repeated
    #[arg(long = "key", value_name = "URI", required = true)]
    keys: Vec<String>,
    /// The file, or the folder of a release
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
}

/// Let another key sign for your project. Its holder cosigns, to prove that it is held.
#[derive(Debug, Args)]
pub(crate) struct AddMaintainer {
    #[command(flatten)]
    change: Change,
    /// The public key of the new maintainer
    #[arg(long = "maintainer", value_name = "URI", required = true)]
    maintainers: Vec<String>,
}

/// Let a key sign for your project no more.
#[derive(Debug, Args)]
pub(crate) struct RemoveMaintainer {
    #[command(flatten)]
    change: Change,
    /// The start of the id of the key
    #[arg(long = "key-id", value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Replace one of your project's keys.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    change: Change,
    /// The start of the id of the key that goes
    #[arg(long = "from", value_name = "ID")]
    from: String,
    /// The key that comes; with `--key` as well it signs at once
    #[arg(long = "to", value_name = "URI")]
    to: String,
}

/// Hand your project over to others: their keys replace all of yours.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    change: Change,
    /// A public key of a new maintainer, who cosigns; may be repeated
    #[arg(long = "to", value_name = "URI", required = true)]
    to: Vec<String>,
}

/// What all changes of keys have in common.
#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    signing: Signing,
    /// How many keys must sign from then on, if that changes
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    /// Where to write it, if not to NAME.keys.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The project
    name: String,
}

/// Who signs for a project, and until when.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    trust: TrustArg,
    /// The project
    name: String,
}

/// Are the published files those of your project's role, and the same as here?
#[derive(Debug, Args)]
pub(crate) struct VerifyPublished {
    #[command(flatten)]
    trust: TrustArg,
    /// The project
    name: String,
    /// Files that must be published exactly as they are here
    #[arg(value_name = "DIST")]
    dists: Vec<PathBuf>,
}

impl Project {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Claim(command) => command.run(context).await,
            Self::Release(command) => command.run(context).await,
            Self::Cosign(command) => command.run(context).await,
            Self::Send(command) => command.run(context).await,
            Self::AddMaintainer(command) => command.run(context).await,
            Self::RemoveMaintainer(command) => command.run(context).await,
            Self::Rotate(command) => command.run(context).await,
            Self::Transfer(command) => command.run(context).await,
            Self::Standing(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::VerifyPublished(command) => command.run(context).await,
        }
    }
}

impl Signing {
    async fn keyring(&self) -> anyhow::Result<Keyring> {
        open_all(&self.keys).await
    }

    async fn seen(&self, project: &ProjectName, context: &Context) -> anyhow::Result<Seen> {
        Seen::of(&self.trust, &self.trust.client()?, project, context).await
    }

    /// The next role of a project.
    fn next(
        &self,
        project: &ProjectName,
        seen: &Seen,
        base: &Base,
        edits: &[Edit],
        context: &Context,
    ) -> anyhow::Result<Next> {
        let serial = seen.snapshot.saturating_add(1);
        let mut next = base.next(project, edits, serial, self.expires, context.now)?;
        if let Some(version) = self.role_version {
            next.role.content.common.version = version;
        }
        Ok(next)
    }
}

impl Claim {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let one_file = self.out.as_ref().is_some_and(|out| !out.is_dir());
        if self.names.len() > 1 && (one_file || !self.without.is_empty()) {
            return Err(Usage("--without and a file for --out go with one project".to_owned()).into());
        }
        let projects = self.names.iter().map(|name| project(name)).collect::<Result<Vec<_>, _>>()?;
        let keyring = self.signing.keyring().await?;
        let mut team: Vec<Key> = keyring.signers().map(|signer| signer.key().clone()).collect();
        team.extend(public(&self.maintainers).await?);
        let owners = Owners::new(team, self.threshold);
        let client = self.signing.trust.client()?;
        for project in projects {
            owners.check(&project)?;
            let seen = Seen::of(&self.signing.trust, &client, &project, context).await?;
            self.claim(context, project, &seen, &owners, &keyring).await?;
        }
        Ok(())
    }

    async fn claim(
        &self,
        context: &Context,
        project: ProjectName,
        seen: &Seen,
        owners: &Owners,
        keyring: &Keyring,
    ) -> anyhow::Result<()> {
        if let Some(owned) = &seen.owned {
            return Err(Usage(format!("{project} is claimed already, below {}", owned.by)).into());
        }
        let without: BTreeSet<String> = self.without.iter().cloned().collect();
        let base = seen.base.clone().without(&without)?;
        let next = self.signing.next(&project, seen, &base, &[], context)?;
        let mut file = request(Kind::Claim, project, seen, owners.clone(), next);
        file.without = without;
        file.sign(keyring).await?;
        let named = format!("{}.claim.json", file.project);
        let out = match &self.out {
            Some(out) if out.is_dir() => out.join(named),
            Some(out) => out.clone(),
            None => named.into(),
        };
        write_new(&out, &file)?;
        show::claim(context, &file, &base, &out)
    }
}

impl Release {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let project = project(&self.name)?;
        let index = self.upload.as_deref().map(|typed| self.token.destination(Some(typed), context));
        let index = index.transpose()?;
        self.claims.check()?;
        let keyring = self.signing.keyring().await?;
        let spool = tempfile::tempdir()?;
        let edits = self.edits(spool.path())?;
        let seen = self.signing.seen(&project, context).await?;
        let Some(owned) = &seen.owned else {
            return Err(
                Usage(format!("{project} is not claimed: wheelseal project claim {project} --help")).into()
            );
        };
        let next = self.signing.next(&project, &seen, &seen.base, &edits, context)?;
        show::edits(context, &edits, &next.changed);
        if self.dry_run {
            return Ok(());
        }
        let mut file = request(Kind::Release, project, &seen, owned.owners.clone(), next);
        file.sign(&keyring).await?;
        let out = self.out.clone().unwrap_or_else(|| format!("{}.release", file.project).into());
        std::fs::create_dir(&out).map_err(|error| Usage(format!("{}: {error}", out.display())))?;
        for edit in &edits {
            if let Edit::Add(distribution) = edit {
                write_release(distribution, &out)?;
            }
        }
        write_new(&out.join(RELEASE), &file)?;
        self.write_claim(&out, &file, &edits, &seen, index.as_ref(), &keyring).await?;
        let signed = file.verified(&file.owners).is_ok();
        if signed && self.embargo {
            claimed::announce(context, &out, &file, index.as_ref(), &self.claims, When::Later).await?;
            return show::signed(context, &file, &out);
        }
        let Some(index) = index.filter(|_| signed) else { return show::signed(context, &file, &out) };
        send(context, &out, &index, &self.claims).await?;
        if self.out.is_none() && claimed::keep_receipts(context, &out)? {
            std::fs::remove_dir_all(&out)?;
        }
        Ok(())
    }

    /// A claim beside the release, if anybody is there to be told: an index with a log, or recorders.
    async fn write_claim(
        &self,
        out: &Path,
        file: &ProjectFile,
        edits: &[Edit],
        seen: &Seen,
        index: Option<&config::Destination>,
        keyring: &Keyring,
    ) -> anyhow::Result<()> {
        let address = self.claim_index.as_deref().or(index.map(|index| index.url.as_str()));
        let wanted = self.embargo || self.claims.is_used();
        let (Some(address), true) = (address, wanted || seen.policy.is_some()) else {
            if wanted {
                return Err(Usage("which index? say --claim-index URL".to_owned()).into());
            }
            return Ok(());
        };
        let address = format!("{}/", config::bare(address));
        let when = if self.embargo { When::Later } else { When::Now };
        claimed::write(out, file, edits, &address, seen.policy.as_ref(), when, keyring).await
    }

    fn edits(&self, spool: &Path) -> anyhow::Result<Vec<Edit>> {
        let reason = self.reason.as_deref().map(FreeText::from_str).transpose();
        let reason = reason.map_err(|error| Usage(format!("--reason: {error}")))?;
        let mut edits = Vec::new();
        for dist in &self.dists {
            edits.push(Edit::Add(Box::new(self.attestations.read(dist, spool)?)));
        }
        for name in &self.remove {
            edits.push(Edit::Remove(filename(name)?));
        }
        for name in &self.yank {
            edits.push(Edit::Yank(filename(name)?, reason.clone()));
        }
        for name in &self.unyank {
            edits.push(Edit::Unyank(filename(name)?));
        }
        if edits.is_empty() {
            return Err(
                Usage("nothing to release: name files, or --remove, --yank, --unyank".to_owned()).into()
            );
        }
        Ok(edits)
    }
}

impl Cosign {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = if self.path.is_dir() { self.path.join(RELEASE) } else { self.path.clone() };
        let mut file = read_file(&path)?;
        let client = self.trust.client()?;
        let seen = Seen::of(&self.trust, &client, &file.project, context).await?;
        show::cosigning(context, &file, &seen)?;
        let keyring = open_all(&self.keys).await?;
        file.sign(&keyring).await?;
        if self.path.is_dir() {
            claimed::cosign(&self.path, &file, &keyring).await?;
        }
        replace(&path, &file)?;
        show::signed(context, &file, &self.path)
    }
}

impl AddMaintainer {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let new = public(&self.maintainers).await?;
        self.change
            .run(context, |owners| {
                owners.keys.extend(new.into_iter().map(|key| (key.id(), key)));
                Ok(())
            })
            .await
    }
}

impl RemoveMaintainer {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ids = self.ids;
        let gone = |owners: &mut Owners| {
            let gone = ids.iter().map(|start| one_key(owners, start)).collect::<Result<Vec<_>, _>>()?;
            owners.keys.retain(|id, _| !gone.contains(id));
            Ok(())
        };
        self.change.run(context, gone).await
    }
}

impl Rotate {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let new = public(&[self.to]).await?;
        let from = self.from;
        let exchanged = |owners: &mut Owners| {
            owners.keys.remove(&one_key(owners, &from)?);
            owners.keys.extend(new.into_iter().map(|key| (key.id(), key)));
            Ok(())
        };
        self.change.run(context, exchanged).await
    }
}

impl Transfer {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let new = Owners::new(public(&self.to).await?, 1);
        let others = |owners: &mut Owners| {
            owners.keys = new.keys;
            Ok(())
        };
        self.change.run(context, others).await
    }
}

impl Change {
    /// Signs a change of the project's keys. What the new ones are, `edit` says.
    async fn run(
        self,
        context: &Context,
        edit: impl FnOnce(&mut Owners) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let project = project(&self.name)?;
        let keyring = self.signing.keyring().await?;
        let seen = self.signing.seen(&project, context).await?;
        let Some(owned) = &seen.owned else {
            return Err(Usage(format!("{project} is not claimed")).into());
        };
        let mut owners = owned.owners.clone();
        edit(&mut owners)?;
        owners.threshold = self.threshold.unwrap_or(owners.threshold);
        owners.check(&project)?;
        if owners == owned.owners {
            return Err(Usage(format!("the keys of {project} would stay as they are")).into());
        }
        let next = self.signing.next(&project, &seen, &seen.base, &[], context)?;
        let mut file = request(Kind::Keys, project, &seen, owners, next);
        file.before = Some(owned.owners.clone());
        file.sign(&keyring).await?;
        let out = self.out.unwrap_or_else(|| format!("{}.keys.json", file.project).into());
        write_new(&out, &file)?;
        show::signed(context, &file, &out)?;
        if owned.by == "claimed" {
            context.out.note(
                "the offline role claimed delegates to this project: its keys change in the next ceremony",
            );
        }
        Ok(())
    }
}

impl Status {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let project = project(&self.name)?;
        let seen = Seen::of(&self.trust, &self.trust.client()?, &project, context).await?;
        show::status(context, &project, &seen)
    }
}

impl VerifyPublished {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let project = project(&self.name)?;
        let seen = Seen::of(&self.trust, &self.trust.client()?, &project, context).await?;
        let Some(owned) = &seen.owned else {
            return Err(Usage(format!("{project} is not claimed: the index alone signs its files")).into());
        };
        let spool = tempfile::tempdir()?;
        let (mut failed, total) = (0, self.dists.len());
        for dist in &self.dists {
            let distribution = read_distribution(dist, spool.path())?;
            let target = format!("{project}/{}", distribution.filename());
            let published = owned.role.targets.get(&target).and_then(|file| file.hashes.sha256);
            let same = published == Some(*distribution.sha256());
            failed += usize::from(!same);
            let what =
                if same { styled(GOOD, "published") } else { show::bad("NOT published as it is here") };
            context.out.line(format_args!("{what} {}", dist.display()));
        }
        if failed > 0 {
            let text = format!("{failed} of {total} are not published as they are here");
            return Err(SomeFailed { text, code: super::exit::INTEGRITY }.into());
        }
        show::status(context, &project, &seen)
    }
}

/// Reads what a maintainer made.
pub(super) fn read_file(path: &Path) -> anyhow::Result<ProjectFile> {
    let about = std::fs::metadata(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    if !about.is_file() || about.len() > MAX_PROJECT_FILE {
        return Err(Usage(format!("{} is no project file", path.display())).into());
    }
    Ok(ProjectFile::read(&std::fs::read(path)?)?)
}

fn write_new(path: &Path, file: &ProjectFile) -> anyhow::Result<()> {
    if path.exists() {
        return Err(Usage(format!("{} exists", path.display())).into());
    }
    replace(path, file)
}

fn replace(path: &Path, file: &ProjectFile) -> anyhow::Result<()> {
    Ok(write_file(path, file.to_text()?.as_bytes())?)
}

/// What nobody has signed yet.
fn request(kind: Kind, project: ProjectName, seen: &Seen, owners: Owners, next: Next) -> ProjectFile {
    ProjectFile {
        kind,
        project,
        root: seen.root,
        base: seen.base.version,
        owners,
        before: None,
        without: BTreeSet::new(),
        proofs: BTreeMap::new(),
        role: Vec::new(),
        page: next.page,
    }
    .unsigned(&next.role)
}

/// The one key whose id starts so. What fits none, or several, takes no key away.
fn one_key(owners: &Owners, start: &str) -> anyhow::Result<KeyId> {
    let mut found = owners.keys.keys().filter(|id| id.as_str().starts_with(start));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Err(Usage(format!("no key of the project has an id that starts with {start:?}")).into()),
        (Some(_), Some(_)) => {
            Err(Usage(format!("several keys have an id that starts with {start:?}")).into())
        }
    }
}

async fn open_all(uris: &[String]) -> anyhow::Result<Keyring> {
    let mut keyring = Keyring::default();
    for uri in uris {
        keyring.add(keys::open(&KeyUri::from_str(uri)?, &Ask).await?);
    }
    Ok(keyring)
}

async fn public(uris: &[String]) -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for uri in uris {
        keys.push(keys::open_public(&KeyUri::from_str(uri)?, &Ask).await?);
    }
    Ok(keys)
}

/// A project's name: the normalized one, so that nobody claims what looks like another.
fn project(name: &str) -> anyhow::Result<ProjectName> {
    Ok(ProjectName::from_normalised(name).map_err(|error| Usage(error.to_string()))?)
}

fn filename(name: &str) -> anyhow::Result<DistributionFilename> {
    Ok(DistributionFilename::from_str(name).map_err(|error| Usage(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{PublicKey, Scheme};

    #[test]
    fn the_start_of_an_id_takes_no_key_away_unless_it_names_exactly_one() {
        let key = |seed| Key::new(PublicKey::Ed25519([seed; 32]), Scheme::Ed25519).unwrap();
        let owners = Owners::new(vec![key(1), key(2)], 1);
        let ids: Vec<&KeyId> = owners.keys.keys().collect();
        assert_eq!(&one_key(&owners, &ids[0].as_str()[..8]).unwrap(), ids[0]);
        let several = one_key(&owners, "").unwrap_err().to_string();
        assert_eq!(several, "several keys have an id that starts with \"\"");
        let none = one_key(&owners, "xyz").unwrap_err().to_string();
        assert_eq!(none, "no key of the project has an id that starts with \"xyz\"");
    }
}
