//! From a template's text to its nodes, with text/template's errors.

use super::functions;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Commands, each of which gets what the one before gave as its last argument.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipe {
    /// The variables that get the value.
    pub variables: Vec<String>,
    pub declares: bool,
    pub commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub operands: Vec<Operand>,
    /// Where it stands and how it is written, for errors: `1:2` and `index .x 5`.
    pub place: String,
    pub source: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Literal(Value),
    Nil,
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Pipe, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `.a.b`, or a dot alone.
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Word(String),
    Literal(Value),
    Sign(&'static str),
    /// `).a.b`
    Close(Vec<String>),
}

/// A piece of the template: text, or an action with its tokens.
enum Piece {
    Text(String),
    Action(Action),
}

struct Action {
    tokens: Vec<(Token, usize, usize)>,
    source: String,
    line: usize,
    /// Bytes before it in its line.
    column: usize,
}

/// How deep blocks and parentheses may lie in each other: far beyond what is written, and shallow for the stack.
const MAX_DEPTH: usize = 100;

pub fn template(source: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser {
        pieces: pieces(source)?,
        next: 0,
        depth: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        None => Ok(nodes),
        Some((word, line)) => Err(format!("template: output:{line}: unexpected {{{{{word}}}}}")),
    }
}

fn failed(line: usize, why: impl std::fmt::Display) -> String {
    format!("template: output:{line}: {why}")
}

fn pieces(source: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim = false;
    loop {
        let (text, action) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(at)),
            None => (rest, None),
        };
        let begun = if trim { text.trim_start() } else { text };
        let trims_left = action.is_some_and(|at| {
            let inside = &rest[at + 2..];
            inside.starts_with('-') && inside[1..].starts_with([' ', '\t', '\n', '\r'])
        });
        let text = if trims_left { begun.trim_end() } else { begun };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        let Some(at) = action else { return Ok(pieces) };
        let start = source.len() - rest.len() + at + 2;
        let line = source[..start].matches('\n').count() + 1;
        let inside = &source[start..];
        let skipped = if trims_left { 1 } else { 0 };
        let end = end_of_action(&inside[skipped..], line)? + skipped;
        let trims_right =
            inside[..end].ends_with('-') && inside[..end - 1].ends_with([' ', '\t', '\n', '\r']);
        let content = &inside[skipped..end - usize::from(trims_right)];
        let column = start - source[..start].rfind('\n').map_or(0, |at| at + 1);
        let is_comment = content.trim_start().starts_with("/*");
        if !is_comment {
            pieces.push(Piece::Action(Action {
                tokens: tokens(content, line)?,
                source: content.into(),
                line,
                column: column + skipped,
            }));
        }
        rest = &inside[end + 2..];
        trim = trims_right;
    }
}

/// Where the `}}` is that no quoted text and no comment hides.
fn end_of_action(inside: &str, line: usize) -> Result<usize, String> {
    let unclosed = || failed(line, "unclosed action");
    if inside.trim_start().starts_with("/*") {
        let comment = inside
            .find("*/")
            .ok_or_else(|| failed(line, "unclosed comment"))?;
        return inside[comment..]
            .find("}}")
            .map(|at| comment + at)
            .ok_or_else(unclosed);
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in inside.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '`') => quote = Some(character),
            None if inside[at..].starts_with("}}") => return Ok(at),
            None => {}
        }
    }
    match quote {
        Some('"') => Err(failed(line, "unterminated quoted string")),
        Some(_) => Err(failed(line, "unterminated raw quoted string")),
        None => Err(unclosed()),
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The tokens of an action, with where each begins and ends.
fn tokens(content: &str, line: usize) -> Result<Vec<(Token, usize, usize)>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let word_at = |at: usize| {
        let rest = &content[at..];
        rest.find(|c| !is_word(c)).map_or(rest, |end| &rest[..end])
    };
    // The names in `.a.b`, and where they end.
    let fields_at = |mut at: usize| {
        let mut fields = Vec::new();
        while content[at..].starts_with('.') && !word_at(at + 1).is_empty() {
            let word = word_at(at + 1);
            fields.push(word.to_string());
            at += 1 + word.len();
        }
        (fields, at)
    };
    while let Some(character) = content[at..].chars().next() {
        let start = at;
        let next = content[at + character.len_utf8()..].chars().next();
        let token = match character {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            '.' if !next.is_some_and(|c| c.is_ascii_digit()) => {
                let (fields, end) = fields_at(at);
                at = end.max(at + 1);
                Token::Dot(fields)
            }
            '$' => {
                let name = word_at(at + 1);
                let (fields, end) = fields_at(at + 1 + name.len());
                at = end;
                Token::Variable(format!("${name}"), fields)
            }
            '"' | '`' => {
                let (text, length) = quoted(&content[at..], character, line)?;
                at += length;
                Token::Literal(text.into())
            }
            ')' => {
                let (fields, end) = fields_at(at + 1);
                at = end;
                Token::Close(fields)
            }
            '(' | '|' | ',' | '=' => {
                at += 1;
                Token::Sign(match character {
                    '(' => "(",
                    '|' => "|",
                    ',' => ",",
                    _ => "=",
                })
            }
            ':' if next == Some('=') => {
                at += 2;
                Token::Sign(":=")
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let rest = &content[at + 1..];
                let length = 1 + rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len());
                let text = &content[at..at + length];
                at += length;
                Token::Literal(
                    number(text).ok_or_else(|| failed(line, format_args!("bad number syntax: {text:?}")))?,
                )
            }
            c if is_word(c) => {
                let word = word_at(at);
                at += word.len();
                match word {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    _ => Token::Word(word.into()),
                }
            }
            other => {
                let code = u32::from(other);
                return Err(failed(
                    line,
                    format_args!("unexpected U+{code:04X} '{other}' in command"),
                ));
            }
        };
        tokens.push((token, start, at));
    }
    Ok(tokens)
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    match digits.parse::<i64>() {
        Ok(integer) => Some(integer.into()),
        Err(_) => digits.parse::<f64>().ok().map(Value::from),
    }
}

