//! What the gateway fetches for callers: nothing, unless a provider's settings say so.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use tollgate_providers::fetch::FetchRules;

use super::Span;

/// What may be fetched for callers who name an image or a file by URL, where the provider does not fetch it itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchUrls {
    /// Schemes of URLs.
    pub schemes: Vec<Scheme>,
    /// Most bytes that are fetched for one call, all of its URLs together.
    pub max_bytes: Size,
    /// What may come: media types. Images and PDF must begin as such, too.
    pub media_types: Vec<String>,
    /// How long all of a call's URLs may take together.
    pub timeout: Span,
    /// Only these hosts, and with `*.example.com` all below it; empty: any whose addresses are public.
    pub allow_hosts: Vec<String>,
    /// Private and loopback addresses, and ports other than 80 and 443, too: every caller then reads what the gateway reaches there.
    pub allow_private: bool,
}

/// Schemes of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Encrypted, from a server that proves its name.
    Https,
    /// Plain text.
    Http,
}

impl Default for FetchUrls {
    fn default() -> Self {
        let rules = FetchRules::default();
        Self {
            schemes: vec![Scheme::Https],
            max_bytes: Size(rules.max_bytes),
            media_types: rules.media_types,
            timeout: Span::seconds(rules.timeout.as_secs()),
            allow_hosts: rules.allow_hosts,
            allow_private: rules.allow_private,
        }
    }
}

impl FetchUrls {
    /// As the fetcher takes them.
    pub fn rules(&self) -> anyhow::Result<FetchRules> {
        anyhow::ensure!(!self.schemes.is_empty(), "schemes: needs at least one; leave fetch_urls out to fetch nothing");
        anyhow::ensure!(!self.media_types.is_empty(), "media_types: needs at least one");
        let hosts =
            self.allow_hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect::<Vec<_>>();
        let is_name = |host: &str| !host.is_empty() && !host.contains(['/', '*', ':', '@']);
        if let Some(bad) = hosts.iter().find(|host| !is_name(host.strip_prefix("*.").unwrap_or(host))) {
            anyhow::bail!("allow_hosts: {bad:?} is no name of a host, such as images.example.com or *.example.com");
        }
        let scheme = |scheme: &Scheme| match scheme {
            Scheme::Https => "https".to_owned(),
            Scheme::Http => "http".to_owned(),
        };
        Ok(FetchRules {
            schemes: self.schemes.iter().map(scheme).collect(),
            max_bytes: self.max_bytes.0,
            media_types: self.media_types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
            timeout: self.timeout.duration(),
            allow_hosts: hosts,
            allow_private: self.allow_private,
        })
    }
}

/// A number of bytes, plain or as people write it: `20MB`, `500kB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = text[..digits].parse().ok()?;
        let bytes = match text[digits..].trim_start() {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(usize),
            Text(String),
        }
        let read = match Written::deserialize(deserializer) {
            Ok(Written::Bytes(bytes)) => Some(Self(bytes)),
            Ok(Written::Text(text)) => Self::parse(&text),
            Err(_) => None,
        };
        read.ok_or_else(|| serde::de::Error::custom("must be a number of bytes such as 20MB, 500kB or 20000000"))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+ ?(B|kB|MB|GB)?$" }
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> anyhow::Result<FetchRules> {
        serde_yaml_ng::from_str::<FetchUrls>(yaml)?.rules()
    }

    #[test]
    fn an_empty_object_means_the_defaults() {
        assert_eq!(read("{}").unwrap(), FetchRules::default());
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("20MB", 20_000_000), ("500 kB", 500_000), ("7", 7), ("1GB", 1_000_000_000)] {
            assert_eq!(read(&format!("max_bytes: {text}")).unwrap().max_bytes, bytes, "{text}");
        }
        for bad in ["MB", "-1", "1.5MB", "20MiB", "99999999999999999999GB"] {
            assert!(read(&format!("max_bytes: {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_and_read_alike_however_they_are_written() {
        let rules = read("allow_hosts: [Images.Example.com., '*.cdn.example']").unwrap();
        assert_eq!(rules.allow_hosts, ["images.example.com", "*.cdn.example"]);
        for bad in ["'*'", "'https://example.com'", "'a.*.com'", "'example.com:80'", "''"] {
            assert!(read(&format!("allow_hosts: [{bad}]")).is_err(), "{bad}");
        }
        assert!(read("schemes: [ftp]").is_err() && read("schemes: []").is_err() && read("media_types: []").is_err());
    }
}
