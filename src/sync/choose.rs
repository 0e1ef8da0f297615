//! Which files a lock, requirements or a whole repository mean.
//!
//! No resolver: of each project the newest version that suits all who want it, or, where there is none, the newest for each
//! of them. What was chosen stays chosen, so the set can only be larger than what a resolver needs of it, and the search
//! ends. A set that no resolver could satisfy is told; a lock made by one is the better start then.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::ExtraName;

use super::job::{Job, METADATA, Told};
use super::{Reason, Refused, SyncError};
use crate::client::{ClientError, FileError};
use crate::python::lock::{Judged, Lock, Locked, Origin, judge, signed_files};
use crate::python::{
    ArchiveLimits, Dependency, Kind, PageFile, ProjectName, ProjectPage, Source, files_of, inspect,
};
use crate::tuf::path::TargetPath;

/// Projects that requirements may lead to, at most. The largest known sets have some 2,000.
const MAX_PROJECTS: usize = 20_000;
/// Different requirements of one project, at most: each looks at all its files again.
const MAX_WANTS: usize = 1_000;
/// Version specifiers in them, at most.
const MAX_SPECIFIERS: usize = 10_000;
/// Bytes of a metadata file, at most.
const MAX_METADATA: u64 = 10_000_000;

/// A project, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The project.
    pub project: ProjectName,
    /// Its signed page, if it is at hand.
    pub page: Option<ProjectPage>,
    /// File names; none: all that the filter takes.
    pub files: Option<BTreeSet<String>>,
}

impl Wish {
    pub(super) fn of(project: ProjectName, files: BTreeSet<String>) -> Self {
        Self { project, page: None, files: Some(files) }
    }
}

/// What requirements ask for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The requirements.
    pub requirements: Vec<Dependency>,
    /// What they depend on too.
    pub dependencies: bool,
    /// Every version that fits, not the newest alone.
    pub all_versions: bool,
}

/// A project that requirements lead to.
#[derive(Default)]
struct Chosen {
    /// None: it has no page.
    page: Option<ProjectPage>,
    /// Why it has none, while only uncertain wants were told that.
    absent: Option<Reason>,
    /// What is wanted of it, and by whom.
    wants: Vec<(VersionSpecifiers, String)>,
    extras: BTreeSet<ExtraName>,
    /// Files, by version.
    versions: BTreeMap<Version, Vec<PageFile>>,
}

/// A requirement, and who has it.
struct Want {
    dependency: Dependency,
    by: String,
    certain: bool,
}

/// A search under way.
struct Search<'a> {
    job: &'a Job,
    wanted: &'a Wanted,
    projects: BTreeMap<ProjectName, Chosen>,
    dependencies: BTreeMap<(ProjectName, Version), Vec<Dependency>>,
    /// Requirements that were followed.
    seen: BTreeSet<(ProjectName, String)>,
    queue: VecDeque<Want>,
}

impl Job {
    /// All projects of the repository, as far as its roles can be read.
    pub async fn everything(&self, told: &(dyn Fn(u64, u64) + Sync)) -> Result<Vec<Wish>, SyncError> {
        let names = Mutex::new(BTreeSet::new());
        let visit = |role: &crate::tuf::metadata::Targets| {
            let found = role.targets.keys().filter_map(project_of);
            names.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        };
        let unread = self.shared.walk(self.jobs, &visit, told).await;
        for role in unread {
            self.refuse(&Refused::new(&format!("the role {}", role.role), role.error))?;
        }
        let names = names.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(names.into_iter().map(|project| Wish { project, page: None, files: None }).collect())
    }

    /// What a lock pins, as far as it is signed; the rest is told.
    pub async fn of_lock(&self, lock: &Lock) -> Result<Vec<Wish>, SyncError> {
        let from_index = lock.packages.iter().filter(|package| package.origin == Origin::Index);
        let projects: BTreeSet<_> = from_index.map(|package| package.project.clone()).collect();
        let pages = self.pages(projects).await?;
        let mut wishes: BTreeMap<ProjectName, BTreeSet<String>> = BTreeMap::new();
        for package in &lock.packages {
            let page = pages.get(&package.project);
            for judged in judge(package, page).into_iter().filter(|judged| !judged.verdict.is_good()) {
                self.refuse(&contradicted(&judged))?;
            }
            let Some(page) = page.filter(|_| package.origin == Origin::Index) else { continue };
            let files = self.of_package(package, page)?;
            wishes.entry(package.project.clone()).or_default().extend(files);
        }
        let wish =
            |(project, files)| Wish { page: pages.get(&project).cloned(), project, files: Some(files) };
        Ok(wishes.into_iter().map(wish).collect())
    }

