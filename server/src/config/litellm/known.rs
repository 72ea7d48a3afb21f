//! Settings of LiteLLM's that have no counterpart, each with the reason and the way out.

use super::report::Verdict;

/// Which map a setting stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Top,
    Row,
    Params,
    Info,
    Router,
    Litellm,
    General,
    Cache,
    S3,
}

/// What becomes of a setting that nothing asked for.
pub(super) fn verdict(kind: Kind, name: &str) -> Verdict {
    let of_kind = match kind {
        Kind::Top => TOP,
        Kind::Row | Kind::S3 => &[],
        Kind::Params => PARAMS,
        Kind::Info => INFO,
        Kind::Router => ROUTER,
        Kind::Litellm => LITELLM,
        Kind::General => GENERAL,
        Kind::Cache => CACHE,
    };
    let listed = of_kind.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason);
    let by_form = || match kind {
        Kind::Params if name.contains("_cost") => Some(PRICE),
        // What LiteLLM's /model/info only repeats.
        Kind::Info if name.starts_with("supports_") => Some(SUPPORTS),
        Kind::Info if name.contains("_cost") => Some(PRICE),
        Kind::Litellm if name.starts_with("langfuse_") => Some(CALLBACKS),
        _ => None,
    };
    match listed.or_else(by_form) {
        Some(reason) => Verdict::Ignored(reason.to_owned()),
        None => Verdict::Ignored("is not a setting that this version knows".to_owned()),
    }
}

type Reasons = &'static [(&'static [&'static str], &'static str)];

const CALLBACKS: &str = "records go elsewhere by `sinks` (docs/sinks.md), which callbacks become where the environment has what they need; \
                         the audit log (AuditService, `tollgate audit export`) and /metrics have what happened";
const GUARDRAILS: &str = "guardrails are not offered yet: prompts and answers pass unchecked";
const ALERTING: &str = "alerts are those of `alerts` (docs/alerts.md), which `alerting: [slack]` becomes where SLACK_WEBHOOK_URL is set; \
                        budgets raise theirs in WatchSpend too";
pub(super) const CACHING: &str =
    "answers are not cached yet; each call reaches a provider, but for those with an Idempotency-Key";
const PRICE: &str = "this unit of a price is not charged; give prices per token, query, second or spoken character";
const SUPPORTS: &str = "what a model can do comes from the catalogue; see `tollgate models`";
const DEFAULTS: &str =
    "callers say it themselves; parameters that can be given for them are those of `deployments[].defaults`";
const LIMITED: &str =
    "limits are per minute (rpm, tpm), per day in requests (rpd), and at once (max_parallel_requests)";
const IDENTITY: &str = "people do not log in here: keys are made over KeyAdminService and the admin routes";
const DATABASE: &str = "nothing to set: calls never wait for the database, and its schema is the gateway's own";
const SPEND: &str = "nothing to set: spend is in a ledger that is exact and kept";

const TOP: Reasons = &[
    (&["guardrails", "policies", "policy_attachments"], GUARDRAILS),
    (&["callback_settings"], CALLBACKS),
    (&["mcp_servers", "mcp_tools", "agents", "agent_list"], "tool servers and agents are not offered"),
    (&["prompts"], "prompts are not managed here"),
    (
        &["vector_store_registry", "search_tools", "files_settings", "finetune_settings", "assistant_settings"],
        "these routes are not offered",
    ),
    (&["worker_registry"], "replicas find each other in PostgreSQL"),
    (&["teams", "default_team_settings"], "teams are made over TenancyService and the admin routes"),
];

