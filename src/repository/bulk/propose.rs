//! Signatures of an offline role that are brought together in a file: each holder of a key adds one, wherever it is.
//!
//! The file is not trusted, and need not be: what it proposes is shown before it is signed, and whoever finishes the
//! job verifies it against the keys and compares it with what is wanted.

use serde::Serialize;

use crate::keys::Signer;
use crate::repository::RepositoryError;
use crate::tuf::json::{Json, parse};

/// What somebody is about to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// Version of the role.
    pub version: u64,
    /// Until when it is good, as it stands in the file.
    pub expires: String,
    /// How many bins it delegates to.
    pub bins: u64,
    /// `succinct` or `prefixes`.
    pub style: &'static str,
    /// The keys of the bins, by id.
    pub keys: Vec<String>,
    /// Targets that the role lists itself; should be none.
    pub targets: usize,
    /// Ids of the keys that have signed, with this one.
    pub signed_by: Vec<String>,
}

/// The proposed file of `bins`, signed by one key more, and what it says. A signature by the same key is replaced.
pub async fn add_signature(file: &[u8], signer: &dyn Signer) -> Result<(Vec<u8>, Proposal), RepositoryError> {
    let refused = |reason: &str| RepositoryError::Plan(format!("this is no proposed file of bins: {reason}"));
    let tree = parse(file).map_err(|error| refused(&error.to_string()))?;
    let content = tree.get("signed").ok_or_else(|| refused("it has no \"signed\""))?;
    let mut proposal = read(content).ok_or_else(|| refused("it does not delegate to bins"))?;
    let Some(Json::Array(signatures)) = tree.get("signatures") else {
        return Err(refused("it has no \"signatures\""));
    };
    let keyid = signer.key().id().to_string();
    let signature = signer.sign(&content.canonical()).await?;
    let own =
        Json::object([("keyid", Json::str(keyid.as_str())), ("sig", Json::str(hex::encode(signature)))]);
    let of = |json: &Json<'_>| json.get("keyid").and_then(Json::as_str).map(ToOwned::to_owned);
    let others = signatures.iter().filter(|other| of(other).as_deref() != Some(keyid.as_str()));
    let signatures: Vec<Json<'_>> = others.cloned().chain([own]).collect();
    proposal.signed_by = signatures.iter().filter_map(of).collect();
    let file = Json::object([("signatures", Json::Array(signatures)), ("signed", content.clone())]);
    Ok((file.to_text().into_bytes(), proposal))
}

fn read(signed: &Json<'_>) -> Option<Proposal> {
    let text = |json: &Json<'_>, field: &str| json.get(field).and_then(Json::as_str).map(ToOwned::to_owned);
    if text(signed, "_type").as_deref() != Some("targets") {
        return None;
    }
    let delegations = signed.get("delegations")?;
    let (bins, style) = match (delegations.get("succinct_roles"), delegations.get("roles")) {
        (Some(succinct), None) => {
            let bits = succinct.get("bit_length").and_then(Json::as_u64)?;
            (1_u64.checked_shl(u32::try_from(bits).ok()?)?, "succinct")
        }
        (None, Some(Json::Array(roles))) => (u64::try_from(roles.len()).ok()?, "prefixes"),
        _ => return None,
    };
    let names = |json: &Json<'_>| match json {
        Json::Object(pairs) => pairs.iter().map(|(name, _)| name.to_string()).collect(),
        _ => Vec::new(),
    };
    Some(Proposal {
        version: signed.get("version").and_then(Json::as_u64)?,
        expires: text(signed, "expires")?,
        bins,
        style,
        keys: names(delegations.get("keys")?),
        targets: names(signed.get("targets")?).len(),
        signed_by: Vec::new(),
    })
}
