//! Who holds some keys and answers for the whole network: he keeps all that was ever signed, and writes what he likes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use wheelseal::client::{FetchError, Fetched, Sink, Source};
use wheelseal::crypto::sha256;
use wheelseal::tuf::key::RoleKeys;
use wheelseal::tuf::metadata::{
    About, Common, DelegatedRole, DelegatedRoles, Delegations, Extra, Hashes, LogHead, MetaFile, PathSet,
    Root, Snapshot, Table, TargetFile, Targets, TopLevel, Version,
};
use wheelseal::tuf::path::{RoleName, TargetPath};

use super::ledger::{RECORDERS, Shown, of_file, of_snapshot, recorder};
use super::world::{PROJECTS, Stolen, World, page};
use crate::scene::days_later;
use crate::simulator::length;

/// What the thief wants to be installed.
const EVIL: &[u8] = b"evil";
/// The days for which he makes his files good.
const FOR_EVER: i64 = 100_000;
/// The role that he adds.
const OWN_ROLE: &str = "thief";

/// Bins of the repository.
pub(super) const BINS: [&str; 4] = ["bins-0", "bins-1", "bins-2", "bins-3"];

/// What his files list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goods {
    /// Files of his own, and pages that list them.
    Evil,
    /// What was published at a moment.
    AsOf(usize),
    /// The same, but for one project at another moment.
    But(usize, &'static str, usize),
}

/// What carries the files to clients.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carrier {
    /// The newest honest timestamp and snapshot.
    Honest,
    /// The honest timestamp of a moment.
    OldTimestamp(usize),
    /// His timestamp, that names the honest snapshot of a moment.
    OwnTimestamp(usize),
    /// His snapshot, under the honest timestamp.
    OwnSnapshot,
    /// His timestamp and snapshot, which lists what that of a moment lists.
    Own(usize),
    /// The same below his own root.
    OwnRoot(usize),
}

/// What he does about the log, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trick {
    /// Nothing: proofs are the honest ones, and what he made has none.
    None,
    /// His timestamp names no log.
    Unnamed,
    /// Honest proofs in the place of others.
    OtherProof,
    /// A proof in a tree of his own, under the newest honest checkpoint.
    OldCheckpoint,
    /// A log of his own that branches off from what the client saw last.
    Forks,
    /// He adds it to the log that everybody sees, and asks the witnesses.
    Appends,
}

/// One thing he tries.
#[derive(Debug, Clone)]
pub(super) struct Attack {
    /// The strategy, as docs/trust.md names it.
    pub(super) name: &'static str,
    pub(super) carrier: Carrier,
    /// Roles whose files he writes, and what these list.
    pub(super) lists: Vec<(String, Goods)>,
    /// A role that he lets delegate everything to him.
    pub(super) delegates: Option<(String, Goods)>,
    /// Honest files of roles, by version.
    pub(super) replays: Vec<(String, Version)>,
    /// Whether his bytes are served in place of every honest target file.
    pub(super) swaps: bool,
    pub(super) trick: Trick,
}

impl Attack {
    pub(super) fn new(name: &'static str, carrier: Carrier) -> Self {
        Self {
            name,
            carrier,
            lists: Vec::new(),
            delegates: None,
            replays: Vec::new(),
            swaps: false,
            trick: Trick::None,
        }
    }
}

impl Attack {
    /// Whether files of his own are in it.
    pub(super) fn has_evil(&self) -> bool {
        let mut goods = self.lists.iter().chain(&self.delegates).map(|(_, goods)| goods);
        goods.any(|goods| matches!(goods, Goods::Evil))
    }
}

/// What clients are given: his files, and all that was ever honest beside them.
#[derive(Debug, Clone)]
pub(super) struct Net {
    honest: Arc<BTreeMap<String, Vec<u8>>>,
    own: Arc<BTreeMap<String, Vec<u8>>>,
}

impl Net {
    pub(super) fn source(&self, folder: &str) -> Box<dyn Source> {
        Box::new(Part { net: self.clone(), folder: folder.to_owned() })
    }
}

#[derive(Debug)]
struct Part {
    net: Net,
    folder: String,
}

