//! Claims of a release: made beside it, sent to the index and to recorders before its files, and the receipts kept.
//!
//! | file in the release's folder | what |
//! |---|---|
//! | `receipts/claim.json` | the signed claim and the salt of its commitment, for the owner's eyes alone until it is told |
//! | `receipts/embargo.json` | the signed commitment, if the claim is told later |
//! | `receipts/index.policy` | by which logs and witnesses the index's receipt is checked |
//! | `receipts/NAME.tlog-proof` | the receipt of the index, or of a recorder |

use std::path::{Path, PathBuf};

use clap::Args;

use super::RELEASE;
use super::config::Destination;
use crate::cli::Context;
use crate::cli::attested::read_release;
use crate::cli::exit::{POLICY, SomeFailed, Usage};
use crate::cli::files::{read_file, write_file};
use crate::cli::log::read_policy;
use crate::cli::output::{BAD, GOOD, styled};
use crate::client::{Announced, MAX_ANNOUNCED_LEN, SendError, Timing, Uploader};
use crate::crypto::random;
use crate::release_claim::{Claim, ClaimRequest, Commitment, Embargo, MAX_REQUEST, Salt, SignedClaim, Told};
use crate::repository::{Distribution, Edit, Keyring, LogPolicy, Owners, ProjectFile};
use crate::tlog::leaf::{FileLeaf, Leaf};
use crate::tlog::policy::Policy;
use crate::tlog::proof_file::ProofFile;
use crate::tuf::key::KeyId;
use crate::tuf::path::RoleName;

/// The folder in a release's folder.
pub(super) const RECEIPTS: &str = "receipts";
const CLAIM: &str = "claim.json";
const EMBARGO: &str = "embargo.json";
const INDEX_POLICY: &str = "index.policy";
/// The index, among the names of recorders.
const INDEX: &str = "index";

/// Who is told of a release before its files go up.
#[derive(Debug, Clone, Args)]
pub(super) struct ClaimsArg {
    /// A recorder that is sent the claim before any file goes up: the file that it hands out; may be repeated
    #[arg(long = "recorder", value_name = "FILE", env = "WHEELSEAL_RECORDERS", value_delimiter = ',')]
    pub(super) recorders: Vec<PathBuf>,
    /// The same by its address alone: its receipt is kept, and cannot be checked; may be repeated
    #[arg(long, value_name = "URL")]
    pub(super) claim_to: Vec<String>,
    /// Receipts that must have come before any file goes up, if not those of the index and of all recorders
    #[arg(long, value_name = "K")]
    receipts: Option<usize>,
}

/// Somebody who gives receipts.
struct Office {
    name: String,
    uploader: Uploader,
    policy: Option<Policy>,
    /// Where claims are handed in, with a '/' at its end; of a recorder alone.
    url: String,
}

impl ClaimsArg {
    /// Whether anybody but the index is told.
    pub(super) fn is_used(&self) -> bool {
        !self.recorders.is_empty() || !self.claim_to.is_empty()
    }

    /// The recorders, before work is done that would be in vain without them.
    fn offices(&self) -> anyhow::Result<Vec<Office>> {
        let mut offices = self.recorders.iter().map(|file| announced(file)).collect::<Result<Vec<_>, _>>()?;
        for url in &self.claim_to {
            let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
            let name = host.ok_or_else(|| Usage(format!("--claim-to {url}: no address")))?;
            let uploader = Uploader::recorder(url, Timing::default())?;
            let url = format!("{}/", url.trim_end_matches('/'));
            offices.push(Office { name: plain(&name), uploader, policy: None, url });
        }
        offices.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some([one, _]) = offices.array_windows().find(|[one, other]| one.name == other.name) {
            return Err(Usage(format!("two recorders have the name {}", one.name)).into());
        }
        Ok(offices)
    }

    /// Names of the recorders, and where claims are handed in.
    pub(super) fn places(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok(self.offices()?.into_iter().map(|office| (office.name, office.url)).collect())
    }

    /// Refuses recorders that cannot be asked.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.offices().map(drop)
    }
}

/// Only what is good in a file name.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
}

fn announced(file: &Path) -> anyhow::Result<Office> {
    let bad = |why: &dyn std::fmt::Display| Usage(format!("{}: {why}", file.display()));
    let max = u64::try_from(MAX_ANNOUNCED_LEN).unwrap_or(u64::MAX);
    let read = Announced::parse(&read_file(file, max)?).map_err(|error| bad(&error))?;
    if read.name == INDEX {
        return Err(bad(&format_args!("{INDEX:?} is no name of a recorder")).into());
    }
    let policy = read.policy().map_err(|error| bad(&error))?;
    let claims = read.claims();
    let uploader = Uploader::recorder(&claims, Timing::default()).map_err(|error| bad(&error))?;
    let url = format!("{}/", claims.trim_end_matches('/'));
    Ok(Office { name: read.name, uploader, policy: Some(policy), url })
}

