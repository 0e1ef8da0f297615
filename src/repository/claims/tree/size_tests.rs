//! How large files get when 750,000 projects are claimed, and what a client fetches for one of them.

use chrono::DateTime;

use super::tests::{content, name, owners};
use super::*;
use crate::crypto::{NewKey, Scheme, SigningKey};
use crate::tuf::key::RoleKeys;
use crate::tuf::lookup::{Search, Step};
use crate::tuf::metadata::{Common, Hashes, MetaFile, Role, Root, Snapshot, Table, TargetFile, Timestamp};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::Draft;
use crate::tuf::trusted::{Limits, RootChain, Trusted};

const PROJECTS: u64 = 750_000;
const CEREMONIES: u64 = 10;
/// Bytes of each file, at most.
const FILE: usize = 300_000;

/// How names begin, with how many of a thousand begin like that: what an index's list of names looks like.
const BEGINNINGS: [(&str, u64); 16] = [
    ("py", 60),
    ("django-", 35),
    ("odoo-addon-", 15),
    ("flask-", 15),
    ("ai-", 12),
    ("aws-", 10),
    ("mkdocs-", 8),
    ("pytest-", 18),
    ("airflow-provider-", 6),
    ("azure-mgmt-", 4),
    ("collective-", 6),
    ("open", 12),
    ("data-", 12),
    ("ml", 12),
    ("simple-", 10),
    ("types-", 5),
];
const SYLLABLES: [&str; 40] = [
    "a", "ab", "al", "an", "ar", "ba", "ca", "co", "da", "de", "di", "do", "e", "en", "er", "fa", "fi", "ge",
    "ha", "in", "ja", "ka", "la", "lo", "ma", "me", "mo", "na", "o", "on", "pa", "po", "ra", "re", "sa",
    "se", "ta", "to", "ve", "x",
];

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    }
}

fn project(number: u64) -> ProjectName {
    let mut draw = random(number + 1);
    let (mut text, mut left) = (String::new(), draw(1_000));
    for (beginning, share) in BEGINNINGS {
        if left < share {
            text.push_str(beginning);
            break;
        }
        left -= share;
    }
    for _ in 0..3 + draw(3) {
        text.push_str(SYLLABLES[usize::try_from(draw(40) * (1 + draw(40)) / 40).unwrap()]);
    }
    // Makes it one of its kind.
    text.push_str(&format!("{number:x}"));
    name(&text)
}

/// A signer of everything that is not a project's.
struct Desk {
    key: SigningKey,
    owners: Owners,
}

impl Desk {
    fn new() -> Self {
        let key = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let owners = Owners::new([Key::new(key.public().clone(), Scheme::Ed25519).unwrap()], 1);
        Self { key, owners }
    }

    fn sign<T: Role>(&self, content: T) -> Vec<u8> {
        let payload = Draft::new(content).payload();
        let signature = self.key.sign(Scheme::Ed25519, payload.to_sign()).unwrap();
        payload.assemble(&[(self.owners.keys.keys().next().unwrap().clone(), signature)])
    }

    fn keys(&self) -> RoleKeys {
        RoleKeys { keyids: self.owners.keys.keys().cloned().collect(), threshold: 1, extra: Extra::new() }
    }

    fn top_level(&self, roles: &[RoleName]) -> Trusted {
        let keys = self.keys();
        let root = self.sign(Root {
            common: common(),
            consistent_snapshot: true,
            keys: self.owners.keys.clone(),
            root: keys.clone(),
            timestamp: keys.clone(),
            snapshot: keys.clone(),
            targets: keys,
            other_roles: Extra::new(),
        });
        let claimed = DelegatedRole {
            name: RoleName::delegated(Family::Claimed.name()).unwrap(),
            keyids: self.owners.keys.keys().cloned().collect(),
            threshold: 1,
            terminating: false,
            paths: PathSet::Patterns(patterns("").into()),
            extra: Extra::new(),
        };
        let roles_of = DelegatedRoles::Listed(vec![claimed].into());
        let delegations =
            Delegations { keys: self.owners.keys.clone(), roles: roles_of, extra: Extra::new() };
        let targets = self.sign(Targets { common: common(), ..content(Some(delegations)) });
        let mut snapshot = Snapshot { common: common(), meta: Table::new() };
        let names = roles.iter().map(RoleName::as_str).chain(["targets"]);
        snapshot.set_all(names.map(|role| (role, MetaFile::version(1))));
        let snapshot = self.sign(snapshot);
        let timestamp = Timestamp {
            common: common(),
            snapshot: MetaFile::version(1),
            log: None,
            other_meta: Extra::new(),
        };
        let timestamp = self.sign(timestamp);
        let phase =
            RootChain::start(root, DateTime::UNIX_EPOCH, Limits::default()).unwrap().finish().unwrap();
        phase.accept(timestamp).unwrap().accept(snapshot).unwrap().accept(targets).unwrap()
    }
}

