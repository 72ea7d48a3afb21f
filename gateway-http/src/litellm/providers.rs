//! Which provider LiteLLM means by the model of a row, and how ours is called and addressed. Rows of a configuration and of `POST /model/new`
//! are read alike by this.

/// A provider as LiteLLM names it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The word before the slash.
    pub prefix: &'static str,
    /// Our kind.
    pub kind: &'static str,
    /// Where its key is looked for when a row has none.
    pub keys: &'static [&'static str],
    /// Where its address is looked for when a row has none.
    pub bases: &'static [&'static str],
    /// It is served without a key too.
    pub keyless: bool,
}

const fn known(prefix: &'static str, kind: &'static str, keys: &'static [&'static str]) -> Known {
    Known { prefix, kind, keys, bases: &[], keyless: false }
}

/// Servers of one's own.
const fn own(
    prefix: &'static str,
    kind: &'static str,
    keys: &'static [&'static str],
    bases: &'static [&'static str],
) -> Known {
    Known { prefix, kind, keys, bases, keyless: true }
}

const OPENAI: &[&str] = &["OPENAI_API_KEY"];
const OPENAI_BASES: &[&str] = &["OPENAI_BASE_URL", "OPENAI_API_BASE"];

/// Every provider that there is a kind for.
pub const KNOWN: &[Known] = &[
    Known { bases: OPENAI_BASES, ..known("openai", "openai", OPENAI) },
    Known { bases: OPENAI_BASES, ..known("text-completion-openai", "openai", OPENAI) },
    Known { bases: &["AZURE_API_BASE"], ..known("azure", "azure", &["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"]) },
    Known { bases: &["AZURE_API_BASE"], ..known("azure_text", "azure", &["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"]) },
    Known { bases: &["AZURE_AI_API_BASE"], ..known("azure_ai", "azure", &["AZURE_AI_API_KEY"]) },
    Known {
        bases: &["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"],
        ..known("anthropic", "anthropic", &["ANTHROPIC_API_KEY"])
    },
    known("gemini", "gemini", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    known("vertex_ai", "vertex", &[]),
    known("vertex_ai_beta", "vertex", &[]),
    known("bedrock", "bedrock", &[]),
    known("bedrock_converse", "bedrock", &[]),
    Known { bases: &["MISTRAL_API_BASE"], ..known("mistral", "mistral", &["MISTRAL_API_KEY"]) },
    known("cohere", "cohere", &["COHERE_API_KEY", "CO_API_KEY"]),
    known("cohere_chat", "cohere", &["COHERE_API_KEY", "CO_API_KEY"]),
    own("ollama", "ollama", &["OLLAMA_API_KEY"], &["OLLAMA_API_BASE"]),
    own("ollama_chat", "ollama", &["OLLAMA_API_KEY"], &["OLLAMA_API_BASE"]),
    Known { bases: &["GROQ_API_BASE"], ..known("groq", "groq", &["GROQ_API_KEY"]) },
    Known { bases: &["DEEPSEEK_API_BASE"], ..known("deepseek", "deepseek", &["DEEPSEEK_API_KEY"]) },
    Known { bases: &["XAI_API_BASE"], ..known("xai", "xai", &["XAI_API_KEY"]) },
    known("together_ai", "together", &["TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"]),
    known("fireworks_ai", "fireworks", &["FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY"]),
    Known {
        bases: &["OPENROUTER_API_BASE"],
        ..known("openrouter", "openrouter", &["OPENROUTER_API_KEY", "OR_API_KEY"])
    },
    known("perplexity", "perplexity", &["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"]),
    known("cerebras", "cerebras", &["CEREBRAS_API_KEY"]),
    known("sambanova", "sambanova", &["SAMBANOVA_API_KEY"]),
    known("nebius", "nebius", &["NEBIUS_API_KEY"]),
    known("nvidia_nim", "nvidia_nim", &["NVIDIA_NIM_API_KEY"]),
    known("huggingface", "huggingface", &["HUGGINGFACE_API_KEY", "HF_TOKEN"]),
    known("deepinfra", "deepinfra", &["DEEPINFRA_API_KEY"]),
    known("moonshot", "moonshot", &["MOONSHOT_API_KEY"]),
    known("dashscope", "qwen", &["DASHSCOPE_API_KEY"]),
    known("zai", "zhipu", &["ZAI_API_KEY"]),
    known("minimax", "minimax", &["MINIMAX_API_KEY"]),
    known("github", "github_models", &["GITHUB_API_KEY"]),
    Known { bases: &["DATABRICKS_API_BASE"], ..known("databricks", "databricks", &["DATABRICKS_API_KEY"]) },
    own("hosted_vllm", "vllm", &["HOSTED_VLLM_API_KEY"], &["HOSTED_VLLM_API_BASE"]),
    own("vllm", "vllm", &["HOSTED_VLLM_API_KEY"], &["HOSTED_VLLM_API_BASE"]),
    own("lm_studio", "lm_studio", &["LM_STUDIO_API_KEY"], &["LM_STUDIO_API_BASE"]),
    own("llamafile", "llama_cpp", &["LLAMAFILE_API_KEY"], &["LLAMAFILE_API_BASE"]),
    own("openai_like", "openai_compatible", &["OPENAI_LIKE_API_KEY"], &["OPENAI_LIKE_API_BASE"]),
    own("custom_openai", "openai_compatible", &["OPENAI_LIKE_API_KEY"], &["OPENAI_LIKE_API_BASE"]),
    own("litellm_proxy", "openai_compatible", &["LITELLM_PROXY_API_KEY"], &["LITELLM_PROXY_API_BASE"]),
];

/// What LiteLLM speaks and we do not, whatever the address.
const OTHER_DIALECTS: &[&str] = &[
    "watsonx",
    "watsonx_text",
    "sagemaker",
    "sagemaker_chat",
    "replicate",
    "nlp_cloud",
    "aleph_alpha",
    "petals",
    "predibase",
    "oci",
    "snowflake",
    "clarifai",
    "triton",
    "gradient_ai",
    "cloudflare",
    "bytez",
    "elevenlabs",
    "deepgram",
    "assemblyai",
    "recraft",
    "topaz",
    "fal_ai",
    "stability",
    "black_forest_labs",
    "runwayml",
    "github_copilot",
    "maritalk",
    "palm",
    "langgraph",
    "dify",
];

/// What LiteLLM speaks in OpenAI's dialect, and we only at an address that is given.
const AT_AN_ADDRESS: &[&str] = &[
    "xinference",
    "baseten",
    "volcengine",
    "jina_ai",
    "voyage",
    "infinity",
    "friendliai",
    "galadriel",
    "anyscale",
    "ai21",
    "ai21_chat",
    "codestral",
    "lambda_ai",
    "hyperbolic",
    "novita",
    "featherless_ai",
    "nscale",
    "meta_llama",
    "v0",
    "morph",
    "inception",
    "ovhcloud",
    "vercel_ai_gateway",
    "docker_model_runner",
    "aiml",
    "poe",
    "chutes",
    "heroku",
    "wandb",
    "publicai",
    "compactifai",
    "cometapi",
    "nanogpt",
    "siliconflow",
    "empower",
    "oobabooga",
    "lemonade",
];

/// How names begin that LiteLLM knows without a provider before them.
const INFERRED: &[(&str, &str)] = &[
    ("claude", "anthropic"),
    ("gemini", "vertex_ai"),
    ("command", "cohere_chat"),
    ("rerank-", "cohere"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("omni-moderation", "openai"),
    ("text-moderation", "openai"),
    ("dall-e", "openai"),
    ("whisper", "openai"),
    ("tts-", "openai"),
];

/// A row's provider and the model in its words.
#[derive(Debug)]
pub struct Meant {
    /// Which it is.
    pub known: Known,
    /// The model in its words.
    pub model: String,
    /// What is not as LiteLLM has it.
    pub difference: Option<String>,
}

/// How a row is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Our kind.
    pub kind: &'static str,
    /// The model in the provider's words.
    pub model: String,
    /// Its address, up to what the adapter adds; `None`: the provider's own.
    pub base_url: Option<String>,
    /// The catalogue's name of the model, where the kind tells nothing.
    pub base_model: Option<String>,
}

impl Known {
    /// Whether a key, and nothing else, lets calls through.
    pub(crate) fn needs_key(&self) -> bool {
        !self.keyless && !self.keys.is_empty()
    }
}

impl Meant {
    /// How it is served at an address; `is_given`: the row itself has it.
    pub fn served(&self, base: Option<&str>, is_given: bool) -> Served {
        let (mut kind, mut model, mut base_model) = (self.known.kind, self.model.clone(), None);
        let base_url = match (self.known.prefix, kind) {
            // A server of one's own that only has the dialect; at OpenAI's own address, or behind a proxy before all of OpenAI, it is OpenAI.
            ("openai" | "text-completion-openai", _)
                if is_given && base.is_none_or(|url| !url.contains("api.openai.com")) =>
            {
                kind = "openai_compatible";
                base_model = Some(format!("openai/{model}"));
                base.map(|url| shaped(kind, url))
            }
            ("azure_ai", _) if model.starts_with("claude") => {
                kind = "anthropic";
                base.map(|url| format!("{}/anthropic/v1", host(url)))
            }
            ("azure_ai", _) => base.map(host),
            _ => base.map(|url| shaped(kind, url)),
        };
        if let Some(rest) = model.strip_prefix("responses/").map(str::to_owned).filter(|_| kind == "openai") {
            (kind, model) = ("openai_responses", rest);
        }
        if kind == "azure" {
            for prefix in ["o_series/", "gpt5_series/", "responses/"] {
                if let Some(rest) = model.strip_prefix(prefix) {
                    model = rest.to_owned();
                }
            }
        }
        Served { kind, model, base_url, base_model }
    }

    /// Whether it is one of Foundry's models, which are called by the v1 API.
    pub fn is_foundry(&self) -> bool {
        self.known.prefix == "azure_ai"
    }
}

impl Served {
    /// Whether it is nowhere in particular: it has no address, and its provider none of its own.
    pub fn lacks_address(&self) -> bool {
        let own = ["azure", "vllm", "lm_studio", "llama_cpp", "databricks", "openai_compatible"];
        self.base_url.is_none() && own.contains(&self.kind)
    }
}

/// Whether Azure's API has this version in its addresses; the v1 API has none.
pub fn is_classic(version: &str) -> bool {
    !["v1", "latest", "preview"].contains(&version)
}

/// The kind by which a model of a kind is called that is for this.
pub fn with_mode<'a>(kind: &'a str, mode: Option<&str>) -> &'a str {
    match (kind, mode) {
        ("openai", Some("responses")) => "openai_responses",
        _ => kind,
    }
}