/// Whether a claim is told with the release, or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Now,
    Later,
}

/// Makes a claim of the files that a release adds, signed with the keys at hand. A release that adds none has none.
pub(super) async fn write(
    folder: &Path,
    file: &ProjectFile,
    edits: &[Edit],
    index: &str,
    policy: Option<&LogPolicy>,
    when: When,
    keyring: &Keyring,
) -> anyhow::Result<()> {
    let added = edits.iter().filter_map(|edit| if let Edit::Add(added) = edit { Some(added) } else { None });
    let leaves = added.map(|added| leaf(added)).collect::<Result<Vec<_>, _>>()?;
    if leaves.is_empty() {
        return Ok(());
    }
    let claim = Claim::new(index, file.project.clone(), leaves).map_err(|error| Usage(error.to_string()))?;
    let embargo = |salt: &Salt| Embargo::new(Commitment::new(salt, &claim), &claim);
    let salt = Salt::from_bytes(random()?);
    let embargo = (when == When::Later).then(|| embargo(&salt));
    let told = Told { claim: SignedClaim::new(claim, Vec::new()), salt };
    let at = folder.join(RECEIPTS);
    std::fs::create_dir(&at)?;
    if let Some(policy) = policy {
        write_file(&at.join(INDEX_POLICY), policy.text().as_bytes())?;
    }
    keep(&at, told, embargo, &file.owners, keyring).await
}

/// Writes what was signed, with the signatures of the keys at hand. Nobody else can read it.
async fn keep(
    at: &Path,
    mut told: Told,
    embargo: Option<Embargo>,
    owners: &Owners,
    keyring: &Keyring,
) -> anyhow::Result<()> {
    let text = told.claim.unauthenticated().to_string();
    for (id, signature) in signatures(&text, owners, keyring).await? {
        told.claim = told.claim.signed(id, signature);
    }
    write_file(&at.join(CLAIM), told.to_string().as_bytes())?;
    let Some(mut embargo) = embargo else { return Ok(()) };
    for (id, signature) in signatures(&embargo.to_sign(), owners, keyring).await? {
        embargo = embargo.signed(id, signature);
    }
    Ok(write_file(&at.join(EMBARGO), embargo.to_string().as_bytes())?)
}

async fn signatures(text: &str, owners: &Owners, keyring: &Keyring) -> anyhow::Result<Vec<(KeyId, Vec<u8>)>> {
    let mut signatures = Vec::new();
    for signer in keyring.signers() {
        let public = signer.key().public();
        // Under whatever id the role has the key.
        if let Some((id, _)) = owners.keys.iter().find(|(_, key)| public.is_some() && key.public() == public)
        {
            signatures.push((id.clone(), signer.sign(text.as_bytes()).await?));
        }
    }
    Ok(signatures)
}

/// Adds signatures to the claim in a release's folder, if there is one. It must be of nothing but what the release signs.
pub(super) async fn cosign(folder: &Path, file: &ProjectFile, keyring: &Keyring) -> anyhow::Result<()> {
    let at = folder.join(RECEIPTS);
    let Some(ClaimRequest::Told(told)) = read(&at.join(CLAIM))? else { return Ok(()) };
    let claim = told.claim.unauthenticated().clone();
    let role = file.glimpse()?;
    for leaf in claim.files() {
        let target = role.targets.get(leaf.path());
        if !target
            .is_some_and(|file| file.length == leaf.length() && file.hashes.sha256 == Some(*leaf.sha256()))
        {
            return Err(Usage(format!("the claim beside the release has another {}", leaf.path())).into());
        }
    }
    let commitment = told.commitment();
    let embargo = match read(&at.join(EMBARGO))? {
        Some(ClaimRequest::Embargoed(embargo)) if embargo.commitment() == commitment => Some(embargo),
        None => None,
        Some(_) => {
            return Err(Usage("the commitment beside the release is not that to its claim".to_owned()).into());
        }
    };
    keep(&at, told, embargo, &file.owners, keyring).await
}

fn read(file: &Path) -> anyhow::Result<Option<ClaimRequest>> {
    if !file.exists() {
        return Ok(None);
    }
    let bytes = read_file(file, u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX))?;
    let read = ClaimRequest::parse(&bytes);
    Ok(Some(read.map_err(|error| Usage(format!("{}: {error}", file.display())))?))
}

fn leaf(added: &Distribution) -> anyhow::Result<FileLeaf> {
    let path = format!("{}/{}", added.filename().project(), added.filename());
    let leaf = FileLeaf::of_target(&path, added.size(), *added.sha256())?;
    Ok(leaf.ok_or_else(|| Usage(format!("{path} cannot be claimed")))?)
}

