//! What could be typed next. The shell's script (`completion/`) hands over the words that are typed so far, of which
//! the last is the one to complete; the commands' own description tells where it stands, and so what it may be.

use crate::present::FORMATS;
use crate::resource;
use clap::{Arg, Command};
use gantry_proto::kinds::KINDS;
use gantry_proto::{KindInfo, schema};

/// What a word may be.
#[derive(Clone, Debug, Default)]
pub enum Wanted {
    /// Whatever a file is called.
    Files,
    #[default]
    Nothing,
    /// One of these, each with what is said about it.
    OneOf(Vec<Candidate>),
    /// Names of objects, as the server has them.
    Names {
        kind: &'static KindInfo,
        /// What stands before each name, such as `pod/`.
        prefix: String,
    },
    /// Names of a pod's containers.
    Containers { pod: String },
}

pub type Candidate = (String, String);

/// What is to be completed, and what the words before say about the cluster.
#[derive(Debug, Default)]
pub struct Request {
    pub wanted: Wanted,
    /// What is typed of the word so far.
    pub typed: String,
    /// What is typed of the word before that part, such as `--output=`.
    pub before: String,
    /// Names that stand there already.
    pub given: Vec<String>,
    pub namespace: Option<String>,
    pub kubeconfig: Option<String>,
}

/// What follows a command's name.
#[derive(Clone, Copy)]
enum Operands {
    /// TYPE NAME..., TYPE/NAME..., TYPE,TYPE.
    Objects,
    /// NAME... or TYPE/NAME, of pods first.
    Pods,
    /// NODE...
    Nodes,
    /// TYPE.FIELD.FIELD
    Fields,
    Files,
}

/// Commands that are about objects, by their names.
const OPERANDS: &[(&str, Operands)] = &[
    ("get", Operands::Objects),
    ("describe", Operands::Objects),
    ("delete", Operands::Objects),
    ("patch", Operands::Objects),
    ("edit", Operands::Objects),
    ("wait", Operands::Objects),
    ("label", Operands::Objects),
    ("annotate", Operands::Objects),
    ("taint", Operands::Objects),
    ("scale", Operands::Objects),
    ("trace", Operands::Objects),
    ("why", Operands::Objects),
    ("rollout status", Operands::Objects),
    ("rollout history", Operands::Objects),
    ("rollout undo", Operands::Objects),
    ("rollout restart", Operands::Objects),
    ("rollout pause", Operands::Objects),
    ("rollout resume", Operands::Objects),
    ("set image", Operands::Objects),
    ("logs", Operands::Pods),
    ("cordon", Operands::Nodes),
    ("uncordon", Operands::Nodes),
    ("drain", Operands::Nodes),
    ("explain", Operands::Fields),
    ("image import", Operands::Files),
];

/// Where the words lead to.
struct Line<'a> {
    command: &'a Command,
    /// The commands' names, such as `rollout status`.
    path: Vec<&'a str>,
    operands: Vec<&'a str>,
    /// The option whose value comes next.
    open: Option<&'a Arg>,
    only_operands: bool,
    namespace: Option<String>,
    kubeconfig: Option<String>,
}

/// Finds out what the last of the words may be. `program` is the description of all commands, built.
pub fn request(program: &Command, words: &[String]) -> Request {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let mut line = Line {
        command: program,
        path: Vec::new(),
        operands: Vec::new(),
        open: None,
        only_operands: false,
        namespace: None,
        kubeconfig: None,
    };
    before.iter().for_each(|word| line.take(word));
    let (wanted, prefix) = line.wanted(last);
    Request {
        wanted,
        typed: last[prefix.len()..].into(),
        before: prefix,
        given: line.operands.iter().map(ToString::to_string).collect(),
        namespace: line.namespace,
        kubeconfig: line.kubeconfig,
    }
}