const PARAMS: Reasons = &[
    (
        &[
            "n",
            "thinking",
            "response_format",
            "stream_options",
            "user",
            "metadata",
            "logit_bias",
            "modalities",
            "service_tier",
            "num_ctx",
            "keep_alive",
            "repeat_penalty",
            "safety_settings",
        ],
        DEFAULTS,
    ),
    (&["itpm", "otpm", "tpd", "daily_reset_time", "default_api_key_rpm_limit", "default_api_key_tpm_limit"], LIMITED),
    (
        &["additional_drop_params"],
        "drop_params leaves out what a provider cannot heed; single parameters are not named",
    ),
    (&["allowed_openai_params"], "nothing to allow: a parameter that the provider's dialect has is passed on"),
    (&["tag_regex"], "tags are compared as they are; write `tags`"),
    (&["silent_model"], "write `mirror` of the model in the native file"),
    (&["mock_response"], "write a scenario (`tollgate test`), or a provider of the kind `demo`"),
    (&["cache_control_injection_points"], "marks for a provider's cache come from callers"),
    (&["prompt_id", "prompt_variables"], "prompts are not managed here"),
    (&["use_in_pass_through"], "pass-through routes are not offered"),
    (&["configurable_clientside_auth_params"], "callers cannot bring the credential of a provider"),
    (&["merge_reasoning_content_in_choices"], "reasoning comes apart, in reasoning_content"),
    (&["timeout_by_service_tier", "stream_timeout_by_service_tier"], "time limits are the same for all service tiers"),
    (&["use_chat_completions_api", "keepalive_seconds", "rust", "guardrails"], "has no counterpart"),
    (
        &["azure_ad_token", "azure_username", "azure_password"],
        "tokens expire: give tenant_id, client_id and client_secret, or api_key",
    ),
    (
        &["aws_session_tags", "aws_web_identity_token"],
        "write `aws.web_identity_token_file` in the native file, the path of a file with the token",
    ),
];

const INFO: Reasons = &[
    (
        &["team_id", "team_public_model_name", "access_groups"],
        "which models a key, team or organization may use is set there (`models`)",
    ),
    (&["tier", "discoverable", "description"], "is not shown anywhere"),
    (
        &["health_check_timeout", "health_check_model", "disable_background_health_check"],
        "write `health_check` of the provider in the native file",
    ),
    (
        &["ptu_count", "cost_per_ptu_per_hour", "ptu_shares"],
        "provisioned throughput is not charged by the hour; give a price per token",
    ),
    (
        &[
            "access_windows",
            "allowed_fails",
            "allowed_fails_policy",
            "enable_tag_filtering",
            "allow_fail_open",
            "max_embedding_batch_size",
        ],
        "has no counterpart",
    ),
    (
        &["litellm_provider", "db_model", "created_at", "updated_at", "created_by", "key"],
        "is only repeated by LiteLLM's /model/info",
    ),
];

const ROUTER: Reasons = &[
    (&["retry_after"], "waits follow the provider's retry-after, else 250 ms doubling to 10 s with jitter"),
    (
        &["allowed_fails_policy"],
        "failures are counted together; what a provider states (retry-after, a bad credential) counts at once",
    ),
    (
        &["routing_strategy_args", "routing_groups"],
        "strategies have nothing to adjust; `strategy` is set for each model in the native file",
    ),
    (&["max_fallbacks"], "each alias along the fallbacks is tried once, so that every chain ends"),
    (
        &["optional_pre_call_checks", "deployment_affinity_ttl_seconds", "model_group_affinity_config"],
        "write `sticky` of the model in the native file",
    ),
    (&["default_max_parallel_requests"], "write max_parallel_requests of each deployment"),
    (&["cache_responses", "caching_groups", "cache_kwargs"], CACHING),
    (
        &["client_ttl", "polling_interval"],
        "nothing to set: connections are kept as long as they live, and queues wake at once",
    ),
    (
        &["enable_health_check_routing", "health_check_staleness_threshold", "health_check_ignore_transient_errors"],
        "write `health_check` of the provider in the native file",
    ),
    (&["enable_weighted_failover"], "nothing to set: what failed is left out, and weights hold among the rest"),
    (
        &["enable_mid_stream_fallback_continuation", "session_affinity_repin_on_failover"],
        "write `on_midstream_failure` or `sticky` of the model in the native file",
    ),
    (&["fallback_on_unsupported_params"], "nothing to set: a deployment that cannot heed a parameter is passed over"),
    (&["default_priority"], "priority comes from the key and its team"),
    (&["set_verbose", "debug_level"], "write TOLLGATE__LOG__LEVEL=debug"),
    (&["ignore_invalid_deployments"], "nothing to set: rows that cannot be used are left out and listed"),
    (&["tag_routing_prefix"], "tags are compared as they are"),
];

