#!/usr/bin/env python3
"""Verifies an export of Tollgate's audit log, from the format in audit-log.md alone, and says what is wrong first.

Needs Python 3.11, the package cryptography, and memory for the export. `tollgate audit verify` names all that is wrong.
"""
import argparse, base64, collections, datetime, hashlib, io, json, pathlib, re, sys, types
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NEVER = -(1 << 63)

class Wrong(Exception):
    """What is wrong, in words."""

def check(holds, words):
    if not holds:
        raise Wrong(words)

# Hashes, as in RFC 6962. levels[n] are the roots of the complete subtrees of 2 ** n leaves.
def leaf_hash(record):
    return hashlib.sha256(b"\0" + record).digest()
def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()

def grow_levels(leaves):
    levels = [leaves]
    while len(levels[-1]) > 1:
        levels.append([node_hash(left, right) for left, right in zip(levels[-1][::2], levels[-1][1::2])])
    return levels

def root_of(levels, size):
    root = None
    for height in range(size.bit_length()):  # the subtrees that make up the tree, from right to left
        if size >> height & 1:
            left = levels[height][(size >> height) - 1]
            root = node_hash(left, root) if root else left
    return root or hashlib.sha256().digest()

# Keys and signed notes. A key is held as its text.
def unbase64(text):
    data = base64.b64decode(text, validate=True)
    check(base64.b64encode(data).decode() == text, f"{text}: not canonical base64")
    return data

def split_key(key):
    name, digest, public = key.split("+", 2)
    hashed = hashlib.sha256(name.encode() + b"\n" + unbase64(public)).hexdigest()
    check(unbase64(public)[:1] == b"\1" and digest == hashed[:8], f"{key}: no Ed25519 verifier key")
    return name, digest, unbase64(public)[1:]

def check_signature(key, said, signature):
    Ed25519PublicKey.from_public_bytes(split_key(key)[2]).verify(signature, said.encode())