impl<'a> Line<'a> {
    fn take(&mut self, word: &'a str) {
        if let Some(option) = self.open.take() {
            self.note(option, word);
            return;
        }
        if self.only_operands || word == "-" || !word.starts_with('-') {
            let subcommand = match self.operands.is_empty() && !self.only_operands {
                true => self.command.find_subcommand(word),
                false => None,
            };
            match subcommand {
                Some(subcommand) => {
                    self.path.push(subcommand.get_name());
                    self.command = subcommand;
                }
                None => self.operands.push(word),
            }
            return;
        }
        if word == "--" {
            self.only_operands = true;
            return;
        }
        match word.split_once('=') {
            Some((name, value)) => {
                if let Some(option) = self.option(name) {
                    self.note(option, value);
                }
            }
            None => match self.option(word) {
                Some(option) if takes_next_word(option) => self.open = Some(option),
                Some(_) => {}
                // A short option with its value, such as -nkube-system.
                None => {
                    let split = word.char_indices().nth(2).map_or(word.len(), |(at, _)| at);
                    if let Some(option) = self.option(&word[..split]) {
                        self.note(option, &word[split..]);
                    }
                }
            },
        }
    }

    fn note(&mut self, option: &Arg, value: &str) {
        match option.get_id().as_str() {
            "namespace" => self.namespace = Some(value.into()),
            "kubeconfig" => self.kubeconfig = Some(value.into()),
            _ => {}
        }
    }

    fn option(&self, name: &str) -> Option<&'a Arg> {
        let long = name.strip_prefix("--");
        let short = name.strip_prefix('-').filter(|rest| rest.chars().count() == 1);
        self.command.get_arguments().find(|argument| match long {
            Some(long) => argument.get_long() == Some(long),
            None => short.is_some_and(|short| argument.get_short() == short.chars().next()),
        })
    }

    /// What the last word may be, and which part of it stands already.
    fn wanted(&self, last: &str) -> (Wanted, String) {
        if let Some(option) = self.open {
            return self.value(option, last);
        }
        if last.starts_with('-') && !self.only_operands {
            return match last.split_once('=') {
                None => (Wanted::OneOf(self.options()), String::new()),
                Some((name, value)) => {
                    let Some(option) = self.option(name) else {
                        return (Wanted::Nothing, String::new());
                    };
                    let (wanted, before) = self.value(option, value);
                    (wanted, format!("{name}={before}"))
                }
            };
        }
        if self.operands.is_empty() && self.command.has_subcommands() && !self.only_operands {
            let visible = self
                .command
                .get_subcommands()
                .filter(|command| !command.is_hide_set());
            let commands =
                visible.map(|command| (command.get_name().to_string(), first_line(command.get_about())));
            return (Wanted::OneOf(commands.collect()), String::new());
        }
        let path = self.path.join(" ");
        match OPERANDS.iter().find(|(name, _)| *name == path) {
            Some((_, operands)) => self.operand(*operands, last),
            None => (self.described_operand(), String::new()),
        }
    }

    /// Where the commands' description says which values there are.
    fn described_operand(&self) -> Wanted {
        let argument = self.command.get_positionals().nth(self.operands.len());
        argument.map_or(Wanted::Nothing, possible_values)
    }

    fn options(&self) -> Vec<Candidate> {
        let visible = self
            .command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        let long = |argument: &Arg| {
            Some((
                format!("--{}", argument.get_long()?),
                first_line(argument.get_help()),
            ))
        };
        visible.filter_map(long).collect()
    }

    fn value(&self, option: &Arg, typed: &str) -> (Wanted, String) {
        let words = |words: &[&str]| {
            let all = words.iter().map(|word| (word.to_string(), String::new()));
            Wanted::OneOf(all.collect())
        };
        let plain = |wanted| (wanted, String::new());
        match (option.get_id().as_str(), self.path.last().copied()) {
            ("namespace", _) => plain(names("namespaces", "")),
            ("node", _) => plain(names("nodes", "")),
            ("container", _) => plain(match self.operands.first() {
                Some(pod) => Wanted::Containers {
                    pod: pod.rsplit('/').next().unwrap_or_default().into(),
                },
                None => Wanted::Nothing,
            }),
            (
                "filenames" | "kubeconfig" | "patch_file" | "cert" | "key" | "from_file" | "from_env_file",
                _,
            ) => plain(Wanted::Files),
            ("subresource", _) => plain(words(&["status", "scale"])),
            ("goals", _) => plain(words(&["condition=", "create", "delete", "jsonpath="])),
            ("target", Some("events")) => self.objects(typed, true),
            ("cascade", _) => plain(words(&["background", "foreground", "orphan"])),
            ("output", command) => {
                let described = possible_values(option);
                plain(match (described, command) {
                    (Wanted::Nothing, Some("get")) => {
                        words(&[FORMATS, &["custom-columns", "custom-columns-file", "wide"]].concat())
                    }
                    (Wanted::Nothing, _) => words(FORMATS),
                    (described, _) => described,
                })
            }
            _ => plain(possible_values(option)),
        }
    }

    fn operand(&self, operands: Operands, typed: &str) -> (Wanted, String) {
        match operands {
            Operands::Objects => self.objects(typed, false),
            Operands::Nodes => (names("nodes", ""), String::new()),
            Operands::Files => (Wanted::Files, String::new()),
            Operands::Fields => (fields(typed), String::new()),
            Operands::Pods if typed.contains('/') => self.objects(typed, true),
            Operands::Pods if self.operands.is_empty() => (names("pods", ""), String::new()),
            Operands::Pods => match self.operands.first() {
                // A second word is a container of the pod.
                Some(pod) => (Wanted::Containers { pod: (*pod).into() }, String::new()),
                None => (Wanted::Nothing, String::new()),
            },
        }
    }

    /// A type, or an object of the type that stands before.
    fn objects(&self, typed: &str, with_slash: bool) -> (Wanted, String) {
        if let Some((word, _)) = typed.split_once('/') {
            let wanted = match resource::kind(word) {
                Ok(kind) => Wanted::Names {
                    kind,
                    prefix: format!("{word}/"),
                },
                Err(_) => Wanted::Nothing,
            };
            return (wanted, String::new());
        }
        let first = self.operands.first().filter(|_| !with_slash);
        match first {
            Some(word) if word.contains('/') => (Wanted::OneOf(types()), String::new()),
            // Of several types nobody knows which names fit.
            Some(word) => (
                resource::kind(word).map_or(Wanted::Nothing, |kind| Wanted::Names {
                    kind,
                    prefix: String::new(),
                }),
                String::new(),
            ),
            None => {
                let before = typed.rfind(',').map_or("", |at| &typed[..=at]);
                (Wanted::OneOf(types()), before.into())
            }
        }
    }
}

