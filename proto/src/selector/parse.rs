//! The grammar of label selectors:
//!
//! ```text
//! selector    = requirement { "," requirement }
//! requirement = [ "!" ] KEY | KEY ( "=" | "==" | "!=" | ">" | "<" ) [ VALUE ]
//!             | KEY ( "in" | "notin" ) "(" [ VALUE ] { "," [ VALUE ] } ")"
//! ```
//!
//! What it refuses, and with which words, is what Kubernetes' own parser does.

use super::{Operator, ParseError, Requirement, label, some};
use std::collections::BTreeSet;

pub fn selector(text: &str) -> Result<Vec<Requirement>, ParseError> {
    let mut parser = Parser {
        tokens: tokens(text),
        position: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token {
                kind: TokenKind::Identifier | TokenKind::Not,
                ..
            } => {
                let requirement = parser
                    .requirement()
                    .map_err(|error| ParseError(format!("unable to parse requirement: {error}")))?;
                requirements.push(requirement);
            }
            Token {
                kind: TokenKind::End, ..
            } => return Ok(requirements),
            token => return token.unexpected(", expected: !, identifier, or 'end of string'"),
        }
        match parser.next() {
            Token {
                kind: TokenKind::End, ..
            } => return Ok(requirements),
            Token {
                kind: TokenKind::Comma,
                ..
            } => {
                let next = parser.peek();
                if !matches!(next.kind, TokenKind::Identifier | TokenKind::Not) {
                    return next.unexpected(", expected: identifier after ','");
                }
            }
            token => return token.unexpected(", expected: ',' or 'end of string'"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    End,
    Open,
    Close,
    Comma,
    Not,
    Operator(Operator),
    Identifier,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: TokenKind,
    text: &'a str,
}

impl Token<'_> {
    fn unexpected<T>(self, expected: &str) -> Result<T, ParseError> {
        Err(ParseError(format!("found '{}'{expected}", self.text)))
    }
}

const BINARY_OPERATORS: &str = ", expected: in, notin, =, ==, !=, gt, lt";

fn tokens(text: &str) -> Vec<Token<'_>> {
    let special = |c: char| "=!(),><".contains(c);
    let space = |c: char| " \t\r\n".contains(c);
    let mut tokens = Vec::new();
    // Kubernetes' lexer takes a zero byte for the end.
    let mut rest = text
        .split('\0')
        .next()
        .unwrap_or_default()
        .trim_start_matches(space);
    while let Some(first) = rest.chars().next() {
        let length = if ["==", "!="].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else if special(first) {
            1
        } else {
            rest.find(|c| special(c) || space(c)).unwrap_or(rest.len())
        };
        let (text, after) = rest.split_at(length);
        tokens.push(Token {
            kind: kind_of(text),
            text,
        });
        rest = after.trim_start_matches(space);
    }
    tokens
}

fn kind_of(text: &str) -> TokenKind {
    match text {
        "(" => TokenKind::Open,
        ")" => TokenKind::Close,
        "," => TokenKind::Comma,
        "!" => TokenKind::Not,
        "==" => TokenKind::Operator(Operator::DoubleEquals),
        "=" => TokenKind::Operator(Operator::Equals),
        "!=" => TokenKind::Operator(Operator::NotEquals),
        ">" => TokenKind::Operator(Operator::GreaterThan),
        "<" => TokenKind::Operator(Operator::LessThan),
        "in" => TokenKind::Operator(Operator::In),
        "notin" => TokenKind::Operator(Operator::NotIn),
        _ => TokenKind::Identifier,
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

impl<'a> Parser<'a> {
    /// The token as it reads where no operator can stand: there, `in` and `notin` are identifiers.
    fn peek(&self) -> Token<'a> {
        let token = self.peek_operator();
        match token.kind {
            TokenKind::Operator(Operator::In | Operator::NotIn) => Token {
                kind: TokenKind::Identifier,
                ..token
            },
            _ => token,
        }
    }

    fn peek_operator(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Token {
            kind: TokenKind::End,
            text: "",
        })
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let negated = self.peek().kind == TokenKind::Not;
        if negated {
            self.position += 1;
        }
        let key = match self.next() {
            Token {
                kind: TokenKind::Identifier,
                text,
            } => text,
            token => return token.unexpected(", expected: identifier"),
        };
        if let Some(complaints) = some(label::key_complaints(key)) {
            return Err(ParseError(format!("<nil>: Invalid value: {key:?}: {complaints}")));
        }
        if negated {
            return Requirement::new(key.to_string(), Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().kind, TokenKind::End | TokenKind::Comma) {
            return Requirement::new(key.to_string(), Operator::Exists, Vec::new());
        }
        let operator = match self.peek_operator() {
            Token {
                kind: TokenKind::Operator(operator),
                ..
            } => operator,
            token => return token.unexpected(BINARY_OPERATORS),
        };
        self.position += 1;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key.to_string(), operator, values)
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        if matches!(self.peek().kind, TokenKind::End | TokenKind::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            Token {
                kind: TokenKind::Identifier,
                text,
            } => Ok(text.to_string()),
            token => token.unexpected(", expected: identifier"),
        }
    }

    /// Empty values count: `(,)` and `()` hold the empty string.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        let open = self.next();
        if open.kind != TokenKind::Open {
            return open.unexpected(" expected: '('");
        }
        let mut values = BTreeSet::new();
        let first = self.peek();
        match first.kind {
            TokenKind::Close => {
                values.insert("");
            }
            TokenKind::Identifier | TokenKind::Comma => self.list(&mut values)?,
            _ => return first.unexpected(", expected: ',', ')' or identifier"),
        }
        match self.next().kind {
            TokenKind::Close => Ok(values.into_iter().map(str::to_string).collect()),
            _ => first.unexpected(", expected: ')'"),
        }
    }

    fn list(&mut self, values: &mut BTreeSet<&'a str>) -> Result<(), ParseError> {
        loop {
            match self.next() {
                Token {
                    kind: TokenKind::Identifier,
                    text,
                } => {
                    values.insert(text);
                    match self.peek() {
                        Token {
                            kind: TokenKind::Comma,
                            ..
                        } => {}
                        Token {
                            kind: TokenKind::Close,
                            ..
                        } => return Ok(()),
                        token => return token.unexpected(", expected: ',' or ')'"),
                    }
                }
                Token {
                    kind: TokenKind::Comma,
                    ..
                } => {
                    let next = self.peek().kind;
                    if values.is_empty() || matches!(next, TokenKind::Comma | TokenKind::Close) {
                        values.insert("");
                    }
                    if next == TokenKind::Close {
                        return Ok(());
                    }
                }
                token => return token.unexpected(", expected: ',', or identifier"),
            }
        }
    }
}
