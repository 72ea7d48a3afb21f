//! A deployment with its logs.

use std::fmt::Write;

use prost::Message;
use prost_types::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tollgate_proto::v1::{
    Attempt, AuditRecord, FinishReason, InputUsage, OutputUsage, Receipt, ReplicaBorn, ReplicaCheckpoint,
    ReplicaClosed, RootEntry, Routing, Usage, root_entry,
};
use tollgate_tlog::{
    Checkpoint, File, Hash, Memory, Packer, ROOT_LOG, SigningKey, Tree, dated_path, issue_receipt, leaf_hash,
    log_origin, rotate,
};

/// Fields of a record that a gateway with a log writes behind the others, in their order.
#[derive(Clone, PartialEq, Message)]
struct Proven {
    #[prost(string, tag = "19")]
    replica: String,
    #[prost(string, tag = "20")]
    role: String,
    #[prost(string, tag = "21")]
    user_id: String,
    #[prost(string, tag = "22")]
    team_id: String,
    #[prost(message, repeated, tag = "24")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    attempt_id: String,
    #[prost(int64, tag = "2")]
    cost_nano_usd: i64,
}

/// A ledger entry, as the dump has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ledger {
    /// The replica that booked it.
    pub replica: String,
    /// Its id.
    pub attempt_id: String,
    /// Its amount.
    pub cost_nano_usd: i64,
    /// When, in microseconds since 1970.
    pub settle_us: i64,
}

impl Ledger {
    /// As a line of the dump: protobuf's JSON mapping.
    pub fn line(&self) -> String {
        serde_json::json!({
            "attemptId": self.attempt_id,
            "model": "gpt",
            "costNanoUsd": self.cost_nano_usd.to_string(),
            "settleTime": timestamp(self.settle_us).to_string(),
            "replica": self.replica,
        })
        .to_string()
    }
}

/// 2026-11-20, in seconds since 1970.
const DAY: i64 = 1_795_132_800;

#[derive(Clone)]
struct Log {
    id: String,
    records: Vec<Vec<u8>>,
    tree: Tree,
    signed: Option<(Checkpoint, String)>,
}

impl Log {
    fn new(id: &str) -> Self {
        Self { id: id.into(), records: Vec::new(), tree: Tree::default(), signed: None }
    }

    fn append(&mut self, record: Vec<u8>) {
        self.tree.append(leaf_hash(&record), &mut Vec::new());
        self.records.push(record);
    }

    fn sign(&mut self, deployment: &str, key: &SigningKey) -> String {
        let origin = log_origin(deployment, &self.id);
        let checkpoint = Checkpoint { origin, size: self.tree.size(), root: self.tree.root() };
        let note = checkpoint.sign(key);
        self.signed = Some((checkpoint, note.clone()));
        note
    }

    fn export(&self, folder: &str, files: &mut Vec<File>) {
        let Some((checkpoint, note)) = &self.signed else { return };
        let mut packer = Packer::new(folder);
        for record in &self.records[..checkpoint.size as usize] {
            packer.append(record, files).expect("a record fits into a bundle");
        }
        files.extend(packer.finish(checkpoint, note).expect("the checkpoint is of these records"));
    }
}

/// An export as it was made, with what a test knows beside it.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its files.
    pub files: Memory,
    /// The ledger's entries up to then.
    pub ledger: Vec<Ledger>,
}

impl Made {
    /// The ledger's dump.
    pub fn dump(&self) -> Vec<u8> {
        let mut text = String::new();
        for entry in &self.ledger {
            let _ = writeln!(text, "{}", entry.line());
        }
        text.into_bytes()
    }

    /// Puts it beside earlier ones where no file is overwritten: each checkpoint in a file of its own.
    pub fn put_beside(&self, files: &mut Memory) {
        for (path, bytes) in &self.files.0 {
            let path = match path.strip_suffix("checkpoint") {
                Some(folder) => {
                    format!("{folder}{}", dated_path(Checkpoint::open_unchecked(bytes).expect("a checkpoint").size))
                }
                None => path.clone(),
            };
            let before = files.0.insert(path.clone(), bytes.clone());
            assert!(before.is_none_or(|before| before == *bytes), "{path} is written once");
        }
    }

    /// The root log's checkpoint: what an auditor would keep for the next time.
    pub fn checkpoint(&self) -> Vec<u8> {
        self.files.0["root/checkpoint"].clone()
    }
}

/// A deployment with some replicas. A clone goes on from the same past: a fork.
pub struct Deployment {
    name: String,
    key: SigningKey,
    random: SmallRng,
    now_us: i64,
    root: Log,
    logs: Vec<Log>,
    ledger: Vec<Ledger>,
}

impl Clone for Deployment {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            key: SigningKey::parse(&self.key.reveal(), "").expect("a key reads what it writes"),
            random: self.random.clone(),
            now_us: self.now_us,
            root: self.root.clone(),
            logs: self.logs.clone(),
            ledger: self.ledger.clone(),
        }
    }
}

