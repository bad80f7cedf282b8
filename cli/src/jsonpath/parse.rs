//! From a template's text to its nodes, with client-go's errors.

/// One step of a template. A `{...}` action is a list of steps, each of which starts from what the one before found.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    List(Vec<Node>),
    Text(String),
    Field(String),
    Array(Slice),
    Filter {
        left: Vec<Node>,
        operator: String,
        right: Vec<Node>,
    },
    Integer(i64),
    Float(f64),
    Bool(bool),
    Wildcard,
    Recursive,
    Union(Vec<Vec<Node>>),
    /// `range`, `end`, or a word that is neither, which is told when it is reached.
    Word(String),
}

/// `[start:end:step]`, or `[start]`, whose end is one further.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slice {
    pub start: Option<i64>,
    pub end: End,
    pub step: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum End {
    #[default]
    Last,
    At(i64),
    /// The element after the start, where one index is given.
    AfterStart,
}

pub fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser {
        input: text.chars().collect(),
        position: 0,
    };
    parser.template()
}

/// Parses what stands inside of an action. Those of a filter or a union end at the first bracket that closes one, so
/// that they never lie in another of their own.
fn action(text: &str) -> Result<Vec<Node>, String> {
    let nodes = template(&format!("{{{text}}}"))?;
    match nodes.into_iter().next() {
        Some(Node::List(nodes)) => Ok(nodes),
        _ => Ok(Vec::new()),
    }
}

struct Parser {
    input: Vec<char>,
    position: usize,
}

