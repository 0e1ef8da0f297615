//! `project standing`: what recorders say of a release, by what was claimed of it.

use std::collections::BTreeMap;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::claimed::ClaimsArg;
use super::project;
use crate::cli::Context;
use crate::cli::exit::{NETWORK, POLICY, SomeFailed, Usage};
use crate::client::{Fetched, Http, Timing};

/// Bytes of an answer, at most: 4,000 files with long names.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// How do the files of a release stand, as recorders saw them? Ends with 9 if one of them saw other files than were claimed,
/// else with 7 if one did not answer.
///
/// agree: as claimed; index-only: nobody claimed it; claim-only: the index does not have it; conflict: it has other bytes.
#[derive(Debug, Args)]
pub(crate) struct StandingOf {
    #[command(flatten)]
    recorders: ClaimsArg,
    /// The project
    name: String,
    /// The version
    #[arg(id = "release", value_name = "VERSION")]
    version: String,
}

/// What a recorder answers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    files: BTreeMap<String, String>,
    /// Files of which claims that nobody could check say something else.
    doubtful: Vec<String>,
    /// Why nothing is known of what this one saw.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl StandingOf {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (project, mut all, mut conflicts) = (project(&self.name)?, BTreeMap::new(), 0);
        let mut silent = 0;
        let version: pep440_rs::Version =
            self.version.parse().map_err(|_| Usage(format!("{:?} is no version", self.version)))?;
        let places = self.recorders.places()?;
        if places.is_empty() {
            return Err(Usage("which recorders? say --recorder FILE".to_owned()).into());
        }
        let http = Http::new(Timing::default())?;
        for (name, url) in places {
            // One that fails does not hide what others saw.
            let said = ask(&http, &format!("{url}{project}/{version}")).await;
            let said = said.unwrap_or_else(|why| Said { error: Some(why), ..Said::default() });
            if let Some(why) = &said.error {
                silent += 1;
                context.out.note(format_args!("{name}: {}", why.escape_debug()));
            }
            conflicts += said.files.values().filter(|standing| *standing == "conflict").count();
            all.insert(name, said);
        }
        context.out.result(&all, || {
            let mut rows = Vec::new();
            for (name, said) in &all {
                let plain = |text: &String| text.escape_debug().to_string();
                rows.extend(
                    said.files
                        .iter()
                        .map(|(file, standing)| vec![name.clone(), plain(standing), plain(file)]),
                );
                rows.extend(
                    said.doubtful.iter().map(|file| vec![name.clone(), "doubtful".to_owned(), plain(file)]),
                );
                if said.error.is_some() {
                    rows.push(vec![name.clone(), "no answer".to_owned(), format!("{project} {version}")]);
                } else if said.files.is_empty() && said.doubtful.is_empty() {
                    rows.push(vec![name.clone(), "unknown".to_owned(), format!("{project} {version}")]);
                }
            }
            context.out.table(&rows);
        })?;
        if conflicts > 0 {
            let text = format!("{conflicts} file(s) are not as they were claimed");
            return Err(SomeFailed { text, code: POLICY }.into());
        }
        if silent > 0 {
            let text = format!("{silent} recorder(s) did not answer");
            return Err(SomeFailed { text, code: NETWORK }.into());
        }
        Ok(())
    }
}

async fn ask(http: &Http, url: &str) -> Result<Said, String> {
    let mut answer = Vec::new();
    match http.file(url, MAX_ANSWER, &mut answer).await.map_err(|error| error.to_string())? {
        Fetched::Absent => Ok(Said::default()),
        Fetched::Whole => serde_json::from_slice(&answer)
            .map_err(|error| format!("{url} does not answer as recorders do: {error}")),
    }
}