const LITELLM: Reasons = &[
    (
        &[
            "callbacks",
            "success_callback",
            "failure_callback",
            "service_callbacks",
            "audit_log_callbacks",
            "s3_callback_params",
            "callback_settings",
            "standard_logging_payload_excluded_fields",
            "prometheus_metrics_config",
            "custom_prometheus_metadata_labels",
            "prometheus_initialize_budget_metrics",
        ],
        CALLBACKS,
    ),
    (&["guardrails"], GUARDRAILS),
    (&["enable_caching_on_provider_specific_optional_params"], CACHING),
    (
        &["redact_user_api_key_info", "turn_off_message_logging", "log_raw_request_response"],
        "nothing to set: prompts, answers and secrets are never logged",
    ),
    (&["modify_params"], "nothing to set: what a dialect needs is written as it needs it"),
    (
        &["ssl_verify", "ssl_certificate"],
        "certificates of providers are always checked, against the system's authorities too",
    ),
    (
        &[
            "default_team_settings",
            "key_generation_settings",
            "default_key_generate_params",
            "upperbound_key_generate_params",
            "default_internal_user_params",
            "default_team_params",
        ],
        "who may make keys is the roles' to say (docs/authorization.md); keys have no defaults from the file",
    ),
    (
        &[
            "max_internal_user_budget",
            "internal_user_budget_duration",
            "max_end_user_budget",
            "max_end_user_budget_id",
            "max_ui_session_budget",
            "tag_budget_config",
            "budget_rollover",
            "budget_exceeded_status_code",
            "budget_exceeded_throttle_percentage",
        ],
        "make budgets on users, customers (`*` for each) or tags (BudgetService.CreateBudget)",
    ),
    (&["cost_discount_config", "cost_margin_config"], "write the prices that hold for you at each deployment"),
    (&["forward_traceparent_to_llm_provider"], "no header of a caller reaches a provider"),
    (&["store_audit_logs"], "nothing to set: every call and every admin act is in the audit log"),
    (&["enable_json_schema_validation"], "schemas are passed on to providers, answers are not checked against them"),
    (
        &["public_model_groups", "model_cost_map_url"],
        "models are listed by what a key may use; prices come from the built-in catalogue",
    ),
    (
        &["priority_reservation", "priority_reservation_settings"],
        "classes of priority have fixed shares of a deployment's slots: 60, 30 and 10 %",
    ),
    (&["timezone"], "windows of budgets name their own time zone"),
    (&["require_auth_for_metrics_endpoint"], "/metrics needs no key; keep it inside"),
    (&["block_requests_for_models_without_pricing"], "models without a price are refused under hard budgets"),
    (
        &["include_cost_in_streaming_usage", "return_response_headers"],
        "costs stand in response headers; see docs/rest.md",
    ),
    (&["num_retries_per_request", "retry_policy"], "see router_settings.retry_policy"),
    (
        &["user_url_validation", "provider_url_destination_allowed_hosts"],
        "nothing is fetched for callers unless `fetch_urls` of a provider says so",
    ),
    (
        &["mcp_aliases", "sse_keepalive_ping_interval_seconds", "anthropic_sse_ping_interval_seconds"],
        "has no counterpart",
    ),
];