impl Parser {
    fn next(&mut self) -> Option<char> {
        let character = self.peek();
        self.position += usize::from(character.is_some());
        character
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.position).copied()
    }

    fn starts_with(&self, prefix: &str) -> bool {
        let rest = &self.input[self.position..];
        prefix
            .chars()
            .enumerate()
            .all(|(index, c)| rest.get(index) == Some(&c))
    }

    fn between(&self, start: usize, end: usize) -> String {
        self.input[start..end].iter().collect()
    }

    fn template(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        let mut text = String::new();
        while let Some(character) = self.next() {
            if character != '{' {
                text.push(character);
                continue;
            }
            if !text.is_empty() {
                nodes.push(Node::Text(std::mem::take(&mut text)));
            }
            nodes.push(Node::List(self.inside()?));
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text));
        }
        Ok(nodes)
    }

    /// Up to the `}` that ends the action.
    fn inside(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        loop {
            if self.starts_with("[?(") {
                nodes.push(self.filter()?);
                continue;
            }
            if self.starts_with("..") {
                if nodes.last() == Some(&Node::Recursive) {
                    return Err("invalid multiple recursive descent".into());
                }
                self.position += 2;
                nodes.push(Node::Recursive);
                if self.peek().is_some_and(is_word) {
                    nodes.push(self.field());
                }
                continue;
            }
            match self.next() {
                Some('}') => return Ok(nodes),
                None | Some('\n' | '\r') => return Err("unclosed action".into()),
                Some(' ' | '@' | '$') => {}
                Some('[') => nodes.extend(self.array()?),
                Some(quote @ ('"' | '\'')) => nodes.push(self.quoted(quote)?),
                Some('.') => nodes.push(self.field()),
                Some(sign) if sign == '+' || sign == '-' || sign.is_numeric() => {
                    nodes.push(self.number(sign)?);
                }
                Some(first) if is_word(first) => {
                    self.position -= 1;
                    nodes.push(self.word());
                }
                Some(other) => {
                    return Err(format!(
                        "unrecognized character in action: U+{:04X} '{other}'",
                        u32::from(other)
                    ));
                }
            }
        }
    }

    fn word(&mut self) -> Node {
        let start = self.position;
        while self.peek().is_some_and(|c| !is_terminator(c)) {
            self.position += 1;
        }
        match self.between(start, self.position).as_str() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            word => Node::Word(word.into()),
        }
    }

    fn number(&mut self, sign: char) -> Result<Node, String> {
        let mut text = String::from(sign);
        while let Some(character) = self.peek().filter(|c| *c == '.' || c.is_numeric()) {
            text.push(character);
            self.position += 1;
        }
        let digits = text.strip_prefix('+').unwrap_or(&text);
        if let Ok(integer) = digits.parse() {
            return Ok(Node::Integer(integer));
        }
        match digits.parse::<f64>() {
            Ok(float) => Ok(Node::Float(float)),
            Err(_) => Err(format!("cannot parse number {text}")),
        }
    }

    /// A name up to a character that ends one; a backslash takes the next character as it is.
    fn field(&mut self) -> Node {
        let mut name = String::new();
        let mut escaped = false;
        while let Some(character) = self.peek() {
            if character == '\\' {
                self.position += 1;
                escaped = true;
                name.extend(self.next().filter(|next| *next != '\\'));
                continue;
            }
            if is_terminator(character) {
                break;
            }
            name.push(character);
            self.position += 1;
        }
        match name.as_str() {
            "*" if !escaped => Node::Wildcard,
            _ => Node::Field(name),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Node, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".into()),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('a') => text.push('\x07'),
                    Some('b') => text.push('\x08'),
                    Some('f') => text.push('\x0c'),
                    Some('v') => text.push('\x0b'),
                    Some(same @ ('\\' | '"' | '\'')) => text.push(same),
                    Some(hex @ ('x' | 'u' | 'U')) => text.push(self.escaped_code(hex)?),
                    Some(other) => {
                        return Err(format!("unquote string \\{other} error invalid syntax"));
                    }
                    None => return Err("unterminated quoted string".into()),
                },
                Some(end) if end == quote => return Ok(Node::Text(text)),
                Some(other) => text.push(other),
            }
        }
    }

    fn escaped_code(&mut self, kind: char) -> Result<char, String> {
        let length = match kind {
            'x' => 2,
            'u' => 4,
            _ => 8,
        };
        let digits: String = (0..length).map_while(|_| self.next()).collect();
        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| format!("unquote string \\{kind}{digits} error invalid syntax"))
    }

    fn array(&mut self) -> Result<Vec<Node>, String> {
        let start = self.position;
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated array".into()),
                Some(']') => break,
                Some(_) => {}
            }
        }
        let text = self.between(start, self.position - 1);
        if text.contains(',') {
            let members = text
                .split(',')
                .map(|member| action(&format!("[{}]", member.trim_matches(' '))));
            return Ok(vec![Node::Union(members.collect::<Result<_, _>>()?)]);
        }
        if let Some(key) = quoted_key(&text) {
            return action(&format!(".{key}"));
        }
        let text = if text == "*" { ":" } else { &text };
        Ok(vec![Node::Array(slice(text)?)])
    }

    fn filter(&mut self) -> Result<Node, String> {
        self.position += 3;
        let start = self.position;
        let mut quote: Option<char> = None;
        let mut quote_ended = false;
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated filter".into()),
                Some(character @ ('"' | '\'')) => match quote {
                    None => quote = Some(character),
                    Some(open) => {
                        let escaped = self.input[self.position - 2] == '\\';
                        quote_ended |= open == character && !escaped;
                    }
                },
                // The right side has at most one quoted text, and a bracket in it ends nothing.
                Some(')') if quote.is_some() == quote_ended => break,
                Some(_) => {}
            }
        }
        let text = self.between(start, self.position - 1);
        if self.next() != Some(']') {
            return Err("unclosed array expect ]".into());
        }
        let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
        let compared = text.find(is_operator).filter(|at| *at > 0).and_then(|at| {
            let rest = &text[at..];
            let length = rest.find(|c| !is_operator(c))?;
            Some((&text[..at], &rest[..length], &rest[length..]))
        });
        Ok(match compared {
            None => Node::Filter {
                left: action(&text)?,
                operator: "exists".into(),
                right: Vec::new(),
            },
            Some((left, operator, right)) => Node::Filter {
                left: action(left)?,
                operator: operator.into(),
                right: action(right)?,
            },
        })
    }
}

/// The key in `['key']`.
fn quoted_key(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?
        .strip_suffix('\'')
        .filter(|key| !key.is_empty() && !key.contains('\''))
}

/// `start`, `start:end` or `start:end:step`, each of which may be left out beside a colon.
fn slice(text: &str) -> Result<Slice, String> {
    let invalid = || format!("invalid array index {text}");
    let parts: Vec<&str> = text.split(':').collect();
    let is_number = |part: &str| {
        let digits = part.strip_prefix('-').unwrap_or(part);
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (part.is_empty() || !digits.is_empty())
    };
    if parts.len() > 3 || text.is_empty() || !parts.iter().all(|part| is_number(part)) {
        return Err(invalid());
    }
    let number = |index: usize| match parts.get(index).copied().unwrap_or_default() {
        "" => Ok(None),
        part => part
            .parse()
            .map(Some)
            .map_err(|_| format!("array index {part} is not a number")),
    };
    let end = match (parts.len(), number(1)?) {
        (1, _) => End::AfterStart,
        (_, None) => End::Last,
        (_, Some(end)) => End::At(end),
    };
    Ok(Slice {
        start: number(0)?,
        end,
        step: number(2)?,
    })
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn is_terminator(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}'
    )
}