#[async_trait]
impl Source for Part {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let path = format!("{}/{path}", self.folder);
        let Some(bytes) = self.net.own.get(&path).or_else(|| self.net.honest.get(&path)) else {
            return Ok(Fetched::Absent);
        };
        if length(bytes) > max_len {
            return Err(FetchError::TooLarge { url: path, max: max_len });
        }
        sink.write(bytes).unwrap();
        Ok(Fetched::Whole)
    }
}

pub(super) struct Thief<'a> {
    world: &'a World,
    stolen: &'a Stolen,
    files: BTreeMap<String, Vec<u8>>,
}

impl<'a> Thief<'a> {
    /// What his attack makes of the network.
    pub(super) fn performs(world: &'a World, stolen: &'a Stolen, attack: &Attack) -> Net {
        let mut thief = Self { world, stolen, files: BTreeMap::new() };
        thief.serves_evil();
        if attack.swaps {
            let targets = world.files.keys().filter(|path| path.starts_with("targets/"));
            thief.files.extend(targets.map(|path| (path.clone(), EVIL.to_vec())));
        }
        thief.carries(attack);
        thief.records(attack);
        Net { honest: Arc::clone(&world.files), own: Arc::new(thief.files) }
    }

    /// The network as it would be without him.
    pub(super) fn idle(world: &World) -> Net {
        Net { honest: Arc::clone(&world.files), own: Arc::default() }
    }

    /// The bytes of his own files, under their hashes and in place of honest ones.
    fn serves_evil(&mut self) {
        let hash = hex::encode(sha256(EVIL));
        for path in PROJECTS.into_iter().flat_map(wanted) {
            self.files.insert(format!("targets/{}", path.location(Some(&hash))), EVIL.to_vec());
        }
    }

    /// Recorders whose keys he has say that they saw his files.
    fn records(&mut self, attack: &Attack) {
        if !attack.has_evil() {
            return;
        }
        let his = his_files().map(|path| of_file(path.as_str(), EVIL));
        let leaves: Vec<_> = self.world.recorded.iter().cloned().chain(his).collect();
        for name in RECORDERS.into_iter().filter(|name| self.stolen.roles().contains(name)) {
            let sign = |message: &[u8]| self.stolen.signature(name, message).unwrap();
            self.files.extend(recorder(name, leaves.clone(), sign));
        }
    }

    /// Leaves for his files, if the attack lists them, and for his snapshot; shown by his trick.
    fn log(&self, attack: &Attack, snapshot: Option<(Version, &[u8])>) -> Option<Shown> {
        let ledger = self.world.log.as_ref()?;
        let files = attack.has_evil().then(his_files).into_iter().flatten();
        let mut leaves: Vec<_> = files.map(|path| of_file(path.as_str(), EVIL)).collect();
        leaves.extend(snapshot.map(|(version, bytes)| of_snapshot(version, bytes)));
        let seen = self.world.moments[self.world.seen].log.as_ref()?.size;
        match attack.trick {
            Trick::None | Trick::Unnamed | Trick::OtherProof => None,
            Trick::OldCheckpoint => Some(ledger.under_the_old_checkpoint(&leaves, self.stolen)),
            Trick::Forks => Some(ledger.forked(seen, &leaves, self.stolen)),
            Trick::Appends => Some(ledger.appended(&leaves, self.stolen)),
        }
    }

    /// The proofs of his files, and of his snapshot.
    fn proves(&mut self, attack: &Attack, shown: Option<&Shown>, snapshot: Option<(Version, &[u8])>) {
        let Some(ledger) = &self.world.log else { return };
        let of_another = |path: &str| self.world.files.get(path).cloned();
        let files = attack.has_evil().then(his_files).into_iter().flatten();
        let mut proofs: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        for path in files {
            let proof = shown.map(|shown| shown.proof(&of_file(path.as_str(), EVIL)).into_bytes());
            let other = || of_another("targets/open/open-1.0-py3-none-any.whl.tlog-proof");
            proofs.push((format!("targets/{path}.tlog-proof"), proof.or_else(other)));
        }
        if let Some((version, bytes)) = snapshot {
            let proof = shown.map(|shown| shown.proof(&of_snapshot(version, bytes)).into_bytes());
            let newest = self.newest().common.version;
            let other = || of_another(&format!("metadata/{newest}.snapshot.json.tlog-proof"));
            proofs.push((format!("metadata/{version}.snapshot.json.tlog-proof"), proof.or_else(other)));
        }
        assert!(ledger.head().size > 0);
        if attack.trick != Trick::None && attack.trick != Trick::Unnamed {
            self.files.extend(proofs.into_iter().map(|(path, proof)| (path, proof.unwrap())));
        }
    }