fn common() -> Common {
    Common::new(1, DateTime::UNIX_EPOCH + chrono::TimeDelta::days(1))
}

/// Names of the files that a client asks for, and whether it finds the project's page.
fn look_up(desk: &Desk, tree: &Tree, trusted: &mut Trusted, project: &ProjectName) -> (Vec<String>, bool) {
    let page = TargetPath::new(format!("simple/{project}/index.json")).unwrap();
    let mut search = Search::new(page.clone());
    let mut asked = Vec::new();
    loop {
        match search.step(trusted).unwrap() {
            Step::Found(_) => return (asked, true),
            Step::NotFound => return (asked, false),
            Step::Need(edge) => {
                let role = edge.role().clone();
                let mut made = match tree.buckets.get(&role) {
                    Some(bucket) => content(Some(bucket.delegations().unwrap())),
                    None if role.as_str() == "claimed" => content(Some(tree.delegations())),
                    None => content(None),
                };
                made.common = common();
                if project_of_role(role.as_str()).is_some() {
                    let file = TargetFile { length: 0, hashes: Hashes::sha256([0; 32]), extra: Extra::new() };
                    made.targets.insert(page.as_str(), file);
                }
                let bytes = desk.sign(made);
                assert!(bytes.len() < FILE, "{role} has {} bytes", bytes.len());
                trusted.accept(&edge, bytes).unwrap();
                asked.push(role.to_string());
            }
        }
    }
}

#[test]
fn at_750_000_claimed_projects_every_file_is_below_300_kb_and_a_lookup_visits_three() {
    let desk = Desk::new();
    let mut tree = Tree::read(Family::Claimed, &content(None), desk.owners.clone(), 0).unwrap();
    let each = PROJECTS / CEREMONIES;
    for first in (0..CEREMONIES).map(|ceremony| ceremony * each) {
        let owned = |project: ProjectName| {
            let sample = project.as_str().ends_with("777");
            (project.clone(), if sample { desk.owners.clone() } else { owners(&[project.as_str()], 1) })
        };
        tree.put_all((first..first + each).map(|number| owned(project(number)))).unwrap();
    }
    let sizes = tree.buckets.values().map(|bucket| bucket.bytes);
    assert!(sizes.max().unwrap() <= MAX_BUCKET && MAX_BUCKET + 4_000 < FILE);
    let claimed = Draft::new(content(Some(tree.delegations()))).payload().to_sign().len();
    assert!((250_000..FILE - 4_000).contains(&claimed), "claimed has {claimed} bytes");
    assert_eq!(tree.projects().count(), usize::try_from(PROJECTS).unwrap());

    let samples: Vec<_> =
        tree.projects().map(|(project, _)| project).filter(|p| p.as_str().ends_with("777")).collect();
    assert!(samples.len() > 100);
    let roles = samples.iter().map(|project| project_role(project).unwrap());
    let roles = roles.chain(tree.buckets.keys().cloned()).chain([RoleName::delegated("claimed").unwrap()]);
    let roles: Vec<_> = roles.collect();
    for project in samples.iter().step_by(11) {
        let mut trusted = desk.top_level(&roles);
        let (asked, found) = look_up(&desk, &tree, &mut trusted, project);
        assert_eq!((asked.len(), found), (3, true), "{asked:?}");
    }
    // A project that nobody claimed costs `claimed` and each bucket whose prefix its name has.
    for number in (PROJECTS..PROJECTS + 2_000).step_by(200) {
        let mut trusted = desk.top_level(&roles);
        let (asked, found) = look_up(&desk, &tree, &mut trusted, &project(number));
        assert!(!found && (2..=9).contains(&asked.len()), "{asked:?}");
    }
}