    fn of_package(&self, package: &Locked, page: &ProjectPage) -> Result<Vec<String>, SyncError> {
        let signed = signed_files(package, page);
        let fitting = signed.iter().filter(|file| self.filter.takes(file));
        let files: Vec<_> = fitting.map(|file| file.filename.to_string()).collect();
        if files.is_empty() && !signed.is_empty() {
            let version = package.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            let wanted = format!("{}{version}", package.project);
            self.refuse(&Refused::new(&package.project, Reason::NoFile { wanted }))?;
        }
        Ok(files)
    }

    /// The signed pages of projects; those without one were told.
    async fn pages(
        &self,
        projects: BTreeSet<ProjectName>,
    ) -> Result<BTreeMap<ProjectName, ProjectPage>, SyncError> {
        let ask = async |project| (self.signed_page(&project).await, project);
        let mut answers = std::pin::pin!(stream::iter(projects).map(ask).buffer_unordered(self.jobs.get()));
        let mut pages = BTreeMap::new();
        while let Some((page, project)) = answers.next().await {
            match page {
                Ok(page) => drop(pages.insert(project, page)),
                Err(reason) => self.refuse(&Refused::new(&project, reason))?,
            }
        }
        Ok(pages)
    }

    /// What requirements name; what cannot be had is told.
    pub async fn of_requirements(self: &Arc<Self>, wanted: &Wanted) -> Result<Vec<Wish>, SyncError> {
        let queue = wanted.requirements.iter().map(|dependency| Want {
            dependency: dependency.clone(),
            by: String::new(),
            certain: true,
        });
        let mut search = Search {
            job: self,
            wanted,
            projects: BTreeMap::new(),
            dependencies: BTreeMap::new(),
            seen: BTreeSet::new(),
            queue: queue.collect(),
        };
        while !search.queue.is_empty() {
            search.round().await?;
        }
        search.wishes()
    }
}