    fn carries(&mut self, attack: &Attack) {
        let world = self.world;
        match attack.carrier {
            Carrier::Honest => self.forges_under(attack, &world.moments[world.last()].snapshot),
            Carrier::OldTimestamp(at) => {
                self.forges_under(attack, &world.moments[at].snapshot);
                self.metadata("timestamp.json", world.moments[at].timestamp.clone());
            }
            Carrier::OwnTimestamp(at) => {
                let moment = &world.moments[at];
                self.forges_under(attack, &moment.snapshot);
                self.timestamp(moment.snapshot.common.version, &moment.snapshot_bytes, moment.log.clone());
            }
            Carrier::OwnSnapshot => {
                let newest = &world.moments[world.last()].snapshot;
                self.snapshot(attack, newest.clone(), newest.common.version);
            }
            Carrier::Own(at) => self.timestamp_and_snapshot(attack, at),
            Carrier::OwnRoot(at) => {
                self.root();
                self.timestamp_and_snapshot(attack, at);
            }
        }
        if !matches!(attack.carrier, Carrier::Own(_) | Carrier::OwnRoot(_)) {
            let shown = self.log(attack, None);
            self.proves(attack, shown.as_ref(), None);
        }
    }

    fn timestamp_and_snapshot(&mut self, attack: &Attack, at: usize) {
        let version = self.newest().common.version + 100;
        let bytes = self.snapshot(attack, self.world.moments[at].snapshot.clone(), version);
        let shown = self.log(attack, Some((version, &bytes)));
        self.proves(attack, shown.as_ref(), Some((version, &bytes)));
        let named = match attack.trick {
            Trick::Unnamed => None,
            _ => {
                shown.map(|shown| shown.head()).or_else(|| self.world.moments[self.world.last()].log.clone())
            }
        };
        self.timestamp(version, &bytes, named);
    }

