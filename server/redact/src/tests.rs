use super::*;

#[track_caller]
fn hides(text: &str, clean: &str) {
    assert_eq!(redact(text), clean);
}

#[test]
fn keys_are_known_by_how_they_begin() {
    hides("Incorrect API key provided: sk-proj-a1B2c3D4e5F6g7H8i9J0.", "Incorrect API key provided: <hidden>.");
    hides("AKIAIOSFODNN7EXAMPLE and ghp_0123456789abcdefghijABCDEFGHIJ", "<hidden> and <hidden>");
    hides("/v1/models/AIzaSyA1234567890abcdefghijklmnopqrstuv", "/v1/models/<hidden>");
    hides("é sk-0123456789abcdef0 ü", "é <hidden> ü");
}

#[test]
fn tokens_and_private_keys_are_hidden_whole() {
    hides("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl0123", "<hidden>");
    hides("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- behind", "<hidden> behind");
    hides("-----BEGIN PRIVATE KEY-----\nMIIE", "<hidden>");
    hides("a 110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1 b", "a <hidden> b");
}

#[test]
fn passwords_go_from_urls_and_connection_strings_and_their_hosts_stay() {
    hides("postgres://ada:s3cr3t@db:5432/x", "postgres://<hidden>@db:5432/x");
    hides("Server=db;User=ada;Password=Tr0ub4dor&3;", "Server=db;User=ada;Password=<hidden>&3;");
    hides(r#"{"client_secret": "x8Q~abc.def"}"#, r#"{"client_secret": "<hidden>"}"#);
    hides(r#"\"api_key\":\"abc123def\""#, r#"\"api_key\":\"<hidden>\""#);
    hides("Authorization: Basic YWRhOnMzY3IzdDE=", "Authorization: Basic <hidden>");
    hides("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key=<hidden>");
}

#[test]
fn what_people_must_read_stays() {
    for text in [
        "no key came with the call; send it as `authorization: Bearer tg-...`",
        "providers.x.api_key: the environment variable OPENAI_API_KEY is not set",
        "api_key: env:OPENAI_API_KEY_2 leads nowhere",
        "tokens: 1234, page_token: 99887766, max_tokens=4096",
        "there is no model \"gpt-4o-2024-08-06\"; sk-learn is none",
        "0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "password: required",
        "http://127.0.0.1:4000/v1/chat/completions",
        "grüße an key-7",
    ] {
        hides(text, text);
        assert!(matches!(redact(text), Cow::Borrowed(_)), "{text}");
    }
}