const GENERAL: Reasons = &[
    (
        &[
            "alerting",
            "alert_types",
            "alert_to_webhook_url",
            "alerting_args",
            "alerting_threshold",
            "slack_alerting_url",
            "spend_report_frequency",
        ],
        ALERTING,
    ),
    (
        &[
            "custom_auth",
            "enable_jwt_auth",
            "litellm_jwtauth",
            "enable_oauth2_auth",
            "enable_oauth2_proxy_auth",
            "oauth2_config_mappings",
            "custom_sso",
            "password_policy_min_length",
            "disable_password_login_when_sso_enabled",
            "ui_access_mode",
            "control_plane_url",
            "service_account_settings",
            "user_mcp_management_mode",
        ],
        IDENTITY,
    ),
    (&["litellm_key_header_name"], "the key is read from `authorization`, `x-api-key` and `api-key`"),
    (
        &["allowed_ips", "use_x_forwarded_for", "trusted_proxy_ranges"],
        "addresses of callers are not looked at; put a proxy or a firewall before it",
    ),
    (
        &["public_routes", "admin_only_routes", "allowed_routes", "role_permissions", "enforce_rbac"],
        "what a role may do is fixed: docs/authorization.md",
    ),
    (
        &["enforce_user_param", "enforced_params", "reject_clientside_metadata_tags"],
        "requests are not required to say more than they must",
    ),
    (
        &["max_parallel_requests", "global_max_parallel_requests"],
        "write `limits.concurrent_requests` of keys, teams or models",
    ),
    (
        &[
            "max_response_size_mb",
            "max_in_flight_requests_per_worker",
            "max_queued_requests_per_worker",
            "admission_queue_timeout_seconds",
        ],
        "calls queue before deployments at their limits, each class for its time (docs/routing.md)",
    ),
    (
        &["cancel_on_disconnect"],
        "nothing to set: a call ends at its provider when its caller leaves, and is billed for what it made",
    ),
    (
        &["forward_client_headers_to_llm_api", "forward_llm_provider_auth_headers", "allow_client_side_credentials"],
        "no header and no credential of a caller reaches a provider",
    ),
    (
        &["completion_model", "embedding_model", "image_generation_model", "moderation_model"],
        "a call is served by the model that it names; write an alias",
    ),
    (
        &[
            "database_connection_pool_limit",
            "database_connection_timeout",
            "database_socket_timeout",
            "database_disable_prepared_statements",
            "allow_requests_on_db_unavailable",
            "disable_prisma_schema_update",
            "supported_db_objects",
            "database_type",
            "database_args",
        ],
        DATABASE,
    ),
    (
        &["store_model_in_db"],
        "nothing to set in the file: models of the file are in force, and others are added over the admin API",
    ),
    (&["proxy_config_reload_interval_seconds"], "nothing to set: a changed file is in force within two seconds"),
    (
        &[
            "disable_spend_logs",
            "disable_spend_updates",
            "disable_error_logs",
            "spend_logs_metadata_fields",
            "proxy_batch_write_at",
            "use_redis_transaction_buffer",
            "disable_reset_budget",
            "proxy_budget_rescheduler_min_time",
            "proxy_budget_rescheduler_max_time",
            "maximum_spend_logs_retention_period",
            "maximum_spend_logs_retention_interval",
            "disable_budget_reservation",
            "fail_closed_budget_enforcement",
            "accounting_capture",
            "accounting_sync_ack",
        ],
        SPEND,
    ),
    (&["store_prompts_in_spend_logs"], "prompts and answers are never stored"),
    (&["coordination_redis"], "one Redis serves replicas: see cache_params"),
    (
        &["fail_closed_rate_limit_enforcement", "token_rate_limit_type", "disable_fallbacks_on_per_model_rate_limits"],
        "without Redis each replica keeps an equal part of every limit (docs/routing.md)",
    ),
    (
        &[
            "background_health_checks",
            "health_check_interval",
            "health_check_concurrency",
            "use_shared_health_check",
            "model_list_healthy_only",
            "health_check_details",
        ],
        "write `health_check` of the providers in the native file",
    ),
    (&["pass_through_endpoints"], "pass-through routes are not offered"),
    (
        &["key_management_system", "key_management_settings"],
        "secrets are read from the environment or from files (`file:PATH` in the native file)",
    ),
    (
        &["user_api_key_cache_ttl", "user_api_key_cache_max_size"],
        "nothing to set: all keys are in memory, and changes count at once",
    ),
    (&["infer_model_from_keys", "missing_session_id", "include_call_id_in_error_body"], "has no counterpart"),
];

const CACHE: Reasons = &[
    (
        &[
            "ttl",
            "default_in_memory_ttl",
            "default_in_redis_ttl",
            "mode",
            "supported_call_types",
            "similarity_threshold",
            "namespace",
            "max_messages",
            "host",
            "port",
            "password",
            "url",
            "s3_bucket_name",
            "s3_region_name",
            "gcs_bucket_name",
            "qdrant_api_base",
            "qdrant_collection_name",
        ],
        CACHING,
    ),
    (&["max_connections", "socket_timeout"], "nothing to set: one connection carries all"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(kind: Kind, name: &str) -> String {
        let Verdict::Ignored(reason) = verdict(kind, name) else { unreachable!() };
        reason
    }

    #[test]
    fn what_is_known_has_its_reason_and_the_rest_says_that_it_is_not() {
        assert!(reason(Kind::General, "alerting").contains("WatchSpend"));
        assert!(reason(Kind::Litellm, "langfuse_public_key").contains("audit log"));
        assert!(reason(Kind::Params, "input_cost_per_pixel").contains("per token"));
        assert_eq!(reason(Kind::Router, "frobnicate"), "is not a setting that this version knows");
    }
}