    fn newest(&self) -> &'a Snapshot {
        &self.world.moments[self.world.last()].snapshot
    }

    /// His files under the versions that an honest snapshot names.
    fn forges_under(&mut self, attack: &Attack, snapshot: &Snapshot) {
        for (role, content) in self.contents(attack) {
            if let Some(entry) = snapshot.role(&role) {
                self.forges(&role, content, entry.version);
            }
        }
    }

    /// His snapshot: as `content`, but for his files, under new versions, and for those that he replays.
    fn snapshot(&mut self, attack: &Attack, mut content: Snapshot, version: Version) -> Vec<u8> {
        content.common = Common::new(version, for_ever());
        for (role, forged) in self.contents(attack) {
            let version = self.newest().role(&role).map_or(1, |entry| entry.version + 10);
            self.forges(&role, forged, version);
            content.set(&role, MetaFile::version(version));
        }
        for (role, version) in &attack.replays {
            content.set(role, MetaFile::version(*version));
        }
        let bytes = self.stolen.sign(&content);
        self.metadata(&format!("{version}.snapshot.json"), bytes.clone());
        bytes
    }

    fn timestamp(&mut self, version: Version, snapshot: &[u8], log: Option<LogHead>) {
        let mut content = self.world.newest.clone();
        content.log = log;
        content.common = Common::new(content.common.version + 100, for_ever());
        let hashes = Some(Hashes::sha256(sha256(snapshot)));
        content.snapshot = MetaFile::new(version, About { hashes, ..About::default() });
        self.metadata("timestamp.json", self.stolen.sign(&content));
    }

    /// A root that trusts him for everything.
    fn root(&mut self) {
        let (id, key) = self.stolen.own();
        let mut root: Root = self.world.root.clone();
        root.common = Common::new(root.common.version + 1, for_ever());
        root.keys.insert(id.clone(), key);
        for role in [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
            *root.role_mut(role) = RoleKeys { keyids: vec![id.clone()], threshold: 1, extra: Extra::new() };
        }
        self.metadata(&format!("{}.root.json", root.common.version), self.stolen.sign(&root));
    }

    fn forges(&mut self, role: &str, mut content: Targets, version: Version) {
        content.common = Common::new(version, for_ever());
        self.metadata(&format!("{version}.{role}.json"), self.stolen.sign(&content));
    }

    /// The roles that the attack writes.
    fn contents(&self, attack: &Attack) -> Vec<(String, Targets)> {
        let mut contents = Vec::new();
        for (role, goods) in &attack.lists {
            contents.push((role.clone(), self.listing(role, *goods)));
        }
        if let Some((role, goods)) = &attack.delegates {
            let mut content = self.listing(role, Goods::AsOf(self.world.last()));
            content.targets = Table::new();
            content.delegations = Some(self.to_himself());
            contents.push((role.clone(), content));
            let mut own = empty();
            self.list(&mut own, *goods);
            contents.push((OWN_ROLE.to_owned(), own));
        }
        contents
    }

    /// The newest honest content of a role, and `goods`.
    fn listing(&self, role: &str, goods: Goods) -> Targets {
        let entry = self.newest().role(role).map(|entry| entry.version);
        let honest = entry.and_then(|version| self.world.contents.get(&(role.to_owned(), version)));
        let mut content = honest.cloned().unwrap_or_else(empty);
        self.list(&mut content, goods);
        content
    }

    fn list(&self, content: &mut Targets, goods: Goods) {
        for (path, file) in self.goods(goods) {
            content.targets.insert(path, file);
        }
    }

    fn goods(&self, goods: Goods) -> Vec<(String, TargetFile)> {
        let of = |at: usize| self.world.moments[at].targets.clone().into_iter();
        match goods {
            Goods::Evil => {
                let paths = PROJECTS.into_iter().flat_map(wanted);
                paths.map(|path| (path.to_string(), evil())).collect()
            }
            Goods::AsOf(at) => of(at).collect(),
            Goods::But(rest, project, at) => {
                let others = of(rest).filter(|(path, _)| !belongs(path, project));
                others.chain(of(at).filter(|(path, _)| belongs(path, project))).collect()
            }
        }
    }

    /// Everything is delegated to a role of his own, and nothing to others.
    fn to_himself(&self) -> Delegations {
        let (id, key) = self.stolen.own();
        let role = DelegatedRole {
            name: RoleName::delegated(OWN_ROLE).unwrap(),
            keyids: vec![id.clone()],
            threshold: 1,
            terminating: true,
            paths: PathSet::Patterns(vec!["*/*".into(), "simple/*/*".into()]),
            extra: Extra::new(),
        };
        let roles = DelegatedRoles::Listed(vec![role].into());
        Delegations { keys: [(id, key)].into(), roles, extra: Extra::new() }
    }

    fn metadata(&mut self, file: &str, bytes: Vec<u8>) {
        self.files.insert(format!("metadata/{file}"), bytes);
    }
}

/// What he would like to give for a project: its page, a file that there is, and one that there is not.
pub(super) fn wanted(project: &str) -> [TargetPath; 3] {
    let file = |version| TargetPath::new(format!("{project}/{project}-{version}-py3-none-any.whl")).unwrap();
    [page(project), file("1.0"), file("6.66")]
}

/// His files: those of them that are logged.
fn his_files() -> impl Iterator<Item = TargetPath> {
    PROJECTS.into_iter().flat_map(|project| wanted(project).into_iter().skip(1))
}

pub(super) fn belongs(path: &str, project: &str) -> bool {
    path.strip_prefix("simple/").unwrap_or(path).starts_with(&format!("{project}/"))
}

fn empty() -> Targets {
    Targets { common: Common::new(1, for_ever()), targets: Table::new(), delegations: None }
}

fn evil() -> TargetFile {
    TargetFile { length: length(EVIL), hashes: Hashes::sha256(sha256(EVIL)), extra: Extra::new() }
}

fn for_ever() -> DateTime<Utc> {
    days_later(FOR_EVER)
}