/// Sends the claim in a release's folder, or the commitment to it, to the index and to recorders, and keeps the receipts. Refused
/// unless enough of them came and hold.
pub(super) async fn announce(
    context: &Context,
    folder: &Path,
    file: &ProjectFile,
    index: Option<&Destination>,
    arg: &ClaimsArg,
    when: When,
) -> anyhow::Result<()> {
    let (at, mut offices) = (folder.join(RECEIPTS), arg.offices()?);
    let name = if when == When::Now { CLAIM } else { EMBARGO };
    let Some(request) = read(&at.join(name))? else {
        if when == When::Later || !offices.is_empty() {
            return Err(Usage(format!(
                "{} has no {RECEIPTS}/{name}: make the release again",
                folder.display()
            ))
            .into());
        }
        return Ok(());
    };
    fits(folder, &request, file)?;
    let policy = at.join(INDEX_POLICY);
    if let Some(index) = index.filter(|_| policy.exists()) {
        let uploader = Uploader::new(&index.url, index.token.clone(), Timing::default())?;
        let policy = Some(read_policy(&policy)?);
        offices.insert(0, Office { name: INDEX.to_owned(), uploader, policy, url: String::new() });
    }
    if offices.is_empty() && when == When::Later {
        return Err(
            Usage("nobody takes the commitment: name recorders, or an index with a log".to_owned()).into()
        );
    }
    let needed = offices.iter().filter(|office| office.policy.is_some()).count();
    let needed = arg.receipts.unwrap_or(needed);
    let (leaf, text) = (Leaf::Commitment(request.commitment().leaf()).to_string(), request.to_string());
    let (mut good, mut failed) = (0, Vec::new());
    for office in offices {
        match office.receipt(&leaf, &text).await {
            Ok(receipt) => {
                write_file(&at.join(format!("{}.tlog-proof", office.name)), receipt.to_string().as_bytes())?;
                let checked = office.policy.is_some();
                good += usize::from(checked);
                let how = if checked { styled(GOOD, "receipt") } else { "unchecked receipt".to_owned() };
                context.out.note(format_args!("{how} of {}: entry {}", office.name, receipt.index()));
            }
            Err(why) => {
                context.out.note(format_args!("{} of {}: {why}", styled(BAD, "no receipt"), office.name));
                failed.push(office.name);
            }
        }
    }
    if good < needed {
        let failed = failed.join(", ");
        let text = format!(
            "{good} of {needed} receipts came, none of {failed}: no file was sent from {} (--receipts K asks for fewer, --receipts 0 for none; \
             an index takes claims at the address it is known by, which --claim-index names)",
            folder.display()
        );
        return Err(SomeFailed { text, code: POLICY }.into());
    }
    Ok(())
}

/// Refuses a claim that is not of this release, or that too few have signed.
fn fits(folder: &Path, request: &ClaimRequest, file: &ProjectFile) -> anyhow::Result<()> {
    let usage = |error: &dyn std::fmt::Display| Usage(format!("the claim in {}: {error}", folder.display()));
    let delegations = file.owners.delegations(&file.project)?;
    let (delegator, role) = (RoleName::targets(), RoleName::delegated(format!("project-{}", file.project))?);
    let authority =
        delegations.authority(&delegator, &role).ok_or_else(|| usage(&"nobody owns the project"))?;
    request.verify(&authority).map_err(|error| usage(&error))?;
    let ClaimRequest::Told(told) = request else { return Ok(()) };
    let spool = tempfile::tempdir()?;
    for (_, distribution) in read_release(folder, RELEASE, spool.path())? {
        let leaf = leaf(&distribution)?;
        if !told.claim.unauthenticated().files().contains(&leaf) {
            return Err(usage(&format_args!("it has not {} as it is here", distribution.filename())).into());
        }
    }
    Ok(())
}

impl Office {
    /// The receipt for a claim, checked if it can be; why there is none that holds.
    async fn receipt(&self, leaf: &str, request: &str) -> Result<ProofFile, String> {
        let answer = self.uploader.claim(request).await.map_err(|error: SendError| error.to_string())?;
        let receipt = ProofFile::parse(&answer).map_err(|error| error.to_string())?;
        if let Some(policy) = &self.policy {
            receipt.verify(leaf.as_bytes(), policy).map_err(|error| error.to_string())?;
        }
        Ok(receipt)
    }
}

/// Keeps the receipts of a release whose folder goes; whether it may.
pub(super) fn keep_receipts(context: &Context, folder: &Path) -> anyhow::Result<bool> {
    let at = folder.join(RECEIPTS);
    let Some(ClaimRequest::Told(told)) = read(&at.join(CLAIM))? else { return Ok(true) };
    let claim = told.claim.unauthenticated();
    let to = PathBuf::from(format!("{}-{}.{RECEIPTS}", claim.project(), claim.version()));
    if to.exists() {
        context.out.note(format_args!("{} exists, so the receipts stay in {}", to.display(), at.display()));
        return Ok(false);
    }
    std::fs::rename(&at, &to)?;
    context.out.note(format_args!("receipts in {}", to.display()));
    Ok(true)
}
