use crate::{config::Config, table::name_of};

/// A first scenario for a configuration: the first deployment of a model fails for half a minute.
pub fn starter(config: &Config, config_path: &str) -> anyhow::Result<String> {
    let spare = |model: &&crate::config::Model| model.deployments.len() > 1 || !model.fallbacks.is_empty();
    let chosen = config.models.iter().find(spare).or(config.models.first());
    let Some((model, first)) = chosen.and_then(|model| Some((model, model.deployments.first()?))) else {
        anyhow::bail!("the configuration has no model to test");
    };
    let deployment = name_of(first, &model.name);
    let (during, comment) = match spare(&model) {
        true => ("100", "somebody else does"),
        false => ("0", "nobody does: give the model another deployment, or a fallback"),
    };
    let model = &model.name;
    Ok(format!(
        "# Run it with `tollgate test FILE`. docs/testing-routes.md tells what can be said here.
name: {deployment} fails for half a minute - who serves {model}?
config: {config_path}
deployments:
  {deployment:?}: [{{ from: 0s }}, {{ from: 10s, status: 500 }}, {{ from: 40s }}]
load:
  - {{ model: {model:?}, rate: 10, for: 90s }}
expect:
  - {{ to: 10s, answered: 100 }}
  # While it fails, {comment}.
  - {{ from: 10s, to: 40s, answered: {during} }}
  # No call makes more attempts than this.
  - {{ most_attempts: \"<= 6\" }}
  # It has come back by then.
  - {{ from: 75s, answered: 100 }}
"
    ))
}
