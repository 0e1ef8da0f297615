//! `log init`: a transparency log begins.

use std::str::FromStr;

use clap::Args;

use super::ceremony::GateArgs;
use super::role::report;
use crate::cli::exit::Usage;
use crate::cli::keys::{KeyArgs, absolute, open_repository, witnesses};
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::crypto::sha256;
use crate::keys::{self, Ask, KeyUri, Signer};
use crate::repository::{
    Edits, EventName, Keyring, LogPolicy, LoggingError, NewLog, Predecessor, Repository, RepositoryError,
    State, verifier_key,
};
use crate::tlog::key::VerifierKey;
use crate::tuf::key::Key;
use crate::tuf::metadata::TopLevel;

/// What `--quorum` calls a log without witnesses.
const NONE: &str = "none";

/// Begin a transparency log: everything that is published is logged now, and from then on before it is published.
///
/// Its key is no key of a role, and signs nothing else. Clients ask for proofs as soon as targets names the policy, which
/// says the log, its witnesses, and how many of them must have cosigned: that is signed at once if the keys of targets are
/// given, or else left as a ceremony. Cut short, the same command goes on.
#[derive(Debug, Args)]
pub(crate) struct LogInit {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// Name of the log, for ever: an address of yours without `https://`; if not said, one made of the first root
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A witness by its verifier key (`NAME+ID+KEY`), and where it is asked; may be repeated
    #[arg(long, value_name = "VKEY[=URL]")]
    witness: Vec<String>,
    /// How many witnesses must have cosigned, or `none`; more than half of them, if not said
    #[arg(long, value_name = "N|none")]
    quorum: Option<String>,
    /// Begin a log after one that does not go on: it was lost, or its key was
    #[arg(long)]
    successor: bool,
    /// Only write proofs that are missing, or that clients would refuse, anew
    #[arg(long, conflicts_with_all = ["origin", "witness", "quorum", "successor"])]
    proofs: bool,
    /// How the ceremony for the policy is called
    #[arg(long, value_name = "NAME", default_value = "log-policy")]
    name: String,
}

impl LogInit {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut repository = open_repository(&self.repo).await?;
        if self.proofs {
            let keyring = self.keys.open(&repository, &context.out).await?;
            let leaves = repository.renew_proofs(&keyring).await?;
            return context.out.result(&serde_json::json!({"leaves": leaves}), || {
                let good = styled(GOOD, "proven");
                context
                    .out
                    .line(format_args!("{good}: each file of the log of {leaves} leaves has its proof"));
            });
        }
        let state = repository.state().await?;
        let mut keyring = self.keys.open_online(&repository, &context.out).await?;
        let (uri, signer) = self.log_key(&state, &mut keyring).await?;
        let policy = self.policy(&repository, signer.key()).await?;
        // Witnesses cosign for logs that they know: whoever begins one reads here what to tell them.
        context.out.note(format_args!("the log's key: {}", policy.log()));
        keyring.set_log(signer, witnesses(&policy)?);
        let after = if self.successor { Predecessor::Log } else { Predecessor::Nothing };
        let new = NewLog { policy: policy.clone(), key: absolute(&uri)?, after };
        let named = state.timestamp.log.as_ref().map(|log| log.origin.as_str());
        // Cut short after the commit, what is left is the policy.
        let begun = named == Some(policy.log().name().as_str()) && state.log_policy()?.is_none();
        if !begun {
            let begun = repository.begin_log(&keyring, &new, context.now).await?;
            context.out.note(format_args!(
                "{} leaves are logged in {}, the last of them snapshot {}",
                begun.size, begun.origin, begun.snapshot
            ));
        }
        let edits = Edits { log_policy: Some(policy), ..Edits::default() };
        let name = EventName::new(self.name.as_str()).map_err(RepositoryError::from)?;
        let gate = self.gate.clients(&repository, context);
        let progress = context.out.progress();
        let changed = repository.change(&name, &edits, &keyring, Some(&gate), context.now, &progress).await?;
        report(&changed, &repository, context)
    }

    /// What was typed, or, if nothing was, what an earlier run that was cut short had begun with.
    async fn policy(&self, repository: &Repository, key: &Key) -> anyhow::Result<LogPolicy> {
        let typed = self.origin.is_some() || !self.witness.is_empty() || self.quorum.is_some();
        if let Some(begun) = repository.settings().log.as_ref().filter(|_| !typed && !self.successor) {
            let policy = LogPolicy::parse(begun.policy.as_bytes()).map_err(RepositoryError::from)?;
            if log_key(key, &begun.origin)? != *policy.log() {
                return Err(Usage(format!("{} was begun with another key", begun.origin)).into());
            }
            return Ok(policy);
        }
        let origin = match self.origin.clone() {
            Some(origin) => origin,
            None => default_origin(repository).await?,
        };
        policy(&log_key(key, &origin)?, &self.witness, self.quorum.as_deref())
    }

    /// The log's key among those given: the one that no role has. The others join the keyring.
    async fn log_key(
        &self,
        state: &State,
        keyring: &mut Keyring,
    ) -> anyhow::Result<(KeyUri, Box<dyn Signer>)> {
        let mut logs = Vec::new();
        for uri in self.keys.given() {
            let uri = KeyUri::from_str(uri)?;
            let signer = keys::open(&uri, &Ask).await?;
            if is_known(state, signer.key()) {
                keyring.add(signer);
            } else {
                logs.push((uri, signer));
            }
        }
        match logs.len() {
            0 | 1 => logs.pop().ok_or_else(|| {
                Usage(
                    "give the log's key with --key: one that no role has, made for the log alone".to_owned(),
                )
                .into()
            }),
            _ => {
                let names: Vec<_> = logs.iter().map(|(uri, _)| uri.to_string()).collect();
                Err(Usage(format!(
                    "{}: these are no keys of a role, and a log has one key",
                    names.join(", ")
                ))
                .into())
            }
        }
    }
}

