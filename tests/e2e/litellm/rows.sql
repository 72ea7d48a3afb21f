INSERT INTO "LiteLLM_BudgetTable" ("budget_id", "max_budget", "soft_budget", "budget_duration", "budget_reset_at") VALUES
    ('b-org', 100, 80, '30d', date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month'),
    ('b-member', 0.5, NULL, NULL, NULL),
    ('b-customer', 0.002, NULL, NULL, NULL),
    ('b-tag', 3, NULL, '30d', now() AT TIME ZONE 'UTC' - interval '1 day');

INSERT INTO "LiteLLM_OrganizationTable" ("organization_id", "organization_alias", "budget_id", "models", "spend") VALUES
    ('org-1', 'Acme', 'b-org', '{}', 12.5);

INSERT INTO "LiteLLM_TeamTable"
    ("team_id", "team_alias", "organization_id", "members_with_roles", "models", "max_budget", "spend", "budget_duration", "budget_reset_at", "rpm_limit", "blocked")
VALUES
    ('team-1', 'Search', 'org-1', '[{"user_id": "ann", "role": "admin"}, {"user_id": "bob", "role": "user"}, {"user_id": "gone", "role": "user"}]',
     '{scripted,exact}', 10, 3.75, '10d', now() AT TIME ZONE 'UTC' + interval '3 days', 1000, false),
    ('team-2', 'Closed', NULL, '[{"user_id": "carol", "role": "user"}, {"user_id": "ann", "role": "user"}]', '{}', NULL, 0, NULL, NULL, NULL, true);

INSERT INTO "LiteLLM_UserTable" ("user_id", "user_alias", "user_email", "user_role", "password", "models", "max_budget", "spend") VALUES
    ('ann', 'Ann', 'ann@example.com', 'internal_user', 'scrypt:hunter2', '{}', 50, 0.1),
    ('bob', NULL, 'bob@example.com', 'internal_user', NULL, '{}', NULL, 0),
    ('carol', 'Carol', NULL, 'proxy_admin', NULL, '{exact}', NULL, 0);

INSERT INTO "LiteLLM_TeamMembership" VALUES ('ann', 'team-1', 0.30000000000000004, 'b-member');
INSERT INTO "LiteLLM_OrganizationMembership" ("user_id", "organization_id") VALUES ('ann', 'org-1');

INSERT INTO "LiteLLM_EndUserTable" ("user_id", "spend", "budget_id", "blocked") VALUES
    ('shop', 0.0015, 'b-customer', false), ('nobody', 1, NULL, false), ('thief', 0, NULL, true);
INSERT INTO "LiteLLM_TagTable" ("tag_name", "spend", "budget_id") VALUES ('prod', 2.5, 'b-tag');

INSERT INTO "LiteLLM_VerificationToken" ("token", "key_name", "key_alias", "team_id", "user_id", "metadata", "aliases") VALUES
    (encode(sha256('sk-plain-0123456789'), 'hex'), 'sk-...6789', 'plain', 'team-1', 'ann',
     '{"tags": ["prod"], "cost_centre": "42", "logging": [{"callback_vars": {"langfuse_secret": "hunter3"}}], "model_rpm_limit": {"exact": 3}}',
     '{"fast": "scripted"}');
INSERT INTO "LiteLLM_VerificationToken" ("token", "key_name", "key_alias", "max_budget", "spend", "budget_duration", "budget_reset_at") VALUES
    (encode(sha256('sk-budget-0123456789'), 'hex'), 'sk-...6789', 'budget', 0.02, 0.0185, '30d',
     date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month');
INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "blocked", "expires", "rpm_limit", "allowed_routes", "team_id", "user_id", "spend") VALUES
    (encode(sha256('sk-blocked-0123456789'), 'hex'), 'blocked', true, NULL, NULL, '{}', NULL, NULL, 0),
    (encode(sha256('sk-expired-0123456789'), 'hex'), 'expired', NULL, '2025-01-01', NULL, '{}', NULL, NULL, 0),
    (encode(sha256('sk-limited-0123456789'), 'hex'), 'limited', NULL, '2999-01-01', 2, '{}', NULL, NULL, 0),
    (encode(sha256('sk-closed-0123456789'), 'hex'), 'closed', NULL, NULL, NULL, '{}', 'team-2', NULL, 0),
    (encode(sha256('sk-manager-0123456789'), 'hex'), 'manager', NULL, NULL, NULL, '{management_routes}', NULL, NULL, 0),
    (encode(sha256('sk-own-0123456789'), 'hex'), 'own', NULL, NULL, NULL, '{llm_api_routes}', NULL, 'carol', 0.25),
    (encode(sha256('sk-session-0123456789'), 'hex'), NULL, NULL, NULL, NULL, '{}', 'litellm-dashboard', 'carol', 0),
    ('no hash at all', 'odd', NULL, NULL, NULL, '{}', NULL, NULL, 0);

INSERT INTO "LiteLLM_SpendLogs" VALUES ('call', 0.5);
