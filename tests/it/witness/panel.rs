//! Several honest witnesses in this process: each judges by itself, and cosigns growth alone.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::DateTime;
use wheelseal::log::{ConsistencyProofs, CosignError, Cosigners, LogSigner};
use wheelseal::store::DirStore;
use wheelseal::tlog::checkpoint::SignedCheckpoint;
use wheelseal::tlog::key::{KeyKind, VerifierKey};
use wheelseal::tlog::note::Signature;
use wheelseal::tlog::witness::AddCheckpoint;
use wheelseal::witness::{Folder, Reply, Witness};

use super::{NOW, Pair};

/// One of them.
pub(crate) struct Member {
    pub(crate) pair: Arc<Pair>,
    pub(crate) witness: Witness,
    /// What its operator was told.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

/// Witnesses of one log. Their clocks stand at [`NOW`].
pub(crate) struct Panel {
    pub(crate) log: VerifierKey,
    pub(crate) members: Vec<Member>,
}

impl Panel {
    pub(crate) async fn new(log: &VerifierKey, count: usize) -> Arc<Self> {
        let mut members = Vec::new();
        for number in 0..count {
            let pair = Arc::new(Pair::new(&format!("w{number}.example"), KeyKind::Witness));
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let store = Arc::new(DirStore::open(folder.path()).await.unwrap());
            let kept = Folder::create(store, "file:nowhere", pair.key.clone()).await.unwrap();
            kept.add_log(log.name().as_str(), log.clone()).await.unwrap();
            let told = Arc::new(Mutex::new(Vec::new()));
            let time = || DateTime::from_timestamp(NOW, 0).unwrap();
            let noted = Arc::clone(&told);
            let report = move |text: &str| noted.lock().unwrap().push(text.to_owned());
            let signer: Arc<dyn LogSigner> = pair.clone();
            let witness = Witness::new(kept, signer, Arc::new(time), report).unwrap();
            members.push(Member { pair, witness, told, _folder: folder });
        }
        Arc::new(Self { log: log.clone(), members })
    }

    /// The policy that wants so many of them.
    pub(crate) fn policy(&self, quorum: usize) -> String {
        let mut text = format!("log {}\n", self.log);
        let mut names = String::new();
        for (number, member) in self.members.iter().enumerate() {
            writeln!(text, "witness w{number} {}", member.pair.key).unwrap();
            write!(names, " w{number}").unwrap();
        }
        writeln!(text, "group some {quorum}{names}\nquorum some").unwrap();
        text
    }

    /// Asks one of them, and takes its cosignature if it gives one.
    pub(crate) async fn ask(
        &self,
        member: usize,
        request: &AddCheckpoint,
        into: &mut SignedCheckpoint,
    ) -> Reply {
        let member = &self.members[member];
        let reply = member.witness.answer(request.to_string().as_bytes()).await;
        if reply.status == 200 {
            let lines = Signature::parse_lines(&reply.body).unwrap();
            assert_eq!(into.merge(lines, &member.pair.known()), Ok(1));
        }
        reply
    }

    /// Leaves of the tree that one of them cosigned last.
    pub(crate) async fn knows(&self, member: usize) -> u64 {
        let folder = self.members[member].witness.folder();
        let latest = folder.latest(self.log.name().as_str()).await.unwrap();
        latest.map_or(0, |latest| latest.checkpoint().size())
    }
}

#[async_trait]
impl Cosigners for Panel {
    async fn cosign(
        &self,
        mut checkpoint: SignedCheckpoint,
        proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError> {
        let offered = checkpoint.clone();
        for at in 0..self.members.len() {
            let (old, new) = (self.knows(at).await, offered.claimed().size());
            let hashes = if (1..new).contains(&old) { proofs.from(old).await.unwrap() } else { Vec::new() };
            let request = AddCheckpoint::new(old, hashes, offered.clone());
            self.ask(at, &request, &mut checkpoint).await;
        }
        Ok(checkpoint)
    }
}
