//! Delegated roles one by one, as many as 16,384 of them, and which of them a path or a name leads to.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use super::canonical::Items;
use super::delegations::{DelegatedRole, PathSet};
use super::fields::ParseError;
use super::path::{RoleName, TargetPath, matches_pattern};

/// Hexadecimal digits of a prefix that the index knows: more would name more bins than there are files.
const INDEXED_DIGITS: usize = 16;

/// Delegated roles in order of priority. Dereferences to the list; what is looked up in it is found by an index, made
/// when it is first needed and forgotten when the list changes.
#[derive(Debug, Clone, Default)]
pub struct ListedRoles {
    roles: Vec<DelegatedRole>,
    index: OnceLock<Index>,
}

/// Places in the list.
#[derive(Debug, Clone)]
struct Index {
    /// All, by name; of one name, the first is first.
    by_name: Vec<usize>,
    /// Hash prefixes of up to [`INDEXED_DIGITS`] lower-case digits, sorted.
    prefixes: Vec<(Prefix, usize)>,
    /// How many digits there are in some prefix, each number once.
    digits: Vec<usize>,
    /// Roles with patterns, or with other prefixes.
    others: Vec<usize>,
}

/// Number of digits, and their value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(usize, u64);

impl Prefix {
    fn of(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() {
            0 => Some(Self(0, 0)),
            1..=INDEXED_DIGITS if lower => Some(Self(text.len(), u64::from_str_radix(text, 16).ok()?)),
            _ => None,
        }
    }
}

impl Index {
    fn of(roles: &[DelegatedRole]) -> Self {
        let mut by_name: Vec<usize> = (0..roles.len()).collect();
        let name = |at: &usize| roles.get(*at).map(|role| &role.name);
        by_name.sort_by(|a, b| name(a).cmp(&name(b)));
        let (mut prefixes, mut others) = (Vec::new(), Vec::new());
        for (at, role) in roles.iter().enumerate() {
            match indexed(&role.paths) {
                Some(known) => prefixes.extend(known.into_iter().map(|prefix| (prefix, at))),
                None => others.push(at),
            }
        }
        prefixes.sort_unstable();
        let mut digits: Vec<_> = prefixes.iter().map(|(Prefix(digits, _), _)| *digits).collect();
        digits.dedup();
        Self { by_name, prefixes, digits, others }
    }
}

/// The prefixes, if the index can hold all of them.
fn indexed(paths: &PathSet) -> Option<Vec<Prefix>> {
    match paths {
        PathSet::HashPrefixes(prefixes) => prefixes.iter().map(|prefix| Prefix::of(prefix)).collect(),
        PathSet::Patterns(_) => None,
    }
}

impl ListedRoles {
    /// The role of this name; the first, if there are several.
    pub fn named(&self, name: &RoleName) -> Option<&DelegatedRole> {
        let by_name = &self.index().by_name;
        let first = by_name.partition_point(|at| self.roles.get(*at).is_some_and(|role| role.name < *name));
        self.roles.get(*by_name.get(first)?).filter(|role| role.name == *name)
    }

    /// The roles that may speak for `path`, in order of priority.
    pub fn matching(&self, path: &TargetPath) -> impl Iterator<Item = &DelegatedRole> {
        let (index, digest) = (self.index(), path.digest());
        let text = hex::encode(digest);
        let others = index.others.iter().copied();
        let mut found: Vec<usize> = others
            .filter(|at| self.roles.get(*at).is_some_and(|role| role.paths.contains(path, &text)))
            .collect();
        for digits in &index.digits {
            let Some(prefix) = text.get(..*digits).and_then(Prefix::of) else { continue };
            let first = index.prefixes.partition_point(|(known, _)| *known < prefix);
            let same = index.prefixes.iter().skip(first).take_while(|(known, _)| *known == prefix);
            found.extend(same.map(|(_, at)| *at));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().filter_map(|at| self.roles.get(at))
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(&self.roles))
    }