/// Whether a role has a key.
fn is_known(state: &State, key: &Key) -> bool {
    let top = [TopLevel::Root, TopLevel::Targets, TopLevel::Snapshot, TopLevel::Timestamp];
    let mut top = top.into_iter().map(|role| state.root.authority(role));
    let below = [&state.targets, &state.bins].into_iter().flat_map(|targets| &targets.delegations);
    let mut below = below.flat_map(|delegations| delegations.keys.values());
    top.any(|role| role.keys().any(|(_, known)| known.public() == key.public()))
        || below.any(|known| known.public() == key.public())
}

/// A name that no other repository has.
async fn default_origin(repository: &Repository) -> anyhow::Result<String> {
    let root = hex::encode(sha256(&repository.first_root().await?));
    let (start, _) = root.split_at_checked(16).unwrap_or((root.as_str(), ""));
    Ok(format!("wheelseal.invalid/{start}"))
}

/// The log's key, as it is typed: of another kind or with a bad name it is a mistake of whoever types.
fn log_key(key: &Key, origin: &str) -> anyhow::Result<VerifierKey> {
    verifier_key(key, origin).map_err(|error| match error {
        LoggingError::KeyKind { .. } => {
            Usage("the log's key must be Ed25519: wheelseal key gen log.pem".to_owned()).into()
        }
        error => Usage(error.to_string()).into(),
    })
}

/// The policy with this log and these witnesses.
fn policy(log: &VerifierKey, witnesses: &[String], quorum: Option<&str>) -> anyhow::Result<LogPolicy> {
    let (mut text, mut names) = (format!("log {log}\n"), Vec::new());
    for (number, witness) in (1..).zip(witnesses) {
        let (key, url) = witness.split_once('=').unwrap_or((witness, ""));
        let key = VerifierKey::from_str(key).map_err(|error| Usage(format!("--witness: {error}")))?;
        let name = format!("w{number}");
        text.push_str(format!("witness {name} {key} {url}").trim_end());
        text.push('\n');
        names.push(name);
    }
    let needed = match quorum {
        None => names.len() / 2 + usize::from(!names.is_empty()),
        Some(NONE) => 0,
        Some(number) => number
            .parse()
            .ok()
            .filter(|number| (1..=names.len()).contains(number))
            .ok_or_else(|| Usage(format!("--quorum {number}: expected `none` or 1 to {}", names.len())))?,
    };
    if needed == 0 {
        text.push_str("quorum none\n");
    } else {
        text.push_str(&format!("group witnesses {needed} {}\nquorum witnesses\n", names.join(" ")));
    }
    Ok(LogPolicy::parse(text.as_bytes()).map_err(RepositoryError::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::key::{KeyKind, KeyName};

    fn key(name: &str, kind: KeyKind, byte: u8) -> VerifierKey {
        VerifierKey::new(KeyName::new(name).unwrap(), kind, [byte; 32])
    }

    #[test]
    fn the_policy_has_the_witnesses_that_were_given_and_more_than_half_of_them_are_a_quorum() {
        let log = key("index.example", KeyKind::Log, 1);
        let one = key("w.example", KeyKind::Witness, 2);
        let given: Vec<_> = (2..5).map(|byte| key("w.example", KeyKind::Witness, byte).to_string()).collect();
        let none = policy(&log, &[], None).unwrap();
        assert_eq!(none.text(), format!("log {log}\nquorum none\n"));
        let with_url = policy(&log, &[format!("{one}=https://w.example/x=1")], None).unwrap();
        let expected = format!(
            "log {log}\nwitness w1 {one} https://w.example/x=1\ngroup witnesses 1 w1\nquorum witnesses\n"
        );
        assert_eq!(with_url.text(), expected);
        let three = policy(&log, &given, None).unwrap();
        assert!(three.text().ends_with("group witnesses 2 w1 w2 w3\nquorum witnesses\n"), "{}", three.text());
        let all = policy(&log, &given, Some("3")).unwrap();
        assert!(all.text().contains("group witnesses 3 "));
        assert!(policy(&log, &given, Some("none")).unwrap().text().ends_with("\nquorum none\n"));
        for bad in ["0", "4", "-1", "all", ""] {
            assert!(policy(&log, &given, Some(bad)).is_err(), "{bad}");
        }
        let refused = policy(&log, &["w.example".to_owned()], None).unwrap_err();
        assert!(refused.to_string().starts_with("--witness: "), "{refused}");
    }
}