impl Deployment {
    /// One without replicas; `seed` decides all that is random, the key included.
    pub fn new(name: &str, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let key = SigningKey::from_seed(name, random.random()).expect("any seed makes a key");
        let (now_us, root) = (DAY * 1_000_000, Log::new(ROOT_LOG));
        Self { name: name.into(), key, random, now_us, root, logs: Vec::new(), ledger: Vec::new() }
    }

    /// The verifier key.
    pub fn key(&self) -> String {
        self.key.verifier().to_string()
    }

    /// The private key.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes another future from here on.
    pub fn reseed(&mut self, seed: u64) {
        self.random = SmallRng::seed_from_u64(seed);
    }

    fn tick(&mut self) -> Timestamp {
        self.now_us += self.random.random_range(1..2_000_000);
        self.now()
    }

    fn now(&self) -> Timestamp {
        timestamp(self.now_us)
    }

    fn put_root(&mut self, entry: root_entry::Entry) {
        self.put_root_entry(Some(entry));
    }

    /// Puts any leaf into the root log, and signs it.
    pub fn put_root_entry(&mut self, entry: Option<root_entry::Entry>) {
        let entry = RootEntry { time: Some(self.now()), entry };
        self.root.append(entry.encode_to_vec());
        self.root.sign(&self.name, &self.key);
    }

    fn log(&mut self, id: &str) -> &mut Log {
        self.logs.iter_mut().find(|log| log.id == id).expect("a replica that was born")
    }

    /// A replica begins.
    pub fn born(&mut self, id: &str) {
        self.logs.push(Log::new(id));
        let origin = log_origin(&self.name, id);
        self.put_root(root_entry::Entry::ReplicaBorn(ReplicaBorn { replica: id.into(), origin, first_size: 0 }));
    }

    /// A replica begins whose older records, made without a log, name neither replica nor entries.
    pub fn born_with_past(&mut self, id: &str, records: u64) {
        self.logs.push(Log::new(id));
        for sequence in 1..=records {
            let (record, entry) = self.record(sequence as i64, id);
            self.ledger.push(entry);
            self.log(id).append(record.encode_to_vec());
        }
        let (origin, first_size) = (log_origin(&self.name, id), records as i64);
        self.put_root(root_entry::Entry::ReplicaBorn(ReplicaBorn { replica: id.into(), origin, first_size }));
        self.sign(id);
    }

    fn record(&mut self, sequence: i64, id: &str) -> (AuditRecord, Ledger) {
        let time = self.tick();
        let call: u128 = self.random.random();
        let call_id = format!("call_{call:032x}");
        let cost_nano_usd = self.random.random_range(100..5_000_000);
        let usage = Usage {
            input: Some(InputUsage { total: self.random.random_range(1..9_000), ..InputUsage::default() }),
            output: Some(OutputUsage { total: self.random.random_range(1..900), ..OutputUsage::default() }),
            cost_nano_usd,
            held_nano_usd: cost_nano_usd * 3,
            ..Usage::default()
        };
        let attempt = Attempt {
            id: format!("{call_id}-1"),
            deployment: "openai/gpt-5".into(),
            provider: "openai".into(),
            start_us: 211,
            head_us: Some(180_123),
            first_content_us: Some(190_456),
            end_us: 1_400_000,
            class: "ok".into(),
            upstream_status: 200,
            upstream_request_id: format!("req_{:016x}", self.random.random::<u64>()),
            billed: true,
            usage: Some(usage.clone()),
            ..Attempt::default()
        };
        let seed = self.random.random();
        let record = AuditRecord {
            sequence,
            time: Some(time),
            action: "completion.stream".into(),
            key_id: format!("key_{:016x}", self.random.random_range(0..50)),
            call_id,
            model: "gpt".into(),
            usage: Some(usage),
            routing: Some(Routing { attempts: vec![attempt], seed, ..Routing::default() }),
            duration_us: self.random.random_range(1_000..3_000_000),
            request_commitment: self.random.random::<[u8; 32]>().to_vec().into(),
            answer_commitment: self.random.random::<[u8; 32]>().to_vec().into(),
            tags: vec!["team-search".into()],
            metadata: [("trace".to_owned(), format!("{:016x}", self.random.random::<u64>()))].into(),
            peer: "10.1.2.3:41234".into(),
            finish_reasons: vec![FinishReason::Stop.into()],
            ..AuditRecord::default()
        };
        let attempt_id = format!("{}-1", record.call_id);
        (record, Ledger { replica: id.into(), attempt_id, cost_nano_usd, settle_us: self.now_us })
    }

    /// A replica answers a call: its record, its ledger entry, and the caller's receipt.
    pub fn call(&mut self, id: &str) -> Receipt {
        self.call_changed(id, |_, _| {})
    }

    /// A call whose record is changed before it is journalled, or says that another replica made it: a defect of the gateway.
    pub fn call_changed(&mut self, id: &str, change: impl FnOnce(&mut AuditRecord, &mut String)) -> Receipt {
        let sequence = self.log(id).tree.size() as i64 + 1;
        let (mut record, entry) = self.record(sequence, id);
        let mut replica = id.to_owned();
        change(&mut record, &mut replica);
        let told = vec![(entry.attempt_id.clone(), entry.cost_nano_usd)];
        self.ledger.push(entry);
        self.journal(id, record, replica, told)
    }

