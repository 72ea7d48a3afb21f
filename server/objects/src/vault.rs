//! A place where every object is put once. In S3 it can be locked: nobody changes or deletes it before its time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    aws::{AmazonS3, AwsAuthorizer},
    client::{HttpRequest, HttpRequestBody},
    path::Path,
    signer::Signer,
};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tollgate_outbound::Poster;

use crate::{
    ObjectPlace, S3,
    connector::REQUEST,
    dir::Dir,
    place::{self, excerpt},
};

/// A request that breaks is tried again so often.
const RETRIES: usize = 3;
/// The moment until which objects are locked is reckoned anew this often.
const LOCK_AGE: Duration = Duration::from_secs(60);
/// For how long an address that is asked for says where a bucket is.
const QUESTION: Duration = Duration::from_secs(60);

/// Who may still lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody, the account's root user included.
    Compliance,
}

/// How objects are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who may still lift it.
    pub mode: LockMode,
    /// For how long, from when an object is put.
    pub retain: Duration,
}

/// What became of an object that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    New,
    /// It was there already, the same.
    Same,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// When it was put, in microseconds since 1970.
    pub time_us: i64,
}

/// Why an object could not be put or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another object has that name.
    #[error("{0}: something else is there already, and it is left as it is")]
    Differs(String),
    /// The store refuses, or is away.
    #[error("{0}")]
    Store(String),
}

/// The place.
pub struct Vault {
    inside: Inside,
    prefix: String,
}

enum Inside {
    Dir(Dir),
    Store(Arc<dyn ObjectStore>),
    Locked(Box<Locked>),
}

struct Locked {
    s3: S3,
    lock: Lock,
    /// Without the lock's headers.
    plain: AmazonS3,
    /// With them, and since when.
    locking: Mutex<Option<(SystemTime, Arc<AmazonS3>)>>,
}

impl Vault {
    /// Opens it without reaching for anybody. What is put lies below `prefix`.
    pub fn open(place: ObjectPlace, prefix: &str, lock: Option<Lock>) -> Result<Self, String> {
        let prefix = prefix.trim_matches('/').to_owned();
        let inside = match (place, lock) {
            (ObjectPlace::Local { dir }, None) => {
                let below = dir.join(&prefix);
                Inside::Dir(Dir::open(below.clone()).map_err(|error| format!("{}: {error}", below.display()))?)
            }
            (ObjectPlace::S3(s3), Some(lock)) => {
                let plain = s3.open(RETRIES, HeaderMap::new(), None)?;
                Inside::Locked(Box::new(Locked { s3, lock, plain, locking: Mutex::default() }))
            }
            (_, Some(_)) => return Err("only objects in S3 can be locked".into()),
            (place, None) => Inside::Store(place::store(&place, RETRIES)?),
        };
        Ok(Self { inside, prefix })
    }