impl Search<'_> {
    /// Takes what waits, and puts in line what that depends on.
    async fn round(&mut self) -> Result<(), SyncError> {
        let wants: Vec<Want> = self.queue.drain(..).collect();
        self.read_pages(&wants).await?;
        let mut changed = BTreeSet::new();
        for want in wants {
            changed.extend(self.follow(want)?);
        }
        if self.wanted.dependencies {
            self.read_dependencies(&changed).await?;
            for project in &changed {
                self.enqueue(project);
            }
        }
        Ok(())
    }

    async fn read_pages(&mut self, wants: &[Want]) -> Result<(), SyncError> {
        let new = wants.iter().filter(|want| matches!(want.dependency.source, Source::Index(_)));
        let new = new.map(|want| (want.dependency.project.clone(), want));
        let new: BTreeMap<_, _> = new.filter(|(project, _)| !self.projects.contains_key(project)).collect();
        if self.projects.len().saturating_add(new.len()) > MAX_PROJECTS {
            return Err(SyncError::TooMany { limit: MAX_PROJECTS });
        }
        let ask = async |project: ProjectName| (self.job.signed_page(&project).await, project);
        let asked = stream::iter(new.keys().cloned()).map(ask).buffer_unordered(self.job.jobs.get());
        let answers: Vec<_> = asked.collect().await;
        for (page, project) in answers {
            let (page, absent) = match page {
                Ok(page) => (Some(page), None),
                Err(reason) => {
                    let certain = wants.iter().any(|want| want.dependency.project == project && want.certain);
                    let by = new.get(&project).map(|want| want.by.as_str()).unwrap_or_default();
                    (None, self.absent(&project, by, certain, reason)?)
                }
            };
            self.projects.insert(project, Chosen { page, absent, ..Chosen::default() });
        }
        Ok(())
    }

    /// A project that is not there. One that only some machines want is no fault, until one comes that all want: the reason
    /// is handed back for that.
    fn absent(
        &self,
        project: &ProjectName,
        by: &str,
        certain: bool,
        reason: Reason,
    ) -> Result<Option<Reason>, SyncError> {
        let what = if by.is_empty() { project.to_string() } else { format!("{project} (for {by})") };
        let refused = Refused { what, reason };
        if !certain && matches!(refused.reason, Reason::Client(ClientError::NotSigned { .. })) {
            (self.job.tell)(Told::Missing(&refused));
            return Ok(Some(refused.reason));
        }
        self.job.refuse(&refused)?;
        Ok(None)
    }

    /// Chooses versions for one more requirement; the project, if there is something new to it.
    fn follow(&mut self, want: Want) -> Result<Option<ProjectName>, SyncError> {
        let Want { dependency, by, certain } = want;
        let project = dependency.project.clone();
        if certain
            && matches!(dependency.source, Source::Index(_))
            && let Some(reason) = self.projects.get_mut(&project).and_then(|chosen| chosen.absent.take())
        {
            self.absent(&project, &by, true, reason)?;
        }
        if !self.seen.insert((project.clone(), dependency.to_string())) {
            return Ok(None);
        }
        let versions = match dependency.source {
            Source::Index(versions) => versions,
            Source::Elsewhere(place) => {
                self.job.refuse(&Refused::new(&project, Reason::Elsewhere { place }))?;
                return Ok(None);
            }
        };
        let (job, all) = (self.job, self.wanted.all_versions);
        let Some(chosen) = self.projects.get_mut(&project) else { return Ok(None) };
        let Some(page) = &chosen.page else { return Ok(None) };
        let specifiers = chosen.wants.iter().map(|(versions, _)| versions.iter().count()).sum::<usize>();
        if chosen.wants.len() >= MAX_WANTS
            || specifiers.saturating_add(versions.iter().count()) > MAX_SPECIFIERS
        {
            return Err(SyncError::TooManyWants {
                project: project.to_string(),
                wants: MAX_WANTS,
                specifiers: MAX_SPECIFIERS,
            });
        }
        chosen.extras.extend(dependency.extras);
        chosen.wants.push((versions.clone(), by));
        let together: VersionSpecifiers =
            chosen.wants.iter().flat_map(|(versions, _)| versions.iter().cloned()).collect();
        let fitting = fitting(page, job);
        let files = if all {
            every(&fitting, &versions)
        } else {
            files_of(&fitting, &together).or_else(|_| files_of(&fitting, &versions))
        };
        match files {
            Ok(files) => {
                for file in files {
                    let of_version = chosen.versions.entry(file.filename.version().clone()).or_default();
                    if !of_version.contains(file) {
                        of_version.push(file.clone());
                    }
                }
            }
            Err(_) if files_of(page, &versions).is_ok() => {
                let wanted = format!("{project}{versions}");
                job.refuse(&Refused::new(&project, Reason::NoFile { wanted }))?;
            }
            Err(error) => job.refuse(&Refused::new(&project, error))?,
        }
        Ok(Some(project))
    }

    async fn read_dependencies(&mut self, projects: &BTreeSet<ProjectName>) -> Result<(), SyncError> {
        let mut unknown = Vec::new();
        for project in projects {
            let versions = self.projects.get(project).into_iter().flat_map(|chosen| &chosen.versions);
            for (version, files) in versions {
                let key = (project.clone(), version.clone());
                if !self.dependencies.contains_key(&key) {
                    unknown.push((key, files.clone()));
                }
            }
        }
        let job = self.job;
        let read = stream::iter(unknown).map(async |(key, files)| (job.dependencies(&files).await, key));
        let answers: Vec<_> = read.buffer_unordered(job.jobs.get()).collect().await;
        for (answer, (project, version)) in answers {
            let dependencies = match answer {
                Ok(dependencies) => dependencies,
                Err(reason) => {
                    job.refuse(&Refused::new(&format!("{project} {version}"), reason))?;
                    Vec::new()
                }
            };
            self.dependencies.insert((project, version), dependencies);
        }
        Ok(())
    }

    /// Puts in line what the chosen versions of a project depend on.
    fn enqueue(&mut self, project: &ProjectName) {
        let Some(chosen) = self.projects.get(project) else { return };
        for version in chosen.versions.keys() {
            let dependencies =
                self.dependencies.get(&(project.clone(), version.clone())).into_iter().flatten();
            for dependency in dependencies {
                if dependency.applies(&self.job.filter.machine, &chosen.extras) {
                    let certain = dependency.is_certain(&chosen.extras);
                    let by = format!("{project} {version}");
                    self.queue.push_back(Want { dependency: dependency.clone(), by, certain });
                }
            }
        }
    }

    fn wishes(self) -> Result<Vec<Wish>, SyncError> {
        let mut wishes = Vec::new();
        for (project, chosen) in self.projects {
            let Some(page) = chosen.page else { continue };
            if !self.wanted.all_versions && is_torn(&chosen.versions, &chosen.wants) {
                let told = |(versions, by): (VersionSpecifiers, String)| match by.as_str() {
                    "" => format!("{project}{versions}"),
                    by => format!("{project}{versions} ({by})"),
                };
                let wanted = chosen.wants.into_iter().map(told).collect();
                self.job.refuse(&Refused::new(&project, Reason::Torn { wanted }))?;
            }
            let files = chosen.versions.into_values().flatten().map(|file| file.filename.to_string());
            wishes.push(Wish { project, page: Some(page), files: Some(files.collect()) });
        }
        Ok(wishes)
    }
}

