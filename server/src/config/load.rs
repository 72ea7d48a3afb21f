use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::{
    Config, litellm,
    litellm::{Translated, is_litellm},
    missing,
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("{path}: {error}")]
    Unreadable {
        /// Path as given.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its content.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file, or the environment variable.
        origin: String,
        /// What is wrong, where, and what is near.
        message: String,
    },
}

/// Variables that begin so override settings.
const ENV_PREFIX: &str = "TOLLGATE__";

/// Reads the file, if there is one, and then the environment.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let (text, origin) = match path {
        Some(path) => {
            let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
            (fs::read_to_string(path).map_err(unreadable)?, path.display().to_string())
        }
        None => (String::new(), "defaults".to_owned()),
    };
    let mut overrides: Vec<(String, String)> = env::vars().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    overrides.sort();
    let mut config = match path.filter(|_| is_litellm(&text)) {
        Some(path) => from_litellm(&text, path, &overrides)?,
        None => parse(&text, &origin, &overrides)?,
    };
    config.without = missing::go_without(&mut config);
    Ok(config)
}

/// The native file of one in LiteLLM's dialect, and what became of its settings.
pub fn convert(path: &Path) -> Result<(String, litellm::Report), ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    if !is_litellm(&text) {
        let message =
            "is not in LiteLLM's dialect: it has no model_list, litellm_settings, router_settings or general_settings";
        return Err(invalid(path, message));
    }
    let translated = translate(&text, path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let native = litellm::convert(&translated, &name).map_err(|error| invalid(path, error.to_string()))?;
    Ok((native, translated.report))
}

fn invalid(path: &Path, message: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { origin: path.display().to_string(), message: message.into() }
}

fn translate(text: &str, path: &Path) -> Result<Translated, ConfigError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    litellm::translate(text, dir, &|name| env::var(name).ok()).map_err(|message| invalid(path, message))
}

/// Translated, then checked as our own file is.
fn from_litellm(text: &str, path: &Path, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
    let Translated { native, report } = translate(text, path)?;
    let native = serde_yaml_ng::to_string(&native).map_err(|error| invalid(path, error.to_string()))?;
    let config = parse(&native, &path.display().to_string(), overrides)?;
    Ok(Config { translation: Some(report), ..config })
}

fn parse(text: &str, origin: &str, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
    let invalid = |origin: &str, message: String| ConfigError::Invalid { origin: origin.to_owned(), message };
    let is_empty = text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    // First from the text itself: only so do errors know their line.
    let config: Config = if is_empty {
        Config::default()
    } else {
        serde_yaml_ng::from_str(text).map_err(|e| invalid(origin, explain(&e.to_string())))?
    };
    if overrides.is_empty() {
        return Ok(config);
    }
    let mut value: Value = match is_empty {
        true => Value::Mapping(Default::default()),
        false => serde_yaml_ng::from_str(text).map_err(|e| invalid(origin, e.to_string()))?,
    };
    for (name, given) in overrides {
        let path = name[ENV_PREFIX.len()..].to_lowercase();
        let setting = serde_yaml_ng::from_str(given).unwrap_or_else(|_| Value::String(given.clone()));
        set(&mut value, &path.split("__").collect::<Vec<_>>(), setting).map_err(|message| invalid(name, message))?;
        Config::deserialize(value.clone()).map_err(|e| invalid(name, explain(&e.to_string())))?;
    }
    Config::deserialize(value).map_err(|e| invalid(origin, explain(&e.to_string())))
}

fn set(value: &mut Value, path: &[&str], setting: Value) -> Result<(), String> {
    let [first, rest @ ..] = path else {
        *value = setting;
        return Ok(());
    };
    if value.is_null() {
        *value = Value::Mapping(Default::default());
    }
    match value {
        Value::Mapping(map) => set(map.entry(Value::String((*first).to_owned())).or_insert(Value::Null), rest, setting),
        Value::Sequence(items) => {
            let index: usize = first.parse().map_err(|_| format!("{first:?} is no position in a list"))?;
            let length = items.len();
            let item =
                items.get_mut(index).ok_or_else(|| format!("the list has {length} items, there is no {index}"))?;
            set(item, rest, setting)
        }
        _ => Err(format!("{first:?} is below a setting that has no parts")),
    }
}

/// Adds the nearest known name to serde's message about an unknown one.
fn explain(message: &str) -> String {
    if message.contains("unknown field `model_list`") {
        return "`model_list` belongs to LiteLLM's dialect, `providers` and `models` to our own: a file is in one of the two; `tollgate \
                config convert` writes the native file of a LiteLLM one"
            .into();
    }
    let Some((_, after)) = message.split_once("unknown field `") else { return message.to_owned() };
    let Some((unknown, known)) = after.split_once('`') else { return message.to_owned() };
    let names = known.split('`').skip(1).step_by(2);
    let nearest = names.map(|n| (strsim::damerau_levenshtein(unknown, n), n)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 => format!("{message}; did you mean `{name}`?"),
        _ => message.to_owned(),
    }
}

/// The JSON Schema of the file.
pub fn json_schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Config)).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, overrides: &[(&str, &str)]) -> String {
        let overrides: Vec<_> = overrides.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        parse(text, "tollgate.yaml", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one_and_its_line() {
        let message = refused("listen: 127.0.0.1:1\nlimit:\n  max_body_bytes: 5\n", &[]);
        assert!(message.contains("did you mean `limits`?"), "{message}");
        assert!(message.contains("line 2"), "{message}");
        let message = refused("providers:\n  x:\n    kindd: openai\n", &[]);
        assert!(message.contains("did you mean `kind`?") && message.contains("providers.x"), "{message}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let overrides = [
            ("TOLLGATE__LISTEN".to_owned(), "0.0.0.0:5000".to_owned()),
            ("TOLLGATE__LIMITS__MAX_BODY_BYTES".to_owned(), "7".to_owned()),
            ("TOLLGATE__PROVIDERS__X__KIND".to_owned(), "demo".to_owned()),
        ];
        let config = parse("listen: 127.0.0.1:1\n", "f", &overrides).unwrap();
        assert_eq!((config.listen.as_str(), config.limits.max_body_bytes), ("0.0.0.0:5000", 7));
        assert_eq!(config.providers["x"].kind, "demo");
        let message = refused("", &[("TOLLGATE__LISTN", "x")]);
        assert!(message.starts_with("TOLLGATE__LISTN:") && message.contains("`listen`"), "{message}");
    }

    #[test]
    fn the_example_is_a_valid_file() {
        let replicas = parse(include_str!("../../../examples/replicas.yaml"), "example", &[]).unwrap();
        assert!(replicas.store.is_some_and(|store| store.redis_url.is_some()));
        let config = parse(include_str!("../../../examples/tollgate.yaml"), "example", &[]).unwrap();
        assert_eq!(config.models.len(), 3);
    }

    #[test]
    fn an_empty_file_is_a_valid_one() {
        assert_eq!(parse("# nothing\n", "f", &[]).unwrap().listen, "127.0.0.1:4000");
    }

    #[test]
    fn the_published_schema_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.schema.json");
        if env::var_os("TOLLGATE_UPDATE_DOCS").is_some() {
            fs::write(path, json_schema()).unwrap();
        }
        let published = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(published, json_schema(), "run the test with TOLLGATE_UPDATE_DOCS=1 to write it anew");
    }
}
