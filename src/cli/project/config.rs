//! Where a release is uploaded to, and with which token: what was typed, or what twine and uv are configured with.
//!
//! | what is typed | address |
//! |---|---|
//! | a URL | it |
//! | a name | the section of that name in `.pypirc`, else the `publish-url` of the index of that name in uv's configuration |
//! | nothing | `TWINE_REPOSITORY_URL`, `TWINE_REPOSITORY`, `UV_PUBLISH_URL`, uv's `publish-url`, the only server in either of them |
//!
//! The token: `--token-file`, `WHEELSEAL_TOKEN`, the variables of the tool whose configuration has the address, then the password
//! beside it. A password is taken for the user `__token__` alone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::cli::exit::Usage;
use crate::cli::files::read_file;

/// Where the token is looked for first that no file was named for.
const TOKEN: &str = "WHEELSEAL_TOKEN";
/// The user that tokens have.
const USER: &str = "__token__";
/// Bytes of a file with settings, at most.
const MAX_FILE: u64 = 1024 * 1024;
/// Servers that are every user's, and not meant when nothing is said.
const PUBLIC: [&str; 2] = ["pypi", "testpypi"];

/// An index, and the token for it.
pub(super) struct Destination {
    pub(super) url: String,
    pub(super) token: Zeroizing<String>,
    /// Which configuration it is from.
    pub(super) from: Option<String>,
}

/// Where configuration is looked for.
pub(super) struct Surroundings {
    pub(super) variables: BTreeMap<String, String>,
    /// The home folder.
    pub(super) home: Option<PathBuf>,
    /// The folder to work in.
    pub(super) folder: PathBuf,
}

/// One server in a configuration.
#[derive(Clone)]
struct Server {
    name: Option<String>,
    url: String,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
    from: String,
    tool: Tool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Twine,
    Uv,
}