    /// Puts an object, unless one of that name is there.
    pub async fn put_new(&self, name: &str, bytes: Bytes) -> Result<Put, VaultError> {
        let store: Arc<dyn ObjectStore> = match &self.inside {
            Inside::Dir(dir) => {
                let (dir, name) = (dir.clone(), name.to_owned());
                return blocking(move || dir.put_new(&name, &bytes)).await;
            }
            Inside::Store(store) => store.clone(),
            Inside::Locked(locked) => locked.locking()?,
        };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&self.path(name), PutPayload::from(bytes.clone()), options).await {
            Ok(_) => Ok(Put::New),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => match self.read(name).await? {
                Some(there) if there == bytes => Ok(Put::Same),
                _ => Err(VaultError::Differs(name.into())),
            },
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// An object; `None`: there is none.
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>, VaultError> {
        let store = match self.store() {
            Ok(store) => store,
            Err(dir) => {
                let name = name.to_owned();
                return Ok(blocking(move || dir.read(&name)).await?.map(Bytes::from));
            }
        };
        match async { store.get(&self.path(name)).await?.bytes().await }.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// What lies in a folder, in any order.
    pub async fn list(&self, folder: &str) -> Result<Vec<Kept>, VaultError> {
        let store = match self.store() {
            Ok(store) => store,
            Err(dir) => {
                let folder = folder.to_owned();
                return blocking(move || dir.list(&folder)).await;
            }
        };
        let path = self.path(folder);
        let found: Vec<_> = store.list(Some(&path)).try_collect().await.map_err(|error| failed(folder, &error))?;
        let kept = found.iter().filter_map(|object| {
            let below: Vec<_> = object.location.prefix_match(&path)?.map(|part| part.as_ref().to_owned()).collect();
            let name = format!("{folder}/{}", below.join("/"));
            Some(Kept { name, time_us: object.last_modified.timestamp_micros() })
        });
        Ok(kept.collect())
    }

    /// Whether objects can be locked where they are to be; `true` where they need not be.
    pub async fn can_lock(&self) -> Result<bool, VaultError> {
        match &self.inside {
            Inside::Locked(locked) => locked.is_possible().await,
            _ => Ok(true),
        }
    }

    /// The store to read from, or the directory.
    fn store(&self) -> Result<&dyn ObjectStore, Dir> {
        match &self.inside {
            Inside::Store(store) => Ok(&**store),
            Inside::Locked(locked) => Ok(&locked.plain),
            Inside::Dir(dir) => Err(dir.clone()),
        }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }
}

impl Locked {
    /// A client whose objects are locked from now on for as long as is wanted.
    fn locking(&self) -> Result<Arc<dyn ObjectStore>, VaultError> {
        let mut locking = self.locking.lock();
        let now = SystemTime::now();
        let is_fresh = |since: &SystemTime| now.duration_since(*since).is_ok_and(|age| age < LOCK_AGE);
        if let Some((_, store)) = locking.as_ref().filter(|(since, _)| is_fresh(since)) {
            return Ok(store.clone());
        }
        let headers = self.headers(now).map_err(VaultError::Store)?;
        let credentials = self.plain.credentials().clone();
        let store = Arc::new(self.s3.open(RETRIES, headers, Some(credentials)).map_err(VaultError::Store)?);
        *locking = Some((now, store.clone()));
        Ok(store)
    }

    fn headers(&self, now: SystemTime) -> Result<HeaderMap, String> {
        // Never shorter than asked for, though the client is used for a while.
        let until = now + self.lock.retain + LOCK_AGE;
        let until = Timestamp::try_from(until).map_err(|error| error.to_string())?;
        let mode = match self.lock.mode {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        };
        let until = HeaderValue::from_str(&until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Ok(HeaderMap::from_iter([
            (HeaderName::from_static("x-amz-object-lock-mode"), HeaderValue::from_static(mode)),
            (HeaderName::from_static("x-amz-object-lock-retain-until-date"), until.map_err(|error| error.to_string())?),
            // Says that the checksum comes along without which nothing is locked.
            (HeaderName::from_static("x-amz-sdk-checksum-algorithm"), HeaderValue::from_static("SHA256")),
        ]))
    }

    /// `GetObjectLockConfiguration`.
    async fn is_possible(&self) -> Result<bool, VaultError> {
        let asked = format!("the object lock of the bucket {:?}", self.s3.bucket);
        let request = self.question().await.map_err(|error| failed(&asked, &error))?;
        let answer = Poster::new().send(request.map(|_| Bytes::new()), REQUEST).await;
        let answer = answer.map_err(|error| VaultError::Store(format!("{asked}: {error}")))?;
        let told = String::from_utf8_lossy(&answer.body);
        match answer.status {
            StatusCode::OK => Ok(told.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>")),
            _ if told.contains("ObjectLockConfigurationNotFoundError") => Ok(false),
            status => Err(VaultError::Store(format!("{asked}: {status}: {}", answer.excerpt()))),
        }
    }
}

impl Locked {
    /// Signed in its headers, as the client's own requests are, of which this is none.
    async fn question(&self) -> object_store::Result<HttpRequest> {
        let generic = |error: http::Error| Error::Generic { store: "S3", source: error.into() };
        // For where the bucket is; its signature is not used.
        let mut url = self.plain.signed_url(Method::GET, &Path::default(), QUESTION).await?;
        url.set_query(Some("object-lock="));
        let mut request = http::Request::get(url.as_str()).body(HttpRequestBody::empty()).map_err(generic)?;
        let credential = self.plain.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.s3.region).try_authorize(&mut request, None)?;
        Ok(request)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(VaultError::Store(error.to_string())))
}

fn failed(name: &str, error: &Error) -> VaultError {
    VaultError::Store(format!("{name}: {}", excerpt(&error.to_string())))
}
