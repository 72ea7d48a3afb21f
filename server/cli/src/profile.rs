//! Gateways by name: `profiles` of a file of the user's.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The one that is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// A gateway and how to come in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its address.
    pub(crate) address: String,
    /// File with the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// File with the certificate authority to trust, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with the certificate to show, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert_file: Option<PathBuf>,
    /// File with its key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert_key_file: Option<PathBuf>,
}

/// Commands about profiles.
#[derive(Subcommand, Debug)]
pub enum ProfilesCommand {
    /// Lists them; the default has a star.
    List,
    /// Adds one, or replaces it.
    Set {
        /// Its name.
        name: String,
        /// Address of the gateway.
        #[arg(long)]
        address: String,
        /// File with the key.
        #[arg(long)]
        key_file: Option<PathBuf>,
        /// File with the certificate authority to trust, PEM.
        #[arg(long)]
        ca_file: Option<PathBuf>,
        /// File with the certificate to show, PEM.
        #[arg(long, requires = "cert_key_file")]
        cert_file: Option<PathBuf>,
        /// File with the key of that certificate, PEM.
        #[arg(long, requires = "cert_file")]
        cert_key_file: Option<PathBuf>,
    },
    /// Makes one the default.
    Use {
        /// Its name.
        name: String,
    },
    /// Takes one away.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Where the file is: `TOLLGATE_PROFILES`, else `tollgate/profiles.yaml` in the user's configuration directory.
fn path() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os("TOLLGATE_PROFILES") {
        return Ok(path.into());
    }
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let base = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|base| base.is_absolute()).or_else(home);
    let base = base.ok_or_else(|| Failure::Usage("profiles: neither TOLLGATE_PROFILES nor HOME is set".into()))?;
    Ok(base.join("tollgate/profiles.yaml"))
}

/// The profiles; none where there is no file.
pub(crate) fn load() -> Result<Profiles, Failure> {
    let Ok(path) = path() else { return Ok(Profiles::default()) };
    match fs::read_to_string(&path) {
        Ok(text) => {
            serde_yaml_ng::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Profiles::default()),
        Err(error) => Err(Failure::Usage(format!("{}: {error}", path.display()))),
    }
}

fn save(profiles: &Profiles) -> Result<(), Failure> {
    let path = path()?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let text = serde_yaml_ng::to_string(profiles).map_err(|error| Failure::Other(error.to_string()))?;
    // Put in place whole, so that two who write at once leave one of the two.
    let draft = directory.join(format!(".profiles.{}", std::process::id()));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(fs::rename(&draft, &path)?)
}

/// Runs a command about profiles.
pub(crate) fn run(command: ProfilesCommand) -> Result<(), Failure> {
    let mut all = load()?;
    match command {
        ProfilesCommand::List => {
            for (name, profile) in &all.profiles {
                let star = if all.default.as_deref() == Some(name) { "*" } else { " " };
                println!("{star} {name}\t{}", profile.address);
            }
            return Ok(());
        }
        ProfilesCommand::Set { name, address, key_file, ca_file, cert_file, cert_key_file } => {
            all.default.get_or_insert_with(|| name.clone());
            // A profile is used from anywhere.
            let whole = |file: Option<PathBuf>| file.map(std::path::absolute).transpose();
            let profile = Profile {
                address,
                key_file: whole(key_file)?,
                ca_file: whole(ca_file)?,
                cert_file: whole(cert_file)?,
                cert_key_file: whole(cert_key_file)?,
            };
            all.profiles.insert(name, profile);
        }
        ProfilesCommand::Use { name } => {
            known(&all, &name)?;
            all.default = Some(name);
        }
        ProfilesCommand::Remove { name } => {
            known(&all, &name)?;
            all.profiles.remove(&name);
            all.default = all.default.filter(|default| *default != name);
        }
    }
    save(&all)
}

fn known(all: &Profiles, name: &str) -> Result<(), Failure> {
    if all.profiles.contains_key(name) {
        return Ok(());
    }
    let names = all.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(Failure::Usage(format!("there is no profile {name:?}; there are: {names}")))
}

/// The profile of a name, or the default one where none is given.
pub(crate) fn named(name: Option<&str>) -> Result<Option<Profile>, Failure> {
    let all = load()?;
    match name {
        Some(name) => {
            known(&all, name)?;
            Ok(all.profiles.get(name).cloned())
        }
        None => Ok(all.default.and_then(|name| all.profiles.get(&name).cloned())),
    }
}
