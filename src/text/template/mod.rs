//! Chat templates: how a model writes a conversation, in the template language Jinja, rendered as `transformers`'
//! `apply_chat_template` does.

mod date;
mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

pub use date::Date;
pub use python::is_space;

/// Steps, and units of 64 bytes, that a template may take apart from what its conversation asks for: far more than any
/// published one needs, and less than a second.
const FUEL: u64 = 1_000_000;
/// More for each message: a template may look through all of them for each.
const FUEL_PER_MESSAGE: u64 = 5_000;
/// More for each byte of the messages: copies of them.
const FUEL_PER_BYTE: u64 = 4;

/// Longer templates are refused: published ones have some kilobytes.
const LONGEST: usize = 1 << 20;

const NAME: &str = "chat template";

/// A chat template, ready to be rendered.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    environment: Environment<'static>,
}

/// What a template is rendered with besides the messages.
#[derive(Clone, Debug, Default)]
pub struct Frame<'a> {
    /// Whether the text ends where the assistant speaks.
    pub add_generation_prompt: bool,
    /// `bos_token`, `eos_token` and others, and their spellings.
    pub tokens: Vec<(&'a str, &'a str)>,
    /// Today, for `strftime_now`.
    pub date: Option<Date>,
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > LONGEST {
            return Err(format!("it has {} bytes, and more than {LONGEST} are not read", source.len()));
        }
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(|error| told(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(python::write);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", python::tojson);
        environment.add_filter("trim", python::trim);
        environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, what))
        });
        let compiled = without_generation(source);
        environment.add_template_owned(NAME, compiled).map_err(|error| told(&error))?;
        Ok(Self { source: source.to_owned(), environment })
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation. `messages` are objects with a `role` and a `content`.
    ///
    /// # Errors
    /// What the template raises, and when it takes steps without end.
    pub fn render(&self, messages: &[impl Serialize], frame: &Frame<'_>) -> Result<String, String> {
        let messages: Vec<Value> = messages.iter().map(|message| Value::from(Serde(message))).collect();
        let content = |message: &Value| message.get_attr("content").ok();
        let bytes = messages.iter().filter_map(content).filter_map(|text| text.len()).sum::<usize>() as u64;
        let fuel = FUEL + FUEL_PER_BYTE * bytes + FUEL_PER_MESSAGE * messages.len() as u64;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let date = frame.date.unwrap_or_else(Date::now);
        environment.add_function("strftime_now", move |format: &str| {
            date.written(format).map_err(|what| Error::new(ErrorKind::InvalidOperation, what))
        });
        let tokens = Value::from_pairs(frame.tokens.iter().map(|(name, token)| (*name, Value::from(*token))));
        let template = environment.get_template(NAME).map_err(|error| told(&error))?;
        let own = context! { messages, add_generation_prompt => frame.add_generation_prompt };
        template.render(context! { ..own, ..tokens }).map_err(|error| told(&error))
    }
}

/// The error with its line.
fn told(error: &Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes more steps than any conversation needs{line}"),
        ErrorKind::InvalidOperation => {
            format!("{}{line}{cause}", error.detail().unwrap_or("it cannot be rendered"))
        }
        kind => format!(
            "{kind}{}{line}{cause}",
            error.detail().map(|what| format!(": {what}")).unwrap_or_default()
        ),
    }
}

/// The template without its marks of what the assistant says: `{% generation %}` changes no text.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at + 2..].find("%}") else { break };
        let end = at + length + 4;
        let tag = &rest[at..end];
        let inner = tag[2..length + 2].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        text += &rest[..at];
        text += &match inner {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        rest = &rest[end..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its keys stay in this order.
    #[derive(Serialize)]
    struct Said {
        role: &'static str,
        content: &'static str,
    }

    fn rendered(source: &str) -> Result<String, String> {
        let messages =
            [Said { role: "user", content: " Hi \u{1f} " }, Said { role: "assistant", content: "Ho" }];
        let frame =
            Frame { tokens: vec![("bos_token", "<s>")], date: Date::of(2024, 7, 26), ..Frame::default() };
        Template::new(source)?.render(&messages, &frame)
    }

    /// What Jinja2 3.1 makes of them with `transformers`' settings.
    #[test]
    fn the_language_is_that_of_transformers() {
        for (source, wanted) in [
            ("{{ bos_token }}{{ eos_token }}|", "<s>|"),
            (
                "{% for m in messages %}\n  {% if loop.first %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n",
                "user\n",
            ),
            ("{{ messages[0]['content'] | trim }}|{{ messages[0].content.strip() }}|", "Hi|Hi|"),
            (
                "{% set ns = namespace(a=1) %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}",
                "3",
            ),
            (
                "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                "user",
            ),
            ("{{ messages[::-1][0].role }}", "assistant"),
            ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
            ("{{ none }} {{ true }} {{ 1.0 }}", "None True 1.0"),
            ("{{ messages[1] | tojson }}", r#"{"role": "assistant", "content": "Ho"}"#),
            ("{{ {'a': '<é>', 'b': []} | tojson(indent=2) }}", "{\n  \"a\": \"<é>\",\n  \"b\": []\n}"),
            ("{% generation %}a{% endgeneration %}b{%- generation -%} c {%- endgeneration %}", "abc"),
            ("{{ 'a' if add_generation_prompt else 'b' }}", "b"),
            ("{% if tools is defined and tools %}t{% else %}n{% endif %}", "n"),
        ] {
            assert_eq!(rendered(source).as_deref(), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_goes_on_without_end() {
        for open in ["{%}", "{%} %}", "a{%", "{%-%}"] {
            assert!(Template::new(open).is_err(), "{open}");
        }
        let deep = format!("{}1{}", "{{ (".to_owned() + &"(".repeat(100_000), ")".repeat(100_001));
        let endless = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
        let huge = "{% set ns = namespace(a='aaaaaaaa') %}{% for i in range(100) %}{% set ns.a = ns.a + ns.a %}{% endfor %}";
        let many = "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}";
        for (source, wanted) in [
            ("{{ raise_exception('roles must take turns') }}", "roles must take turns"),
            ("{% if %}", "line 1"),
            ("{{ nothing.at.all }}", "undefined"),
            ("{% frobnicate %}", "frobnicate"),
            (deep.as_str(), ""),
            (endless, ""),
            (huge, ""),
            (many, "more steps"),
            ("{{ strftime_now('%Q') }}", "%Q"),
        ] {
            let error = rendered(source).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
