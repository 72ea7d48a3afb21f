//! Signed notes, checkpoints, rotations and receipts.

use prost_types::Timestamp;
use tollgate_proto::v1::Receipt;
use tollgate_tlog::{
    Checkpoint, CheckpointError, KeyError, Keyring, Note, NoteError, ReceiptError, RotationError, SigningKey, TilePath,
    VerifierKey, check_receipt_signature, from_base64, issue_receipt, leaf_hash, rotate, to_base64,
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("tollgate", [seed; 32]).expect("any seed makes a key")
}

/// The example of `golang.org/x/mod/sumdb/note`, made by another implementation.
#[test]
fn a_foreign_note_is_believed_and_a_foreign_key_signs_the_same() {
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let signed = format!(
        "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    let key = SigningKey::parse(private, "").unwrap();
    assert_eq!(key.verifier().to_string(), public);
    assert_eq!(key.reveal(), private);
    assert_eq!(key.sign_note(text), signed);
    let verifier: VerifierKey = public.parse().unwrap();
    assert_eq!(Note::parse(&signed).unwrap().open([&verifier]).unwrap(), (text, &verifier));
}

#[test]
fn a_note_with_any_bit_flipped_is_not_believed() {
    let (signed, verifier) = (key(1).sign_note("tollgate/a\n7\nx\n"), key(1).verifier().clone());
    for bit in 0..signed.len() * 8 {
        let mut bytes = signed.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let believed =
            std::str::from_utf8(&bytes).is_ok_and(|note| Note::parse(note).is_ok_and(|n| n.open([&verifier]).is_ok()));
        assert!(!believed, "bit {bit} of {signed:?}");
    }
}

#[test]
fn a_note_says_why_it_is_not_believed() {
    let signed = key(1).sign_note("a\n");
    let read = Note::parse(&signed).unwrap();
    let (other, own) = (key(2), key(1));
    assert!(matches!(read.open([other.verifier()]), Err(NoteError::WrongKey { .. })));
    let changed = Note::parse(&signed.replacen('a', "b", 1)).unwrap();
    assert!(matches!(changed.open([own.verifier()]), Err(NoteError::BadSignature { .. })));
    assert!(matches!(Note::parse("a\n"), Err(NoteError::Malformed(_))));
    assert!(matches!(Note::parse("a\n\n"), Err(NoteError::Malformed(_))));
    // Witnesses may sign beside us.
    let line = key(2).sign_note("a\n").lines().last().unwrap().to_owned();
    assert!(Note::parse(&format!("{signed}{line}\n")).unwrap().open([own.verifier()]).is_ok());
}

#[test]
fn keys_are_read_from_all_their_forms_and_refused_by_what_is_wrong() {
    let seed = "01".repeat(32);
    assert_eq!(SigningKey::parse(&seed, "tollgate").unwrap().verifier(), key(1).verifier());
    let text = key(1).verifier().to_string();
    assert_eq!(text.parse::<VerifierKey>().unwrap().to_string(), text);
    assert_eq!(text.replacen("tollgate", "tollgatf", 1).parse::<VerifierKey>(), Err(KeyError::WrongHash));
    assert_eq!("tollgate".parse::<VerifierKey>(), Err(KeyError::NotAVerifierKey));
    assert!(matches!(SigningKey::parse("hunter2", "tollgate"), Err(KeyError::NotASigningKey)));
    assert!(matches!(SigningKey::from_seed("toll gate", [0; 32]), Err(KeyError::BadName(_))));
    assert!(!format!("{:?}", key(1)).contains(&key(1).reveal()[30..]));
    assert_ne!(SigningKey::generate("a").unwrap().verifier(), SigningKey::generate("a").unwrap().verifier());
}

#[test]
fn a_checkpoint_comes_back_as_it_was_signed() {
    let made = Checkpoint { origin: "tollgate/replica-a".into(), size: 7, root: leaf_hash(b"") };
    let (note, own) = (made.sign(&key(1)), key(1));
    assert!(note.starts_with("tollgate/replica-a\n7\n"));
    assert_eq!(Checkpoint::open(note.as_bytes(), [own.verifier()]).unwrap().0, made);
    for text in ["tollgate/a\n07\n", "tollgate/a\n-1\n", "\n7\n", "tollgate/a\n"] {
        let note = key(1).sign_note(&format!("{text}{}\n", leaf_hash(b"")));
        assert_eq!(
            Checkpoint::open(note.as_bytes(), [own.verifier()]).unwrap_err(),
            CheckpointError::Malformed,
            "{text:?}"
        );
    }
}

#[test]
fn a_rotation_ties_old_and_new_and_only_the_new_signs_on() {
    let (first, second, third) = (key(1), key(2), key(3));
    for trusted in [&first, &second, &third] {
        let mut keyring = Keyring::new(vec![trusted.verifier().clone()]);
        keyring.take(&rotate(&first, &second)).unwrap();
        keyring.take(&rotate(&second, &third)).unwrap();
        assert_eq!(keyring.trusted().len(), 3, "whichever key the auditor has");
        assert_eq!(keyring.current().collect::<Vec<_>>(), [third.verifier()]);
    }
    let mut forged = rotate(&first, &second);
    forged.old_signature = rotate(&second, &first).old_signature;
    let mut keyring = Keyring::new(vec![first.verifier().clone()]);
    assert_eq!(keyring.take(&forged), Err(RotationError::Signature { field: "old_signature" }));
    assert_eq!(keyring.trusted().len(), 1);
}

#[test]
fn a_receipt_with_any_field_changed_is_not_believed() {
    let time = |seconds| Some(Timestamp { seconds, nanos: 5_000 });
    let receipt = Receipt {
        origin: "tollgate/a".into(),
        replica: "a".into(),
        sequence: 7,
        leaf_hash: vec![1; 32].into(),
        time: time(100),
        merge_by: time(160),
        ..Receipt::default()
    };
    let (signed, own) = (issue_receipt(receipt, &key(1)), key(1));
    assert_eq!(from_base64(&to_base64(&signed)).unwrap(), signed);
    check_receipt_signature(&signed, [own.verifier()]).unwrap();
    let changes: [fn(&mut Receipt); 6] = [
        |r| r.sequence = 8,
        |r| r.leaf_hash = vec![2; 32].into(),
        |r| r.origin = "other/a".into(),
        |r| r.time = None,
        |r| r.merge_by = None,
        |r| r.signature = vec![0; 64].into(),
    ];
    for change in changes {
        let mut changed = signed.clone();
        change(&mut changed);
        assert_eq!(check_receipt_signature(&changed, [own.verifier()]), Err(ReceiptError::BadSignature));
    }
    let other = key(2);
    assert!(matches!(check_receipt_signature(&signed, [other.verifier()]), Err(ReceiptError::WrongKey { .. })));
}

#[test]
fn paths_are_those_of_tlog_tiles() {
    for (path, text) in [
        (TilePath { level: Some(0), index: 0, width: 256 }, "tile/0/000"),
        (TilePath { level: Some(2), index: 1_234_067, width: 256 }, "tile/2/x001/x234/067"),
        (TilePath { level: None, index: 1_000, width: 3 }, "tile/entries/x001/000.p/3"),
    ] {
        assert_eq!(path.render(), text);
        assert_eq!(TilePath::parse(text), Some(path));
    }
    for text in [
        "tile/0/0",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/8/000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/001/000",
    ] {
        assert_eq!(TilePath::parse(text), None, "{text}");
    }
}