impl Tool {
    /// The variables with user, password and token.
    fn variables(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Self::Twine => ("TWINE_USERNAME", "TWINE_PASSWORD", None),
            Self::Uv => ("UV_PUBLISH_USERNAME", "UV_PUBLISH_PASSWORD", Some("UV_PUBLISH_TOKEN")),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Uv {
    publish_url: Option<String>,
    index: Vec<UvIndex>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvIndex {
    name: Option<String>,
    publish_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pyproject {
    tool: Tools,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tools {
    uv: Option<Uv>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn here() -> anyhow::Result<Self> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables: BTreeMap<_, _> = std::env::vars_os().filter_map(text).collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Ok(Self { variables, home, folder: std::env::current_dir()? })
    }

    /// The index that is meant, with a token. `token` is the one that was typed; `note` is told what else is to be known.
    pub(super) fn destination(
        &self,
        typed: Option<&str>,
        token: Option<Zeroizing<String>>,
        note: &dyn Fn(String),
    ) -> anyhow::Result<Destination> {
        let typed = typed.filter(|typed| !typed.is_empty());
        let explicit = token.or_else(|| self.secret(TOKEN));
        if let (Some(url), Some(token)) = (typed.filter(|typed| typed.contains("://")), &explicit) {
            return Ok(Destination { url: url.to_owned(), token: token.clone(), from: None });
        }
        let servers = self.servers(note)?;
        let server = match typed {
            Some(url) if url.contains("://") => self.of_url(url, &servers),
            Some(name) => named(name, &servers)?,
            None => self.unnamed(&servers)?,
        };
        let (token, from) = match explicit {
            Some(token) => (token, server.from),
            None => self.token(&server)?,
        };
        Ok(Destination { url: server.url, token, from: Some(from) })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        self.variable(name).map(|value| Zeroizing::new(value.to_owned()))
    }

    /// A server by its address: what is configured for it, or else the variables of whichever tool has some.
    fn of_url(&self, url: &str, servers: &[Server]) -> Server {
        let same = |server: &&Server| bare(&server.url) == bare(url);
        if let Some(server) = servers.iter().find(same) {
            return Server { url: url.to_owned(), ..server.clone() };
        }
        let twine = self.variable("TWINE_PASSWORD").is_some();
        let (tool, from) =
            if twine { (Tool::Twine, "twine's variables") } else { (Tool::Uv, "uv's variables") };
        Server { name: None, url: url.to_owned(), user: None, password: None, from: from.to_owned(), tool }
    }

    /// The server that is meant when nothing is said.
    fn unnamed(&self, servers: &[Server]) -> anyhow::Result<Server> {
        let of = |variable: &str, tool| {
            let url = self.variable(variable)?.to_owned();
            let known = servers.iter().find(|server| server.tool == tool && bare(&server.url) == bare(&url));
            let (user, password) =
                known.map_or((None, None), |known| (known.user.clone(), known.password.clone()));
            Some(Server { name: None, url, user, password, from: variable.to_owned(), tool })
        };
        if let Some(server) = of("TWINE_REPOSITORY_URL", Tool::Twine) {
            return Ok(server);
        }
        if let Some(name) = self.variable("TWINE_REPOSITORY") {
            return named(name, servers);
        }
        if let Some(server) = of("UV_PUBLISH_URL", Tool::Uv) {
            return Ok(server);
        }
        if let Some(server) = servers.iter().find(|server| server.tool == Tool::Uv && server.name.is_none()) {
            return Ok(server.clone());
        }
        let own = |server: &&Server| !server.name.as_deref().is_some_and(|name| PUBLIC.contains(&name));
        match servers.iter().filter(own).collect::<Vec<_>>().as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(Usage(
                "which index? say --upload URL; neither twine nor uv is configured for one".to_owned(),
            )
            .into()),
            several => Err(Usage(format!("which index? say --upload NAME: {}", names(several))).into()),
        }
    }

    /// The token for a server, and where both are from.
    fn token(&self, server: &Server) -> anyhow::Result<(Zeroizing<String>, String)> {
        let Server { url, from, .. } = server;
        let (user, password, token) = server.tool.variables();
        if let Some((name, token)) = token.and_then(|name| Some((name, self.secret(name)?))) {
            return Ok((token, joined(from, name)));
        }
        let (user, secret, from) = if let Some(secret) = self.secret(password) {
            (self.variable(user).or(server.user.as_deref()), secret, joined(from, password))
        } else {
            let text = format!("a token for {url} is needed: --token-file FILE, or the variable {TOKEN}");
            let secret = server.password.clone().ok_or(Usage(text))?;
            (server.user.as_deref(), secret, from.clone())
        };
        if user.is_some_and(|user| user != USER) {
            return Err(Usage(format!("{from}: the user is not {USER}, so the password is no token")).into());
        }
        Ok((secret, from))
    }

    /// All servers that are configured, twine's before uv's, nearer files before farther ones.
    fn servers(&self, note: &dyn Fn(String)) -> anyhow::Result<Vec<Server>> {
        let mut servers = Vec::new();
        if let Some(file) = self.home.as_ref().map(|home| home.join(".pypirc")).filter(|file| file.is_file())
        {
            let text = text(&file)?;
            let found = pypirc(&text, &file.display().to_string());
            let open = std::fs::metadata(&file).is_ok_and(|about| about.mode() & 0o077 != 0);
            if open && found.iter().any(|server| server.password.is_some()) {
                note(format!("{} has a password, and others on this machine can read it", file.display()));
            }
            servers.extend(found);
        }
        for file in self.uv_files() {
            servers.extend(uv(&file)?);
        }
        Ok(servers)
    }

    /// uv's files: the nearest of a project, then the user's. Another user's say nothing of where a token goes.
    fn uv_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in self.folder.ancestors() {
            files.extend(
                ["uv.toml", "pyproject.toml"]
                    .map(|name| folder.join(name))
                    .into_iter()
                    .find(|file| file.is_file() && is_ours(file)),
            );
            if !files.is_empty() {
                break;
            }
        }
        let below = |home: &PathBuf| home.join(".config");
        let config = self.variable("XDG_CONFIG_HOME").map(PathBuf::from).or(self.home.as_ref().map(below));
        files.extend(config.map(|config| config.join("uv/uv.toml")).filter(|file| file.is_file()));
        files
    }
}

/// Whether the user or root wrote a file.
fn is_ours(file: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    std::fs::metadata(file).is_ok_and(|about| [0, user].contains(&about.uid()))
}

/// Without what does not tell two addresses of one index apart.
pub(super) fn bare(url: &str) -> &str {
    url.trim_end_matches('/').trim_end_matches("/legacy")
}

fn joined(one: &str, other: &str) -> String {
    if one == other { one.to_owned() } else { format!("{one} and {other}") }
}

fn names(servers: &[&Server]) -> String {
    let names: Vec<&str> = servers.iter().filter_map(|server| server.name.as_deref()).collect();
    names.join(", ")
}

fn named(name: &str, servers: &[Server]) -> anyhow::Result<Server> {
    let known: Vec<&Server> = servers.iter().filter(|server| server.name.is_some()).collect();
    let found = known.iter().find(|server| server.name.as_deref() == Some(name));
    if let Some(server) = found {
        return Ok((*server).clone());
    }
    let those = if known.is_empty() { "none is".to_owned() } else { format!("these are: {}", names(&known)) };
    let text = format!("no index {name:?} with an address is configured for twine or uv; {those}");
    Err(Usage(text).into())
}

fn text(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = String::from_utf8(read_file(file, MAX_FILE)?);
    Ok(Zeroizing::new(text.map_err(|_| Usage(format!("{} is not UTF-8", file.display())))?))
}

/// The servers of a `.pypirc`: sections with a `repository`.
fn pypirc(text: &str, shown: &str) -> Vec<Server> {
    let mut sections: Vec<(String, BTreeMap<String, Zeroizing<String>>)> = Vec::new();
    for line in text.lines() {
        // A line that begins with a space goes on with the value before it: only lists of servers have such.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name.to_owned(), BTreeMap::new()));
        } else if let (Some((_, fields)), Some((name, value))) =
            (sections.last_mut(), line.split_once(['=', ':']))
        {
            fields.insert(name.trim().to_ascii_lowercase(), Zeroizing::new(value.trim().to_owned()));
        }
    }
    let server = |(name, mut fields): (String, BTreeMap<String, Zeroizing<String>>)| {
        let url = fields.get("repository").filter(|url| !url.is_empty())?.to_string();
        let user = fields.get("username").map(|user| user.to_string());
        let (password, from) = (fields.remove("password"), format!("[{name}] in {shown}"));
        Some(Server { name: Some(name), url, user, password, from, tool: Tool::Twine })
    };
    sections.into_iter().filter_map(server).collect()
}

/// The servers of a file of uv.
fn uv(file: &Path) -> anyhow::Result<Vec<Server>> {
    let (text, shown) = (text(file)?, file.display().to_string());
    let bad = |error: toml::de::Error| Usage(format!("{shown}: {}", error.message()));
    let read = if file.ends_with("pyproject.toml") {
        toml::from_str::<Pyproject>(&text).map_err(bad)?.tool.uv.unwrap_or_default()
    } else {
        toml::from_str::<Uv>(&text).map_err(bad)?
    };
    let server = |name: Option<String>, url: String| {
        let from = name.as_ref().map_or_else(|| shown.clone(), |name| format!("index {name} in {shown}"));
        Server { name, url, user: None, password: None, from, tool: Tool::Uv }
    };
    let all = read.publish_url.map(|url| server(None, url)).into_iter();
    let named =
        read.index.into_iter().filter_map(|index| Some(server(Some(index.name?), index.publish_url?)));
    Ok(all.chain(named).collect())
}

#[cfg(test)]
mod tests;
