//! The services that speak the dialect, a row each.

use super::{
    Effort,
    Media::{Audio, File, Image},
    Param, Prefill, Quirks, ReasoningIn,
    models::{DEEPSEEK, OPENAI, XAI},
};
use crate::demo;

/// What most of them have in common.
pub(crate) const fn row(name: &'static str, base_url: Option<&'static str>, about: &'static str) -> Quirks {
    Quirks {
        name,
        about,
        base_url,
        output_limit: "max_tokens",
        both_limits: false,
        effort: Effort::Word,
        reasoning_in: None,
        prefill: Prefill::Bare,
        lacks: &[],
        refuses: &[],
        hints: false,
        families: &[],
        adds: &[],
        completes: false,
        embeds: true,
        reranks: false,
        moderates: false,
        makes_images: false,
        speaks: false,
        hears: false,
        keeps_files: false,
        fetches_urls: true,
        trusts_inner_status: false,
    }
}

/// Every one of them.
pub static SERVICES: [Quirks; 27] = [
    Quirks {
        lacks: &[Param::TopK],
        output_limit: "max_completion_tokens",
        both_limits: true,
        families: &OPENAI,
        moderates: true,
        makes_images: true,
        speaks: true,
        hears: true,
        keeps_files: true,
        completes: true,
        ..row("openai", Some("https://api.openai.com/v1"), "OpenAI: platform.openai.com/docs/api-reference/chat")
    },
    Quirks {
        refuses: &[File],
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::FinalMessage,
        reranks: true,
        completes: true,
        hears: true,
        ..row("vllm", None, "vLLM server: docs.vllm.ai, OpenAI-Compatible Server")
    },
    Quirks {
        refuses: &[Audio, File],
        output_limit: "max_completion_tokens",
        lacks: &[Param::N, Param::TopK, Param::LogitBias, Param::Logprobs, Param::TopLogprobs, Param::MessageName],
        embeds: false,
        speaks: true,
        hears: true,
        keeps_files: true,
        ..row("groq", Some("https://api.groq.com/openai/v1"), "Groq: console.groq.com/docs/openai")
    },
    Quirks {
        refuses: &[Image, Audio, File],
        families: &DEEPSEEK,
        effort: Effort::Switch,
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::Flag("prefix"),
        lacks: &[Param::N, Param::TopK, Param::Seed, Param::LogitBias, Param::JsonSchema],
        embeds: false,
        ..row("deepseek", Some("https://api.deepseek.com"), "DeepSeek: api-docs.deepseek.com")
    },
    Quirks {
        lacks: &[Param::TopK, Param::LogitBias],
        refuses: &[Audio, File],
        output_limit: "max_completion_tokens",
        families: &XAI,
        ..row("xai", Some("https://api.x.ai/v1"), "xAI: docs.x.ai/docs/api-reference")
    },
    Quirks {
        refuses: &[File],
        reranks: true,
        completes: true,
        speaks: true,
        hears: true,
        ..row("together", Some("https://api.together.xyz/v1"), "Together: docs.together.ai/reference/chat-completions")
    },
    Quirks {
        refuses: &[File],
        reasoning_in: Some(ReasoningIn::Content),
        // Without it a prompt that is too long is cut in silence.
        adds: &[("context_length_exceeded_behavior", r#""error""#)],
        reranks: true,
        completes: true,
        ..row("fireworks", Some("https://api.fireworks.ai/inference/v1"), "Fireworks: docs.fireworks.ai/api-reference")
    },
    Quirks {
        hints: true,
        effort: Effort::Object,
        reasoning_in: Some(ReasoningIn::Details),
        trusts_inner_status: true,
        completes: true,
        ..row("openrouter", Some("https://openrouter.ai/api/v1"), "OpenRouter: openrouter.ai/docs/api-reference")
    },
    Quirks {
        lacks: &[Param::N, Param::LogitBias, Param::Logprobs, Param::TopLogprobs],
        refuses: &[Audio],
        embeds: false,
        ..row("perplexity", Some("https://api.perplexity.ai"), "Perplexity: docs.perplexity.ai/api-reference")
    },
    Quirks {
        refuses: &[Image, Audio, File],
        output_limit: "max_completion_tokens",
        lacks: &[Param::TopK, Param::FrequencyPenalty, Param::PresencePenalty, Param::LogitBias],
        embeds: false,
        ..row("cerebras", Some("https://api.cerebras.ai/v1"), "Cerebras: inference-docs.cerebras.ai/resources/openai")
    },
    Quirks {
        refuses: &[File],
        lacks: &[
            Param::N,
            Param::FrequencyPenalty,
            Param::PresencePenalty,
            Param::Logprobs,
            Param::TopLogprobs,
            Param::LogitBias,
        ],
        ..row("sambanova", Some("https://api.sambanova.ai/v1"), "SambaNova: docs.sambanova.ai, OpenAI compatibility")
    },
    Quirks {
        completes: true,
        ..row(
            "nebius",
            Some("https://api.tokenfactory.nebius.com/v1"),
            "Nebius Token Factory: docs.tokenfactory.nebius.com",
        )
    },
    row("nvidia_nim", Some("https://integrate.api.nvidia.com/v1"), "NVIDIA NIM: docs.api.nvidia.com/nim/reference"),
    Quirks {
        embeds: false,
        ..row(
            "huggingface",
            Some("https://router.huggingface.co/v1"),
            "Hugging Face router: huggingface.co/docs/inference-providers",
        )
    },
    Quirks {
        completes: true,
        ..row("deepinfra", Some("https://api.deepinfra.com/v1/openai"), "DeepInfra: deepinfra.com/docs/openai_api")
    },
    Quirks {
        lacks: &[Param::TopK, Param::Seed, Param::LogitBias, Param::Logprobs, Param::TopLogprobs],
        refuses: &[Audio, File],
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::Flag("partial"),
        embeds: false,
        ..row("moonshot", Some("https://api.moonshot.ai/v1"), "Moonshot AI: platform.moonshot.ai/docs/api/chat")
    },
    Quirks {
        lacks: &[
            Param::N,
            Param::TopK,
            Param::Seed,
            Param::FrequencyPenalty,
            Param::PresencePenalty,
            Param::LogitBias,
            Param::Logprobs,
            Param::TopLogprobs,
            Param::JsonSchema,
        ],
        refuses: &[Audio],
        reasoning_in: Some(ReasoningIn::Content),
        ..row("zhipu", Some("https://api.z.ai/api/paas/v4"), "Zhipu, Z.ai: docs.z.ai/api-reference/llm/chat-completion")
    },
    Quirks {
        lacks: &[Param::FrequencyPenalty, Param::LogitBias],
        refuses: &[File],
        hints: true,
        prefill: Prefill::Flag("partial"),
        ..row(
            "qwen",
            Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
            "Alibaba Cloud Model Studio (DashScope), compatible mode: help.aliyun.com/zh/model-studio",
        )
    },
    Quirks {
        refuses: &[Image, Audio, File],
        lacks: &[Param::N, Param::FrequencyPenalty, Param::PresencePenalty, Param::LogitBias],
        embeds: false,
        ..row("minimax", Some("https://api.minimax.io/v1"), "MiniMax: platform.minimax.io/docs, Compatible OpenAI API")
    },
    Quirks {
        lacks: &[Param::TopK],
        refuses: &[File],
        output_limit: "max_completion_tokens",
        both_limits: true,
        families: &OPENAI,
        ..row(
            "github_models",
            Some("https://models.github.ai/inference"),
            "GitHub Models: docs.github.com/en/rest/models/inference",
        )
    },
    row(
        "databricks",
        None,
        "Databricks model serving: docs.databricks.com/aws/en/machine-learning/foundation-model-apis",
    ),
    Quirks {
        lacks: &[Param::N, Param::Logprobs, Param::TopLogprobs],
        refuses: &[Audio, File],
        completes: true,
        ..row("lm_studio", None, "LM Studio server: lmstudio.ai/docs/app/api/endpoints/openai")
    },
    Quirks {
        refuses: &[File],
        reasoning_in: Some(ReasoningIn::Content),
        completes: true,
        ..row("llama_cpp", None, "llama.cpp server: github.com/ggml-org/llama.cpp, tools/server")
    },
    Quirks {
        refuses: &[File],
        reasoning_in: Some(ReasoningIn::Content),
        prefill: Prefill::FinalMessage,
        completes: true,
        ..row("sglang", None, "SGLang server: docs.sglang.ai, OpenAI-Compatible APIs")
    },
    Quirks {
        lacks: &[Param::N, Param::LogitBias],
        refuses: &[Audio, File],
        embeds: false,
        ..row("tgi", None, "Text Generation Inference: huggingface.co/docs/text-generation-inference, Messages API")
    },
    Quirks {
        hints: true,
        fetches_urls: false,
        completes: true,
        makes_images: true,
        speaks: true,
        hears: true,
        ..row("openai_compatible", None, "Any other server of the dialect, which heeds all of it")
    },
    Quirks {
        hints: true,
        both_limits: true,
        reasoning_in: Some(ReasoningIn::Content),
        ..row("demo", Some(demo::BASE_URL), "The simulated provider inside the gateway")
    },
];