fn names(resource: &str, prefix: &str) -> Wanted {
    match KindInfo::of_resource(resource) {
        Some(kind) => Wanted::Names {
            kind,
            prefix: prefix.into(),
        },
        None => Wanted::Nothing,
    }
}

fn types() -> Vec<Candidate> {
    let stored = KINDS.iter().filter(|kind| kind.stored);
    stored
        .map(|kind| (kind.resource.to_string(), schema::about(kind.message).to_string()))
        .collect()
}

/// Types, and after a dot the fields of what stands before it.
fn fields(typed: &str) -> Wanted {
    let Some((before, _)) = typed.rsplit_once('.') else {
        return Wanted::OneOf(types());
    };
    let mut words = before.split('.');
    let Ok(kind) = resource::kind(words.next().unwrap_or_default()) else {
        return Wanted::Nothing;
    };
    let mut message = Some(kind.message.to_string());
    for word in words {
        let all = message.as_deref().map(schema::fields).unwrap_or_default();
        message = all
            .into_iter()
            .find(|field| field.name == word)
            .and_then(|field| field.message);
    }
    let all = message.as_deref().map(schema::fields).unwrap_or_default();
    let candidate =
        |field: schema::FieldInfo| (format!("{before}.{}", field.name), field.comment.to_string());
    Wanted::OneOf(all.into_iter().map(candidate).collect())
}

fn possible_values(argument: &Arg) -> Wanted {
    if !argument.get_action().takes_values() {
        return Wanted::Nothing;
    }
    let visible = argument
        .get_possible_values()
        .into_iter()
        .filter(|value| !value.is_hide_set());
    let values: Vec<Candidate> = visible
        .map(|value| (value.get_name().to_string(), first_line(value.get_help())))
        .collect();
    match values.is_empty() {
        true => Wanted::Nothing,
        false => Wanted::OneOf(values),
    }
}

fn takes_next_word(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
