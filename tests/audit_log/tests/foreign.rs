//! Logs that Go's `sumdb` reads and writes: it shares no code with ours.

use std::{path::Path, process::Command};

use tollgate_audit_log_tests::Deployment;
use tollgate_tlog::{Checkpoint, Dir, Files, Packer, SigningKey, split_bundle};

fn go(arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign");
    let done = Command::new("go")
        .arg("run")
        .arg(".")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("go, as the clients need it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("go, as the clients need it")
}

#[test]
fn a_foreign_reader_proves_every_record_of_our_logs() {
    let mut deployment = Deployment::new("tollgate", 5);
    deployment.born("replica-a");
    deployment.born("replica-b");
    for call in 0..700 {
        deployment.call(if call % 9 == 0 { "replica-b" } else { "replica-a" });
    }
    deployment.sign("replica-a");
    deployment.sign("replica-b");
    let (directory, key) = (tempfile::tempdir().unwrap(), deployment.key());
    let dir = Dir::new(directory.path());
    for (path, bytes) in &deployment.export().files.0 {
        dir.write(path, bytes).unwrap();
    }
    let folder = directory.path().to_str().unwrap();
    assert_eq!(go(&["check", folder, &key]), "tollgate/root 4\ntollgate/replica-a 622\ntollgate/replica-b 78\n");
}

#[test]
fn a_foreign_log_is_the_one_that_we_would_have_written() {
    // Over two levels of full tiles.
    for size in [1, 256, 300, 66_000] {
        let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate("abroad").unwrap());
        go(&["write", directory.path().to_str().unwrap(), &key.reveal(), &size.to_string()]);
        let dir = Dir::new(directory.path());
        let note = dir.read("checkpoint").unwrap().unwrap();
        let (checkpoint, _) = Checkpoint::open(&note, [key.verifier()]).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("abroad/foreign", size));

        let mut bundles = Vec::new();
        dir.list("", &mut |path| bundles.extend(path.starts_with("tile/entries/").then(|| path.to_owned()))).unwrap();
        bundles.sort();
        let (mut packer, mut files) = (Packer::new("x"), Vec::new());
        for bundle in bundles {
            let bytes = dir.read(&bundle).unwrap().unwrap();
            for range in split_bundle(&bytes).0 {
                packer.append(&bytes[range], &mut files).unwrap();
            }
        }
        let text = String::from_utf8(note).unwrap();
        files.extend(packer.finish(&checkpoint, &text).unwrap());
        for file in &files {
            let foreign = dir.read(file.path.strip_prefix("x/").unwrap()).unwrap();
            assert!(foreign.as_ref() == Some(&file.bytes), "{size}: {}", file.path);
        }
        let mut count = 0;
        dir.list("", &mut |_| count += 1).unwrap();
        assert_eq!(count, files.len(), "and nothing besides");
    }
}
