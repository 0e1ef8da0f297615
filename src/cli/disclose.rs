//! `journal disclose`: what is held about an account or a project, category by category, as demands for data ask.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::journal::JournalArg;
use super::output::{STRONG, styled};
use crate::journal::{Account, Event, Filter, Kind};
use crate::python::ProjectName;
use crate::server::{Grant, Tokens};

/// Everything that is held about an account or a project, category by category.
///
/// For an admin who must answer a demand for data, or a person who asks. It says as well what is not held. Nothing is sent
/// anywhere.
#[derive(Debug, Args)]
pub(crate) struct Disclose {
    #[command(flatten)]
    journal: JournalArg,
    /// What `token list` calls it
    #[arg(required_unless_present = "project")]
    account: Option<Account>,
    /// About this project; with an account, what both are about
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// The file of tokens, which holds something about an account too
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_TOKENS")]
    tokens: Option<PathBuf>,
}

/// One category.
struct Answer {
    category: &'static str,
    /// Nothing: it is not held.
    held: Option<Vec<String>>,
    about: &'static str,
}

impl Disclose {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let filter =
            Filter { account: self.account.clone(), project: self.project.clone(), ..Filter::default() };
        let found = self.journal.open()?.read(&filter)?;
        if found.unreadable > 0 {
            context.out.note(format_args!("{} line(s) are no events of this release", found.unreadable));
        }
        let mut answers = answers(&found.events);
        answers.push(self.token()?);
        answers.push(Answer {
            category: "published files",
            held: Some(vec!["public: in the repository, with what their authors wrote into them".to_owned()]),
            about: "anyone can fetch them; their metadata may have names and e-mail addresses",
        });
        let value = answers.iter().map(|answer| {
            serde_json::json!({ "category": answer.category, "held": answer.held, "about": answer.about })
        });
        context.out.result(&value.collect::<Vec<_>>(), || {
            for Answer { category, held, about } in &answers {
                let count = match held.as_deref() {
                    None => "not held".to_owned(),
                    Some([]) => "none".to_owned(),
                    Some(lines) => format!("{} line(s)", lines.len()),
                };
                context.out.line(format_args!("{}: {count} ({about})", styled(STRONG, category)));
                held.iter().flatten().for_each(|line| context.out.line(format_args!("  {line}")));
            }
        })
    }

    fn token(&self) -> anyhow::Result<Answer> {
        let (category, about) = ("tokens file", "which token it is; the secret is kept as a hash");
        let (Some(account), Some(file)) = (&self.account, &self.tokens) else {
            return Ok(Answer {
                category,
                held: None,
                about: "not looked at: give an account and --tokens FILE",
            });
        };
        let grants = Tokens::at(file).all()?;
        let of = grants.iter().filter(|grant| grant.id == account.to_string());
        Ok(Answer { category, held: Some(of.map(told).collect()), about })
    }
}

fn told(grant: &Grant) -> String {
    let projects = grant.projects.as_ref().map_or_else(
        || "every project".to_owned(),
        |projects| projects.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    );
    let expires = grant.expires.map_or_else(|| "never".to_owned(), |time| time.to_rfc3339());
    format!("{}: {projects}; expires: {expires}", grant.id)
}

fn answers(events: &[Event]) -> Vec<Answer> {
    let not = |category, about| Answer { category, held: None, about };
    let lines = |kinds: &[Kind]| {
        let of = events.iter().filter(|event| kinds.contains(&event.kind()));
        Some(of.map(Event::line).collect::<Vec<_>>())
    };
    let hashes: BTreeSet<String> =
        events.iter().filter_map(|event| event.origin.address.as_ref().map(ToString::to_string)).collect();
    let places: BTreeSet<String> = events.iter().filter_map(place).collect();
    let span = events.first().zip(events.last());
    let span = span.map(|(first, last)| format!("first event {}, last event {}", first.time, last.time));
    vec![
        not("names", "an account is a token, and has no name of a person"),
        not("e-mail and postal addresses, telephone numbers", "never asked for"),
        Answer {
            category: "connection records",
            held: lines(&[Kind::Token, Kind::Refusal]),
            about: "uses of the token and refused uploads, to the minute; no other connection",
        },
        not("session times and length", "there are no sessions"),
        Answer {
            category: "length of service",
            held: Some(span.into_iter().collect()),
            about: "from what is left of the journal; when the account began is kept only as long as uses of tokens",
        },
        Answer {
            category: "network addresses",
            held: Some(hashes.into_iter().collect()),
            about: "no address; keyed hashes, for a while: who has the key too can try whether an address made one",
        },
        Answer {
            category: "countries and cities",
            held: Some(places.into_iter().collect()),
            about: "as a trusted proxy told them, for a while",
        },
        not("means of payment", "nothing is paid"),
        Answer { category: "uploads", held: lines(&[Kind::Upload]), about: "files that were taken" },
        Answer { category: "claims", held: lines(&[Kind::Claim]), about: "what maintainers signed" },
        not("download records", "sums alone, of five requests at least, which name no account"),
    ]
}

fn place(event: &Event) -> Option<String> {
    let country = event.origin.country.as_ref().map(ToString::to_string);
    let city = event.origin.city.as_ref().map(ToString::to_string);
    let both: Vec<String> = country.into_iter().chain(city).collect();
    (!both.is_empty()).then(|| both.join(", "))
}