/// Where the catalogue may list LiteLLM's name of a model, by provider and model, the likeliest first.
pub fn listings(kind: &str, named: &str) -> Vec<(String, String)> {
    let bare = named.split_once('/').map_or(named, |(_, model)| model);
    let kinds = [named.split_once('/').map_or(kind, |(provider, _)| provider), kind, "openai", "anthropic"];
    // Behind a region: `azure/eu/gpt-4o`.
    let last = bare.rsplit('/').next().unwrap_or(bare);
    let of = |kind: &str| [named, bare, last].map(|model| (kind.to_owned(), model.to_owned()));
    kinds.into_iter().flat_map(of).collect()
}

/// LiteLLM's addresses as ours are: up to what the adapter adds.
fn shaped(kind: &str, url: &str) -> String {
    let url = url.trim_end_matches('/');
    match kind {
        "anthropic" => {
            let root = url.strip_suffix("/messages").unwrap_or(url);
            let root = root.strip_suffix("/v1").unwrap_or(root);
            format!("{root}/v1")
        }
        "azure" => url.split_once("/openai").map_or(url, |(resource, _)| resource).to_owned(),
        "cohere" => host(url),
        "ollama" => {
            let ends = ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/v1"];
            ends.iter().find_map(|end| url.strip_suffix(end)).unwrap_or(url).to_owned()
        }
        "gemini" if host(url) == url => format!("{url}/v1beta"),
        _ => url.strip_suffix("/chat/completions").unwrap_or(url).to_owned(),
    }
}

