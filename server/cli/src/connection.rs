//! Which gateway a command calls, with which key, and how it prints.

use std::{env, fs, path::PathBuf, time::Duration};

use clap::Args;
use tollgate_client::Client;

use crate::{
    Failure,
    output::{Output, Printer},
    profile,
};

/// What every command that calls a gateway takes.
#[derive(Args, Debug, Clone)]
pub struct Connection {
    /// Address of the gateway, `http://host:port` or `https://host:port` [else that of the profile, else http://127.0.0.1:4000]
    #[arg(long, env = "TOLLGATE_ADDRESS", help_heading = "Gateway")]
    address: Option<String>,
    /// File with the virtual key [else TOLLGATE_API_KEY, else that of the profile]
    #[arg(long, env = "TOLLGATE_KEY_FILE", help_heading = "Gateway")]
    key_file: Option<PathBuf>,
    /// Gateway of this name in the file of profiles [else the default one]
    #[arg(long, env = "TOLLGATE_PROFILE", help_heading = "Gateway")]
    profile: Option<String>,
    /// File with the certificate authority to trust, PEM, instead of those of the system
    #[arg(long, help_heading = "Gateway")]
    ca_file: Option<PathBuf>,
    /// Seconds that a call may take
    #[arg(long, value_name = "SECONDS", help_heading = "Gateway")]
    timeout: Option<u64>,
    /// How answers are printed
    #[arg(long, short, value_enum, default_value_t, help_heading = "Gateway")]
    output: Output,
}

/// One thing, by its id.
#[derive(Args, Debug)]
pub struct One {
    /// Its id.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

impl Connection {
    /// The gateway of a profile, and nothing else.
    pub(crate) fn of_profile(name: &str) -> Self {
        Self {
            address: None,
            key_file: None,
            profile: Some(name.to_owned()),
            ca_file: None,
            timeout: None,
            output: Output::default(),
        }
    }

    /// The client. Connects with the first call, so that what is wrong with the arguments is said first.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        // What is said here and now wins over a profile, all of it: a key is not sent to another gateway than it was kept for.
        let profile = match (&self.address, &self.profile) {
            (Some(_), None) => None,
            (_, name) => profile::named(name.as_deref())?,
        };
        let profile = profile.unwrap_or_default();
        let mut builder = Client::builder();
        let address = match &self.profile {
            Some(_) => Some(profile.address.clone()),
            None => {
                self.address.clone().or_else(|| Some(profile.address.clone()).filter(|address| !address.is_empty()))
            }
        };
        if let Some(address) = address {
            builder = builder.address(address);
        }
        let in_environment = env::var("TOLLGATE_API_KEY").ok().filter(|_| self.profile.is_none());
        let key_file = self.key_file.clone().or_else(|| profile.key_file.clone().filter(|_| in_environment.is_none()));
        if let Some(file) = key_file {
            let key = read("--key-file", &file)?;
            builder = builder.key(key.trim());
        } else if let Some(key) = in_environment {
            builder = builder.key(key);
        } else {
            return Err(Failure::Usage(
                "no key: give --key-file, set TOLLGATE_API_KEY, or keep one in a profile (tollgate profiles set)"
                    .into(),
            ));
        }
        if let Some(file) = self.ca_file.as_ref().or(profile.ca_file.as_ref()) {
            builder = builder.ca_pem(read("--ca-file", file)?);
        }
        if let (Some(certificate), Some(key)) = (&profile.cert_file, &profile.cert_key_file) {
            builder = builder.identity_pem(read("cert_file", certificate)?, read("cert_key_file", key)?);
        }
        if let Some(seconds) = self.timeout {
            builder = builder.timeout(Duration::from_secs(seconds));
        }
        Ok(builder.connect_lazy()?)
    }

    /// What prints the answers.
    pub(crate) fn printer(&self) -> Printer {
        Printer::new(self.output)
    }

    pub(crate) fn output(&self) -> Output {
        self.output
    }
}

/// Reads a file that an argument names.
pub(crate) fn read(what: &str, file: &PathBuf) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{what} {}: {error}", file.display())))
}