/// Whether none of the versions suits all who want one.
fn is_torn(versions: &BTreeMap<Version, Vec<PageFile>>, wants: &[(VersionSpecifiers, String)]) -> bool {
    let suits = |version: &Version| wants.iter().all(|(wanted, _)| wanted.contains(version));
    !versions.is_empty() && !versions.keys().any(suits)
}

/// The page with what the filter takes.
fn fitting(page: &ProjectPage, job: &Job) -> ProjectPage {
    let mut page = page.clone();
    page.retain(|file| job.filter.takes(file));
    page
}

/// The files of every version that fits, at least one.
fn every<'a>(
    page: &'a ProjectPage,
    wanted: &VersionSpecifiers,
) -> Result<Vec<&'a PageFile>, crate::python::SelectError> {
    files_of(page, wanted)?;
    Ok(page.offered().iter().filter(|file| wanted.contains(file.filename.version())).collect())
}

impl Job {
    /// What the files of a version depend on, all together: by the metadata of wheels, else by that in an archive.
    async fn dependencies(&self, files: &[PageFile]) -> Result<Vec<Dependency>, Reason> {
        let wheels = files.iter().filter(|file| matches!(file.filename.kind(), Kind::Wheel { .. }));
        let wheels: Vec<_> = wheels.collect();
        let sources = if wheels.is_empty() { files.iter().collect() } else { wheels };
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for file in sources {
            let known = file.core_metadata_sha256.as_ref().unwrap_or(&file.sha256).to_string();
            if let Entry::Vacant(free) = texts.entry(known) {
                free.insert(self.metadata(file).await?);
            }
        }
        let mut all: Vec<Dependency> = Vec::new();
        for text in texts.values() {
            for dependency in Dependency::of_metadata(text, text.len())? {
                if !all.contains(&dependency) {
                    all.push(dependency);
                }
            }
        }
        Ok(all)
    }

    async fn metadata(&self, file: &PageFile) -> Result<Vec<u8>, Reason> {
        if file.core_metadata_sha256.is_some() {
            let path = TargetPath::new(format!("{}/{}{METADATA}", file.filename.project(), file.filename));
            let path = path.map_err(|_| ClientError::NotSigned { path: file.filename.to_string() })?;
            let found = self.shared.find(&path).await?;
            return Ok(self.shared.read(&found, MAX_METADATA).await?);
        }
        if self.dry {
            (self.tell)(Told::Unknown(&file.filename));
            return Ok(Vec::new());
        }
        let io = |error: &dyn std::fmt::Display| FileError::Io {
            what: "reading",
            path: file.filename.to_string(),
            reason: error.to_string(),
        };
        self.folder.prepare(file.filename.project()).map_err(|error| ClientError::from(io(&error)))?;
        let place = self.fetch(&file.filename, "", file.sha256.as_str()).await?.place;
        let name = file.filename.clone();
        let read = tokio::task::spawn_blocking(move || -> Result<Vec<u8>, Reason> {
            let opened = std::fs::File::open(&place).map_err(|error| {
                let (path, reason) = (place.display().to_string(), error.to_string());
                ClientError::from(FileError::Io { what: "opening", path, reason })
            })?;
            let archive = std::io::BufReader::new(opened);
            Ok(inspect(&name, archive, &ArchiveLimits::default())?.metadata_bytes)
        });
        read.await.map_err(|error| ClientError::from(io(&error)))?
    }
}

fn project_of(target: &str) -> Option<ProjectName> {
    let name = target.strip_prefix("simple/")?.strip_suffix("/index.json")?;
    ProjectName::from_normalised(name).ok()
}

fn contradicted(judged: &Judged) -> Refused {
    let version = judged.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let file = if judged.file.is_empty() { String::new() } else { format!(" {}", judged.file) };
    let contradicts = judged.verdict.contradicts();
    let reason = Reason::Lock { text: judged.verdict.to_string(), contradicts };
    Refused { what: format!("{}{version}{file}", judged.project), reason }
}