/// Scheme and host.
fn host(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

/// Which provider a row means by its model, `custom_llm_provider` and whether it has an address; the error says why none.
pub fn meant(model: &str, custom: Option<&str>, has_base: bool) -> Result<Meant, String> {
    let (prefix, rest) = match (custom, model.split_once('/')) {
        (Some(custom), Some((prefix, rest))) if prefix == custom => (custom, rest),
        (Some(custom), _) => (custom, model),
        (None, Some((prefix, rest))) if is_provider(prefix) => (prefix, rest),
        (None, _) => match INFERRED.iter().find(|(start, _)| model.starts_with(start)) {
            Some((_, provider)) if !has_base => (*provider, model),
            Some((_, "openai")) | None if has_base => ("openai", model),
            Some((_, provider)) => (*provider, model),
            None => return Err(format!("{model:?} does not say which provider it is of; write PROVIDER/MODEL")),
        },
    };
    if let Some(known) = KNOWN.iter().find(|known| known.prefix == prefix) {
        return Ok(Meant { known: *known, model: rest.to_owned(), difference: None });
    }
    if OTHER_DIALECTS.contains(&prefix) {
        return Err(format!("the provider {prefix:?} is not offered"));
    }
    if !has_base {
        return Err(format!(
            "the provider {prefix:?} is not known; where it speaks OpenAI's dialect, give its address as api_base"
        ));
    }
    let known = own("", "openai_compatible", &[], &[]);
    let difference = Some(format!("{prefix:?} is called in OpenAI's dialect at api_base"));
    Ok(Meant { known, model: rest.to_owned(), difference })
}

/// Names with `*` of all providers whose key is there, and the model that each means: `openai/*`, and `gpt-*`.
pub fn reached(is_set: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let has_key = |known: &&Known| !known.keyless && known.keys.iter().any(|key| is_set(key));
    let all: Vec<_> = KNOWN.iter().filter(has_key).collect();
    let prefixed = all.iter().map(|known| format!("{}/*", known.prefix));
    let prefixed = prefixed.map(|name| (name.clone(), name));
    let inferred = INFERRED.iter().filter(|(_, provider)| all.iter().any(|known| known.prefix == *provider));
    prefixed.chain(inferred.map(|(start, provider)| (format!("{start}*"), format!("{provider}/{start}*")))).collect()
}

fn is_provider(prefix: &str) -> bool {
    KNOWN.iter().any(|known| known.prefix == prefix)
        || OTHER_DIALECTS.contains(&prefix)
        || AT_AN_ADDRESS.contains(&prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_told_by_its_prefix_by_name_or_by_an_address() {
        let kind = |model: &str, custom: Option<&str>, has_base: bool| {
            meant(model, custom, has_base).map(|meant| (meant.known.kind, meant.model))
        };
        for (model, expected) in [
            ("openai/gpt-5.5", ("openai", "gpt-5.5")),
            ("azure/my-deployment", ("azure", "my-deployment")),
            ("anthropic/claude-sonnet-5", ("anthropic", "claude-sonnet-5")),
            ("gemini/gemini-2.5-pro", ("gemini", "gemini-2.5-pro")),
            ("vertex_ai/claude-sonnet-4@20250514", ("vertex", "claude-sonnet-4@20250514")),
            ("together_ai/meta-llama/Llama-3", ("together", "meta-llama/Llama-3")),
            ("fireworks_ai/accounts/fireworks/models/x", ("fireworks", "accounts/fireworks/models/x")),
            ("dashscope/qwen-max", ("qwen", "qwen-max")),
            ("ollama_chat/llama3.1", ("ollama", "llama3.1")),
            ("gpt-4o", ("openai", "gpt-4o")),
            ("claude-3-haiku", ("anthropic", "claude-3-haiku")),
            ("gemini-2.5-pro", ("vertex", "gemini-2.5-pro")),
            ("openai/*", ("openai", "*")),
        ] {
            let (kind, model) = (expected, kind(model, None, false).unwrap());
            assert_eq!((model.0, model.1.as_str()), kind);
        }
        assert_eq!(kind("llama", Some("hosted_vllm"), true).unwrap(), ("vllm", "llama".into()));
        assert_eq!(kind("mistral/x", Some("mistral"), false).unwrap(), ("mistral", "x".into()));
        assert_eq!(kind("meta-llama/Llama-3", None, true).unwrap(), ("openai", "meta-llama/Llama-3".into()));
        assert_eq!(kind("xinference/bge", None, true).unwrap(), ("openai_compatible", "bge".into()));
        for (model, says) in [
            ("watsonx/granite", "not offered"),
            ("volcengine/x", "api_base"),
            ("my-model", "PROVIDER/MODEL"),
            ("*", "PROVIDER/MODEL"),
        ] {
            let refused = kind(model, None, false).unwrap_err();
            assert!(refused.contains(says), "{model}: {refused}");
        }
    }
}