    pub(super) fn read(items: Items<'_>) -> Result<Self, ParseError> {
        let listed = Self::from(items.map(DelegatedRole::read).collect::<Result<Vec<_>, _>>()?);
        let by_name = &listed.index().by_name;
        let name = |at: usize| listed.roles.get(at).map(|role| &role.name);
        let repeated = by_name.array_windows().filter(|[a, b]| name(*a) == name(*b)).map(|[_, b]| *b).min();
        match repeated.and_then(name) {
            None => Ok(listed),
            Some(name) => Err(ParseError::Wrong {
                within: "delegations",
                field: "roles".into(),
                found: format!("a list with {:?} twice", name.as_str()),
                expected: "each role once",
            }),
        }
    }

    /// Appends the canonical form.
    pub(super) fn write(&self, out: &mut String) {
        out.push('[');
        for (at, role) in self.roles.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            role.write(out);
        }
        out.push(']');
    }
}

impl PathSet {
    /// `digest` is the SHA-256 of the path in hexadecimal.
    fn contains(&self, path: &TargetPath, digest: &str) -> bool {
        match self {
            Self::Patterns(patterns) => {
                patterns.iter().any(|pattern| matches_pattern(pattern, path.as_str()))
            }
            Self::HashPrefixes(prefixes) => prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str())),
        }
    }
}

impl From<Vec<DelegatedRole>> for ListedRoles {
    fn from(roles: Vec<DelegatedRole>) -> Self {
        Self { roles, index: OnceLock::new() }
    }
}

impl Deref for ListedRoles {
    type Target = Vec<DelegatedRole>;
    fn deref(&self) -> &Self::Target {
        &self.roles
    }
}

impl DerefMut for ListedRoles {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.index.take();
        &mut self.roles
    }
}

impl PartialEq for ListedRoles {
    fn eq(&self, other: &Self) -> bool {
        self.roles == other.roles
    }
}

impl Eq for ListedRoles {}

#[cfg(test)]
mod tests {
    use super::super::fields::Extra;
    use super::*;
    use proptest::prelude::*;

    fn role(name: &str, paths: PathSet) -> DelegatedRole {
        let name = RoleName::delegated(name).unwrap();
        DelegatedRole {
            name,
            keyids: Vec::new(),
            threshold: 1,
            terminating: false,
            paths,
            extra: Extra::new(),
        }
    }

    fn paths() -> impl Strategy<Value = PathSet> {
        prop_oneof![
            prop::collection::vec("[ab*?]{0,2}", 0..3).prop_map(PathSet::Patterns),
            prop::collection::vec("[0-9a-f]{0,2}|[0-9A-F]{1,2}|[0-9a-f]{17}|x", 0..6)
                .prop_map(PathSet::HashPrefixes),
        ]
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_each_role_in_turn_finds(
            all in prop::collection::vec(paths(), 0..12),
            asked in "[ab]{1,3}",
        ) {
            let named = |(at, paths)| role(&format!("role{}", 11 - at), paths);
            let listed = ListedRoles::from(all.into_iter().enumerate().map(named).collect::<Vec<_>>());
            let path = TargetPath::new(asked).unwrap();
            let digest = hex::encode(path.digest());
            let each: Vec<_> = listed.iter().filter(|role| role.paths.contains(&path, &digest)).collect();
            prop_assert_eq!(listed.matching(&path).collect::<Vec<_>>(), each);
            for role in listed.iter() {
                prop_assert_eq!(listed.named(&role.name), Some(role));
            }
            prop_assert_eq!(listed.named(&RoleName::delegated("role").unwrap()), None);
        }
    }

    #[test]
    fn a_changed_list_is_looked_up_anew() {
        let mut listed = ListedRoles::from(vec![role("a", PathSet::Patterns(vec!["*".into()]))]);
        let path = TargetPath::new("file").unwrap();
        assert_eq!(listed.matching(&path).count(), 1);
        listed.push(role("b", PathSet::HashPrefixes(vec![String::new()])));
        let names: Vec<_> = listed.matching(&path).map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(listed.named(&RoleName::delegated("b").unwrap()).is_some());
    }
}
