//! JSON against a JSON Schema (2020-12), as far as the schemas of `host/schemas` go: a keyword that is not known here is an error, so nothing is skipped in
//! silence.

use serde_json::{Map, Value};

/// Keywords that say nothing about a value.
const WORDS: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

/// What is wrong with a value, a line each: where, and what was expected.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check { root: schema, faults: Vec::new() };
    check.value(schema, value, "");
    check.faults
}

struct Check<'s> {
    root: &'s Value,
    faults: Vec<String>,
}

impl<'s> Check<'s> {
    fn fits(&self, schema: &'s Value, value: &Value) -> bool {
        let mut inner = Check { root: self.root, faults: Vec::new() };
        inner.value(schema, value, "");
        inner.faults.is_empty()
    }

    fn fault(&mut self, at: &str, what: String) {
        self.faults.push(format!("{}: {what}", if at.is_empty() { "/" } else { at }));
    }

    fn value(&mut self, schema: &'s Value, value: &Value, at: &str) {
        let rules = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return self.fault(at, "nothing may stand here".into()),
            other => other.as_object().expect("a schema is an object"),
        };
        for (keyword, rule) in rules {
            self.keyword(rules, keyword, rule, value, at);
        }
    }

    fn keyword(&mut self, rules: &'s Map<String, Value>, keyword: &str, rule: &'s Value, value: &Value, at: &str) {
        let bound = || rule.as_f64().expect("a bound is a number");
        let beyond = |is_beyond: fn(f64, f64) -> bool| value.as_f64().is_some_and(|value| is_beyond(value, bound()));
        let count = |count: Option<usize>| count.map(|count| count as f64);
        let length = count(value.as_str().map(|text| text.chars().count()));
        let items = count(value.as_array().map(Vec::len));
        let wrong = match keyword {
            "type" => {
                let one = std::slice::from_ref(rule);
                let kinds = rule.as_array().map_or(one, Vec::as_slice);
                !kinds.iter().any(|kind| is_a(value, kind.as_str().expect("a type is a name")))
            }
            "const" => value != rule,
            "enum" => !rule.as_array().expect("a list").contains(value),
            "minimum" => beyond(|value, bound| value < bound),
            "maximum" => beyond(|value, bound| value > bound),
            "exclusiveMinimum" => beyond(|value, bound| value <= bound),
            "minLength" => length.is_some_and(|length| length < bound()),
            "maxLength" => length.is_some_and(|length| length > bound()),
            "minItems" => items.is_some_and(|items| items < bound()),
            "maxItems" => items.is_some_and(|items| items > bound()),
            "anyOf" => !rule.as_array().expect("a list").iter().any(|schema| self.fits(schema, value)),
            _ => {
                self.inner(rules, keyword, rule, value, at);
                false
            }
        };
        if wrong {
            self.fault(at, format!("{keyword} {rule}, found {value}"));
        }
    }

    /// Keywords that look into the value, or elsewhere in the schema.
    fn inner(&mut self, rules: &'s Map<String, Value>, keyword: &str, rule: &'s Value, value: &Value, at: &str) {
        let object = value.as_object();
        match keyword {
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a place in the same schema");
                let target = self.root.pointer(path).unwrap_or_else(|| panic!("no {path} in the schema"));
                self.value(target, value, at);
            }
            "properties" => {
                for (name, schema) in rule.as_object().expect("an object") {
                    if let Some(value) = value.get(name) {
                        self.value(schema, value, &format!("{at}/{name}"));
                    }
                }
            }
            "required" => {
                for name in rule.as_array().expect("a list").iter().filter_map(Value::as_str) {
                    if object.is_some_and(|object| !object.contains_key(name)) {
                        self.fault(at, format!("{name} is missing"));
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (name, value) in object.into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        self.value(rule, value, &format!("{at}/{name}"));
                    }
                }
            }
            "propertyNames" => {
                for name in object.into_iter().flatten().map(|(name, _)| name) {
                    self.value(rule, &Value::from(name.as_str()), &format!("{at}/{name}"));
                }
            }
            "items" => {
                for (number, value) in value.as_array().into_iter().flatten().enumerate() {
                    self.value(rule, value, &format!("{at}/{number}"));
                }
            }
            "if" => {
                let then = if self.fits(rule, value) { "then" } else { "else" };
                if let Some(schema) = rules.get(then) {
                    self.value(schema, value, at);
                }
            }
            "then" | "else" => assert!(rules.contains_key("if"), "{keyword} without if"),
            other => assert!(WORDS.contains(&other), "the keyword {other} is not checked here"),
        }
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("no type {other}"),
    }
}