/// A text in quotes, and how long it is with them.
fn quoted(rest: &str, quote: char, line: usize) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            end if end == quote => return Ok((text, at + 1)),
            '\\' if quote == '"' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(same @ ('\\' | '"' | '\'')) => text.push(same),
                _ => return Err(failed(line, "invalid syntax")),
            },
            other => text.push(other),
        }
    }
    Err(failed(line, "unterminated quoted string"))
}

struct Parser {
    pieces: Vec<Piece>,
    next: usize,
    depth: usize,
}

/// The word that ended a block, and in which line.
type Ended = Option<(String, usize)>;

impl Parser {
    /// Nodes up to an `else` or an `end` that belongs to what is around them.
    fn nodes(&mut self) -> Result<(Vec<Node>, Ended), String> {
        self.depth += 1;
        let mut nodes = Vec::new();
        while self.next < self.pieces.len() {
            let index = self.next;
            self.next += 1;
            let (word, line) = match &self.pieces[index] {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(action) => match action.tokens.first() {
                    None => return Err(failed(action.line, "missing value for command")),
                    Some((Token::Word(word), ..)) => (word.clone(), action.line),
                    Some(_) => (String::new(), action.line),
                },
            };
            if self.depth > MAX_DEPTH {
                return Err(failed(line, "blocks are nested too deeply"));
            }
            match word.as_str() {
                "if" => nodes.push(Node::If(self.branch(index, "if")?)),
                "with" => nodes.push(Node::With(self.branch(index, "with")?)),
                "range" => nodes.push(Node::Range(self.branch(index, "range")?)),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "end" | "else" => {
                    // What follows an else is read by whoever began the block.
                    self.depth -= 1;
                    return Ok((nodes, Some((word, line))));
                }
                "define" | "template" | "block" => {
                    return Err(failed(line, format_args!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(Node::Action(self.pipe(index, 0)?)),
            }
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn pipe(&self, index: usize, from: usize) -> Result<Pipe, String> {
        match &self.pieces[index] {
            Piece::Action(action) => action.pipe(from),
            Piece::Text(_) => Ok(Pipe::default()),
        }
    }

    fn branch(&mut self, index: usize, word: &str) -> Result<Branch, String> {
        let pipe = self.pipe(index, 1)?;
        if pipe.commands.is_empty() {
            return Err(failed(self.line(index), format_args!("missing value for {word}")));
        }
        let (then, ended) = self.nodes()?;
        let mut otherwise = Vec::new();
        match ended {
            None => return Err(failed(self.line(index), "unexpected EOF")),
            Some((end, _)) if end == "end" => {}
            Some(_) => {
                let at = self.next - 1;
                match self.second_word(at) {
                    // `{{else if}}` is an if of its own, which takes the end.
                    Some(again) if again == word && word != "range" => {
                        let inner = self.else_branch(at, word)?;
                        otherwise.push(if word == "if" {
                            Node::If(inner)
                        } else {
                            Node::With(inner)
                        });
                    }
                    _ => match self.nodes()? {
                        (nodes, Some((end, _))) if end == "end" => otherwise = nodes,
                        (_, Some((word, line))) => {
                            return Err(failed(line, format_args!("unexpected {{{{{word}}}}}")));
                        }
                        (_, None) => return Err(failed(self.line(index), "unexpected EOF")),
                    },
                }
            }
        }
        Ok(Branch {
            pipe,
            then,
            otherwise,
        })
    }

    /// As a branch whose word stands after `else`.
    fn else_branch(&mut self, index: usize, word: &str) -> Result<Branch, String> {
        if let Piece::Action(action) = &mut self.pieces[index] {
            action.tokens.remove(0);
        }
        self.branch(index, word)
    }

    fn second_word(&self, index: usize) -> Option<String> {
        match &self.pieces[index] {
            Piece::Action(action) => match action.tokens.get(1) {
                Some((Token::Word(word), ..)) => Some(word.clone()),
                _ => None,
            },
            Piece::Text(_) => None,
        }
    }

    fn line(&self, index: usize) -> usize {
        match &self.pieces[index] {
            Piece::Action(action) => action.line,
            Piece::Text(_) => 1,
        }
    }
}

impl Action {
    fn pipe(&self, from: usize) -> Result<Pipe, String> {
        let mut at = from;
        let mut pipe = Pipe::default();
        // `$a :=`, `$a, $b :=` and `$a =`.
        let sign = self
            .tokens
            .iter()
            .skip(from)
            .take(4)
            .position(|(token, ..)| matches!(token, Token::Sign(":=" | "=")));
        if let Some(sign) = sign {
            for (token, ..) in &self.tokens[from..from + sign] {
                match token {
                    Token::Variable(name, fields) if fields.is_empty() => pipe.variables.push(name.clone()),
                    Token::Sign(",") => {}
                    _ => return Err(failed(self.line, "unexpected assignment")),
                }
            }
            pipe.declares = self.tokens[from + sign].0 == Token::Sign(":=");
            at = from + sign + 1;
        }
        let (commands, end, _) = self.commands(at, 0)?;
        pipe.commands = commands;
        match end == self.tokens.len() {
            true => Ok(pipe),
            false => Err(failed(self.line, "unexpected right paren")),
        }
    }

    /// Commands up to the end or a closing parenthesis, where that is, and the fields that follow it.
    fn commands(&self, mut at: usize, depth: usize) -> Result<(Vec<Command>, usize, Vec<String>), String> {
        if depth > MAX_DEPTH {
            return Err(failed(self.line, "parentheses are nested too deeply"));
        }
        let mut commands = Vec::new();
        let mut operands = Vec::new();
        let mut begun: Option<usize> = None;
        let mut after = Vec::new();
        loop {
            let token = self.tokens.get(at);
            let ends = matches!(token, None | Some((Token::Sign("|") | Token::Close(_), ..)));
            if !ends {
                begun.get_or_insert(at);
            }
            match token {
                Some((Token::Sign("("), ..)) => {
                    let (inner, end, fields) = self.commands(at + 1, depth + 1)?;
                    if end >= self.tokens.len() {
                        return Err(failed(self.line, "unclosed left paren"));
                    }
                    let pipe = Pipe {
                        commands: inner,
                        ..Pipe::default()
                    };
                    operands.push(Operand::Pipe(pipe, fields));
                    at = end + 1;
                    continue;
                }
                Some((Token::Sign(sign), ..)) if !ends => {
                    return Err(failed(self.line, format_args!("unexpected {sign:?} in operand")));
                }
                Some((token, ..)) if !ends => {
                    operands.push(self.operand(token)?);
                    at += 1;
                    continue;
                }
                _ => {}
            }
            if let Some(first) = begun.take() {
                let (start, end) = (self.tokens[first].1, self.tokens[at - 1].2);
                commands.push(Command {
                    operands: std::mem::take(&mut operands),
                    place: format!("{}:{}", self.line, self.column + start),
                    source: self.source[start..end].into(),
                });
            } else if !commands.is_empty() || token.is_some() {
                return Err(failed(self.line, "missing value for command"));
            }
            match token {
                Some((Token::Sign(_), ..)) => at += 1,
                Some((Token::Close(fields), ..)) if depth > 0 => {
                    after.clone_from(fields);
                    return Ok((commands, at, after));
                }
                _ => return Ok((commands, at, after)),
            }
        }
    }

    fn operand(&self, token: &Token) -> Result<Operand, String> {
        match token {
            Token::Dot(fields) => Ok(Operand::Dot(fields.clone())),
            Token::Variable(name, fields) => Ok(Operand::Variable(name.clone(), fields.clone())),
            Token::Literal(value) => Ok(Operand::Literal(value.clone())),
            Token::Word(word) if word == "nil" => Ok(Operand::Nil),
            Token::Word(word) if functions::is_one(word) => Ok(Operand::Function(word.clone())),
            Token::Word(word) => Err(failed(self.line, format_args!("function \"{word}\" not defined"))),
            Token::Sign(_) | Token::Close(_) => Err(failed(self.line, "unexpected operand")),
        }
    }
}