def open_checkpoint(note, keys):
    """Origin, size and root of a checkpoint that one of the keys signed."""
    check(not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", note) and note[-1:] == b"\n", "a checkpoint is no signed note")
    said, lines = note.decode()[:-1].rsplit("\n\n", 1)
    lines = [re.fullmatch("\u2014 ([^ +]+) ([^ ]+)", line).groups() for line in lines.split("\n")]
    signatures = [(name, unbase64(data)) for name, data in lines]
    origin, size, root = (said + "\n").split("\n")[:3]
    check(origin and size == str(abs(int(size))) and len(unbase64(root)) == 32, "a signed note is no checkpoint")
    for key in keys:
        own = [data[4:] for name, data in signatures if [name, data[:4].hex()] == key.split("+")[:2]]
        if len(own) == 1:
            check_signature(key, said + "\n", own[0])
            return origin, int(size), unbase64(root)
    raise Wrong(f"wrong key: no key that is trusted signed the checkpoint of {origin}")

# Protobuf: field numbers to their values in order; numbers for varints, bytes for everything else.
def varint(stream):
    byte = stream.read(1)[0]
    return byte & 127 | (varint(stream) << 7 if byte > 127 else 0)

def fields(data):
    stream, read = io.BytesIO(data), {}
    while stream.tell() < len(data):
        tag = varint(stream)
        if tag & 7 == 0:
            value = varint(stream)
        else:
            length = varint(stream) if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
            value = stream.read(length)
            check(len(value) == length, "a record is torn")
        read.setdefault(tag >> 3, []).append(value)
    return read

def message(parent, field):
    return fields(parent.get(field, [b""])[-1])
def text(parent, field):
    return parent.get(field, [b""])[-1].decode()
def number(parent, field):
    value = parent.get(field, [0])[-1]
    return value - (1 << 64) if value >> 63 else value
def micros(parent, field):
    return number(message(parent, field), 1) * 1_000_000 + number(message(parent, field), 2) // 1000

# The files of a log. An export is held as a map from path to bytes.
def tile_path(kind, index, width):
    *above, last = [group.zfill(3) for group in f"{index:,}".split(",")]
    return "/".join([f"tile/{kind}", *("x" + group for group in above), last]) + (f".p/{width}" if width < 256 else "")

def tile_place(path):
    """Kind of a tile or bundle, and where it lies among its like; None: it is neither."""
    part = re.fullmatch(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", path)
    return part and (part[1], int(re.sub("[x/]", "", part[2])), int(part[3] or 256))

# Where files are never overwritten, each checkpoint has one of its own: the greatest counts, the others must fit.
def is_dated(export, folder):
    return f"{folder}/checkpoint" not in export

def checkpoints_of(export, folder):
    """The checkpoint that counts for a log, and its earlier ones."""
    dated = sorted(path for path in export if re.fullmatch(f"{re.escape(folder)}/checkpoints/[0-9]{{20}}", path))
    for path in dated:
        origin, size = export[path].split(b"\n")[:2]
        fits = origin.split(b"/")[-1].decode() == folder.split("/")[-1] and int(size) == int(path[-20:])
        check(fits, f"{path}: the checkpoint of {origin} at {size} stands here (swapped)")
    notes = [export[path] for path in dated] + [export[path] for path in [f"{folder}/checkpoint"] if path in export]
    check(notes, f"{folder}: the log is missing, or its checkpoint")
    return notes[-1], notes

def split_bundle(data):
    records, at = [], 0
    while at < len(data):
        begin, at = at + 2, at + 2 + int.from_bytes(data[at : at + 2], "big")
        records.append(data[begin:at])
    check(at == len(data), f"a bundle is torn in record {len(records)}")
    return records

def read_log(export, folder, size):
    """Records and hashes of a log, after every file of it was compared with what the records lead to."""
    records, asked = [], {}
    for index in range((size + 255) // 256):
        path = tile_path("entries", index, width := min(256, size - 256 * index))
        asked[path] = export.get(f"{folder}/{path}", b"")
        records += (found := split_bundle(asked[path]))
        check(len(found) == width, f"{folder}/{path}: {len(found)} records, and {width} are signed (deleted, inserted)")
    levels = grow_levels([leaf_hash(record) for record in records])
    for level, hashes in enumerate(levels[::8]):
        for first in range(0, len(hashes), 256):
            tile = hashes[first : first + 256]
            asked[tile_path(level, first // 256, len(tile))] = b"".join(tile)
    there = {path.removeprefix(folder + "/"): data for path, data in export.items() if path.startswith(folder + "/")}
    there = {path: data for path, data in there.items() if not re.fullmatch("checkpoint|checkpoints/[0-9]{20}", path)}
    if is_dated(export, folder):  # what lies behind the signed size is of an export that was still being written
        ends = {place[0]: place for place in sorted(map(tile_place, asked))}
        places = {path: tile_place(path) for path in there}
        there = {path: there[path] for path, own in places.items() if not own or own <= ends.get(own[0], own[:1])}
    for path in asked.keys() | there.keys():
        fits = there.get(path) == asked.get(path) or path in there and is_older_edge(path, there[path], asked)
        check(fits, f"{folder}/{path}: not what the records lead to (changed, swapped, inserted or deleted)")
    return records, levels

def is_older_edge(path, data, asked):
    """Whether a file is the right edge of an earlier export: how its successor begins."""
    stem, _, width = path.partition(".p/")
    successors = [newer for name, newer in asked.items() if name == stem or name.startswith(stem + ".p/")]
    count = len(split_bundle(data)) if path.startswith("tile/entries/") else len(data) // 32
    return len(successors) == 1 and successors[0].startswith(data) and 0 < count < 256 and width == str(count)

# What the logs say.
def trust(key, rotations):
    """Keys tied to this one by rotations that both keys signed, and those of them that may still sign."""
    keys, pairs = [key], [(text(rotated, 1), text(rotated, 2)) for rotated in rotations]
    for rotated, (old, new) in zip(rotations, pairs):
        said = f"tollgate.dev/audit/key-rotation/v1\n{old}\n{new}\n"
        check_signature(old, said, rotated[3][-1])
        check_signature(new, said, rotated[4][-1])
        check(split_key(old)[0] == split_key(new)[0], "wrong key: a rotation changes the name")
    for old, new in pairs * len(pairs):
        keys += [b for a, b in [(old, new), (new, old)] if a in keys and b not in keys]
    return keys, [key for key in keys if key not in [old for old, _ in pairs]]

def read_root(export, key, since):
    """The trusted keys, the times of the root log, and what is signed of each replica's log."""
    # The keys that may have signed it stand in the log that it signs: first read, then believed.
    note, earlier = checkpoints_of(export, "root")
    records, levels = read_log(export, "root", int(note.split(b"\n")[1]))
    leaves, deployment, logs = [fields(record) for record in records], split_key(key)[0], {}
    keys, current = trust(key, [message(leaf, 5) for leaf in leaves if 5 in leaf])
    origin, size, signed = open_checkpoint(note, current)
    since = [open_checkpoint(note, keys) for note in [*since, *earlier]]
    check(origin == f"{deployment}/root", f"root: the checkpoint of {origin} is not of the key's deployment")
    check_signed("root", levels, [(size, signed), *(seen[1:] for seen in since if seen[0] == origin)])
    times = [micros(leaf, 1) for leaf in leaves]
    check(times == sorted(times), "root: a leaf is older than one before it")
    for at, leaf in enumerate(leaves, 1):
        [kind] = leaf.keys() & {2, 3, 4, 5}
        told, log = message(leaf, kind), text(message(leaf, kind), 1)
        if kind == 3:
            is_new = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", log) and log not in {"root", *logs}
            check(is_new and text(told, 2) == f"{deployment}/{log}", f"root: leaf {at}: no birth of a replica")
            logs[log] = types.SimpleNamespace(first=number(told, 3), signed=[(0, root_of([], 0))], closed=None)
        elif kind == 2:
            name, *checkpoint = open_checkpoint(told[2][-1], keys)
            is_known = log in logs and logs[log].closed is None and name == f"{deployment}/{log}"
            check(is_known, f"root: leaf {at}: a checkpoint of {name}, which is not born, or closed, or not {log}")
            check(checkpoint[0] >= logs[log].signed[-1][0], f"root: leaf {at}: {log} was rolled back")
            logs[log].signed.append(checkpoint)
        elif kind == 4:
            logs[log].closed = number(told, 2)
            check(logs[log].closed == logs[log].signed[-1][0], f"root: leaf {at}: {log} was not signed at this size")
    for name, *checkpoint in [seen for seen in since if seen[0] != origin]:
        log = logs.setdefault(name.split("/")[-1], types.SimpleNamespace(first=0, signed=[], closed=None))
        log.signed.append(checkpoint)
    return deployment, keys, current, times, logs

def check_signed(log, levels, signed):
    for size, root in signed:
        check(size <= len(levels[0]), f"{log}: rolled back: {len(levels[0])} records, and {size} were signed")
        check(root_of(levels, size) == root, f"{log}: the first {size} are not those signed (changed or forked)")

def check_log(export, deployment, log, told, keys, current):
    """Checks one replica's log. Its records, and behind which moment to which they cover the ledger."""
    most = max(size for size, _ in told.signed)
    names = "/checkpoint" if is_dated(export, "root") else "/"
    if most == 0 and not any(path.startswith(f"logs/{log}{names}") for path in export):
        return [], NEVER, NEVER  # born, and not signed yet
    note, earlier = checkpoints_of(export, f"logs/{log}")
    origin, size, root = open_checkpoint(note, keys)
    check(origin == f"{deployment}/{log}", f"{log}: the checkpoint of {origin} stands here (swapped)")
    check(told.closed in (None, size), f"{log}: {size} records, and closed at {told.closed}")
    if [size, root] not in told.signed:
        open_checkpoint(note, current)  # newer than what the root log has: only a key that still signs may say so
    records, levels = read_log(export, f"logs/{log}", size)
    check_signed(log, levels, [(size, root), *told.signed, *(open_checkpoint(note, keys)[1:] for note in earlier)])
    records = [fields(record) for record in records]
    times = [micros(record, 2) for record in records]
    check([number(record, 1) for record in records] == list(range(1, size + 1)), f"{log}: a gap in the positions")
    check(times == sorted(times), f"{log}: a record is older than one before it")
    for at, record in enumerate(records, 1):
        is_own = text(record, 19) == log or at <= told.first and 19 not in record
        check(is_own, f"{log}: record {at} is of replica {text(record, 19)!r}")
    return records, times[told.first - 1] if told.first else NEVER, max(times, default=NEVER)

def check_ledger(dump, logs, times):
    """Entries of the ledger that the logs cover and those that records tell of are the same, each once."""
    told, booked = collections.Counter(), collections.Counter()
    for log, (records, _, _) in logs.items():
        entries = [fields(entry) for record in records for entry in record.get(24, [])]
        told.update((log, text(entry, 1), number(entry, 2)) for entry in entries)
    epoch = datetime.datetime.fromisoformat("1970-01-01T00:00:00Z")
    for entry in [json.loads(line) for line in dump.split(b"\n") if line.strip()]:
        log, attempt = entry.get("replica", ""), entry["attemptId"]
        settled = datetime.datetime.fromisoformat(entry.get("settleTime", "1970-01-01T00:00:00Z")) - epoch
        settled //= datetime.timedelta(microseconds=1)
        if log in logs:
            booked[log, attempt, int(entry.get("costNanoUsd", 0))] += logs[log][1] < settled <= logs[log][2]
        else:
            check(not times[0] <= settled <= times[-1], f"ledger: {attempt} is of {log!r}, which has no log")
    for line in sorted(told | booked):
        once = told[line] == booked[line] == 1
        check(once, f"ledger: {line} stands in {told[line]} records and {booked[line]} times in the ledger")

def verify(export, key, since=(), ledger=None):
    """What is wrong first with an export (path to bytes), None: nothing. `since`: notes of checkpoints seen before."""
    try:
        deployment, keys, current, times, told = read_root(export, key.strip(), since)
        logs = {log: check_log(export, deployment, log, told[log], keys, current) for log in told}
        for path in export:
            log, below = (path.split("/", 2) + [""])[1:3] if path.startswith("logs/") else ("", "")
            # A log that was born behind the signed root log may be there in an export that was still being written.
            is_new = is_dated(export, "root") and (tile_place(below) or re.fullmatch("checkpoints/[0-9]{20}", below))
            check(path.startswith("root/") or log in logs or is_new, f"{path}: of no log that there is (inserted)")
        if ledger is not None:
            check_ledger(ledger, logs, times)
    except Wrong as error:
        return str(error)
    except InvalidSignature:
        return "a checkpoint or a rotation of keys was changed: its signature does not fit (changed, or wrong key)"
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        return f"something is missing or cannot be read: {error!r}"

def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Status 0: intact; 1: it is not.")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", required=True, help="the verifier key, or a file with it")
    parser.add_argument("--since", action="append", default=[], type=pathlib.Path, help="a checkpoint seen before")
    parser.add_argument("--ledger", type=pathlib.Path, help="ledger entries as lines of JSON")
    asked = parser.parse_args()
    below = [path for folder in ("root", "logs") for path in (asked.directory / folder).rglob("*") if path.is_file()]
    export = {path.relative_to(asked.directory).as_posix(): path.read_bytes() for path in below}
    key = asked.key if "+" in asked.key else pathlib.Path(asked.key).read_text()
    wrong = verify(export, key, [path.read_bytes() for path in asked.since], asked.ledger and asked.ledger.read_bytes())
    print(wrong or "all is as it was signed")
    return 1 if wrong else 0

if __name__ == "__main__":
    sys.exit(main())