    /// A record that tells of these entries, which the ledger has already or never gets.
    pub fn call_with_entries(&mut self, id: &str, entries: Vec<(String, i64)>) -> Receipt {
        let sequence = self.log(id).tree.size() as i64 + 1;
        let (record, _) = self.record(sequence, id);
        self.journal(id, record, id.to_owned(), entries)
    }

    /// The entries that a record tells of, `sequence` from 1.
    pub fn entries_of(&mut self, id: &str, sequence: usize) -> Vec<(String, i64)> {
        let proven = Proven::decode(self.bytes(id, sequence).as_slice()).expect("a record of ours");
        proven.entries.into_iter().map(|entry| (entry.attempt_id, entry.cost_nano_usd)).collect()
    }

    fn journal(&mut self, id: &str, record: AuditRecord, replica: String, entries: Vec<(String, i64)>) -> Receipt {
        let sequence = record.sequence;
        let proven = Proven {
            replica,
            role: "member".into(),
            user_id: "user_0123456789abcdef".into(),
            team_id: "team_0123456789abcdef".into(),
            entries: entries
                .into_iter()
                .map(|(attempt_id, cost_nano_usd)| Entry { attempt_id, cost_nano_usd })
                .collect(),
        };
        let bytes = [record.encode_to_vec(), proven.encode_to_vec()].concat();
        let hash = leaf_hash(&bytes);
        self.log(id).append(bytes);
        self.receipt(id, sequence, hash)
    }

    /// A receipt as the gateway would sign it, true or not.
    pub fn receipt(&self, id: &str, sequence: i64, hash: Hash) -> Receipt {
        let receipt = Receipt {
            origin: log_origin(&self.name, id),
            replica: id.into(),
            sequence,
            leaf_hash: hash.0.to_vec().into(),
            time: Some(self.now()),
            merge_by: Some(timestamp(self.now_us + 60_000_000)),
            ..Receipt::default()
        };
        issue_receipt(receipt, &self.key)
    }

    /// Puts any bytes as a replica's next record: what a gateway with a defect would do.
    pub fn put(&mut self, id: &str, record: Vec<u8>) {
        self.log(id).append(record);
    }

    /// The bytes of a record, `sequence` from 1.
    pub fn bytes(&mut self, id: &str, sequence: usize) -> Vec<u8> {
        self.log(id).records[sequence - 1].clone()
    }

    /// Some minutes pass.
    pub fn wait_us(&mut self, us: i64) {
        self.now_us += us;
    }

    /// Signs a replica's log and puts the checkpoint into the root log.
    pub fn sign(&mut self, id: &str) {
        let (name, key) = (self.name.clone(), SigningKey::parse(&self.key.reveal(), "").expect("a key"));
        let note = self.log(id).sign(&name, &key);
        self.put_root(root_entry::Entry::Checkpoint(ReplicaCheckpoint { replica: id.into(), note }));
    }

    /// Signs a replica's log, and says nothing of it in the root log.
    pub fn sign_silently(&mut self, id: &str) {
        let (name, key) = (self.name.clone(), SigningKey::parse(&self.key.reveal(), "").expect("a key"));
        self.log(id).sign(&name, &key);
    }

    /// A checkpoint of a replica as the gateway would sign it, true or not.
    pub fn note_of(&self, id: &str, size: u64, root: Hash) -> String {
        Checkpoint { origin: log_origin(&self.name, id), size, root }.sign(&self.key)
    }

    /// A replica ends.
    pub fn close(&mut self, id: &str) {
        self.sign(id);
        let size = self.log(id).tree.size() as i64;
        self.put_root(root_entry::Entry::ReplicaClosed(ReplicaClosed { replica: id.into(), size }));
    }

    /// From now on this key signs, and no leaf says so.
    pub fn signs_with(&mut self, key: SigningKey) {
        self.key = key;
    }

    /// Another key signs from now on.
    pub fn rotate(&mut self) {
        let new = SigningKey::from_seed(&self.name, self.random.random()).expect("any seed makes a key");
        let rotated = rotate(&self.key, &new);
        self.key = new;
        self.put_root(root_entry::Entry::KeyRotated(rotated));
    }

    /// The export at this moment.
    pub fn export(&self) -> Made {
        let mut files = Vec::new();
        self.root.export("root", &mut files);
        for log in &self.logs {
            log.export(&format!("logs/{}", log.id), &mut files);
        }
        let files = Memory(files.into_iter().map(|file| (file.path, file.bytes)).collect());
        Made { files, ledger: self.ledger.clone() }
    }

    /// A log's size, its root and the records in it.
    pub fn state(&mut self, id: &str) -> (u64, Hash) {
        let tree = &self.log(id).tree;
        (tree.size(), tree.root())
    }
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp { seconds: us / 1_000_000, nanos: (us % 1_000_000) as i32 * 1_000 }
}
