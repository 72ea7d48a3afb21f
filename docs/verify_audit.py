#!/usr/bin/env python3
"""Verifies an export of Tollgate's audit log from the format in audit-log.md alone: verify_audit.py DIR --key PUB [--since FILE] [--ledger FILE]

Needs Python 3.11 and the package cryptography. Status 0: all is as it was signed; 1: it is not, and each line says what is wrong.
It reads everything into memory; `tollgate audit verify` does not, and names what happened more exactly.
"""

import argparse
import base64
import collections
import datetime
import hashlib
import json
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Wrong(Exception):
    """Something that makes it impossible to read on."""


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data


# --- RFC 6962 ---------------------------------------------------------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """Levels of complete nodes; level 8 * n has what tiles of level n hold."""

    def __init__(self, leaves):
        self.levels = [list(leaves)]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            self.levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def root(self, size):
        peaks, at = [], 0
        for height in range(size.bit_length() - 1, -1, -1):
            if size >> height & 1:
                peaks.append(self.levels[height][at >> height])
                at += 1 << height
        root = peaks.pop() if peaks else hashlib.sha256().digest()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root

    def tiles(self, level):
        hashes = self.levels[8 * level] if 8 * level < len(self.levels) else []
        return [b"".join(hashes[i : i + 256]) for i in range(0, len(hashes), 256)]


# --- signed notes -----------------------------------------------------------------------------------------------------------


class Key:
    def __init__(self, text):
        name, digest, key = text.strip().split("+", 2)
        public = unbase64(key)
        self.text, self.name, self.id = text.strip(), name, bytes.fromhex(digest)
        if public[:1] != b"\1" or hashlib.sha256(name.encode() + b"\n" + public).digest()[:4] != self.id:
            raise Wrong(f"{text}: no Ed25519 verifier key")
        self.public = Ed25519PublicKey.from_public_bytes(public[1:])

    def signed(self, data, signature):
        try:
            self.public.verify(signature, data)
            return True
        except InvalidSignature:
            return False


def open_checkpoint(note, keys):
    """(origin, size, root) of a note that one of the keys signed; Wrong if it is none."""
    try:
        head, tail = note.decode().rsplit("\n\n", 1)
        if not tail.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f\x7f]", head + tail):
            raise ValueError("no signed note")
        lines = [re.fullmatch("\u2014 ([^ +]+) ([^ ]+)", line).groups() for line in tail[:-1].split("\n")]
        signatures = [(name, unbase64(data)) for name, data in lines]
        origin, size, root = (head + "\n").split("\n")[:3]
        read = origin, int(size), unbase64(root)
        if str(read[1]) != size or read[1] < 0 or len(read[2]) != 32 or not origin:
            raise ValueError("no checkpoint")
    except (ValueError, AttributeError) as error:
        raise Wrong(f"checkpoint cannot be read: {error}") from None
    for key in keys:
        own = [data[4:] for name, data in signatures if name == key.name and data[:4] == key.id]
        if own:
            if len(own) > 1 or not key.signed((head + "\n").encode(), own[0]):
                raise Wrong("checkpoint was changed: its signature does not fit")
            return read
    raise Wrong("wrong key: no key that is trusted signed the checkpoint")


# --- protobuf ---------------------------------------------------------------------------------------------------------------


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def fields(data):
    """Field number to its values in order: numbers for varints, bytes for everything else."""
    read, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise IndexError
        read.setdefault(tag >> 3, []).append(value)
    return read


def number(message, field):
    value = message.get(field, [0])[-1]
    return value - (1 << 64) if value >> 63 else value


def text(message, field):
    return message.get(field, [b""])[-1].decode()


def moment(message, field):
    """Microseconds since 1970."""
    stamp = fields(message.get(field, [b""])[-1])
    return number(stamp, 1) * 1_000_000 + number(stamp, 2) // 1000


# --- an export --------------------------------------------------------------------------------------------------------------


def tile_path(kind, index, width):
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{kind}/" + "/".join(groups) + ("" if width == 256 else f".p/{width}")


def tile_place(path):
    """(kind, index, width) of what tile_path writes; None: something else."""
    part = re.fullmatch(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", path)
    if part:
        place = part[1], int(re.sub("[x/]", "", part[2])), int(part[3] or 256)
        if place[2] <= 256 and tile_path(*place) == path:
            return place
    return None


def split_bundle(data):
    records, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise Wrong(f"torn behind {len(records)} records")
        records.append(data[at + 2 : end])
        at = end
    return records


class Export:
    """`files`: path to bytes. What is wrong is gathered in `wrong`."""

    def __init__(self, files, keys):
        self.files, self.keys, self.wrong, self.unsigned = files, list(keys), [], 0
        self.dated = {}
        for path in sorted(files):
            if part := re.fullmatch(r"(root|logs/[^/]+)/checkpoints/([0-9]{20})", path):
                self.dated.setdefault(part[1], []).append((int(part[2]), path))

    def checkpoint(self, folder):
        """The note that counts for a log: its checkpoint, or the greatest of those that have files of their own."""
        paths = [f"{folder}/checkpoint"] + [path for _, path in reversed(self.dated.get(folder, []))]
        return next((self.files[path] for path in paths if path in self.files), None)

    def is_dated(self, folder):
        return folder in self.dated and f"{folder}/checkpoint" not in self.files

    def earlier(self, folder, origin):
        """(size, root) of the checkpoints that have files of their own."""
        read = []
        for size, path in self.dated.get(folder, []):
            try:
                own, signed, root = open_checkpoint(self.files[path], self.keys)
                read.append((signed, root))
                if (own, signed) != (origin, size):
                    self.say(f"{path}: the checkpoint of {own} at {signed} stands here (swapped)")
            except Wrong as error:
                self.say(f"{path}: {error}")
        return read

    def say(self, *words):
        self.wrong.append(" ".join(str(word) for word in words))

    def bundle(self, folder, index, width):
        path = f"{folder}/{tile_path('entries', index, width)}"
        if path not in self.files:
            raise Wrong(f"{path}: missing (deleted, or the log was truncated)")
        try:
            return split_bundle(self.files[path])
        except Wrong as error:
            raise Wrong(f"{path}: {error}") from None

    def records(self, folder, size):
        """The records of a log; each file that it must have is compared with them."""
        records = []
        for index in range(0, (size + 255) // 256):
            width = min(256, size - 256 * index)
            found = self.bundle(folder, index, width)
            if len(found) != width:
                raise Wrong(f"{folder}: bundle {index} has {len(found)} records, and {width} are signed (deleted or inserted)")
            records += found
        tree = Tree([leaf_hash(record) for record in records])
        want = {"checkpoint": None}
        for level in range(8):
            for index, tile in enumerate(tree.tiles(level)):
                want[tile_path(level, index, len(tile) // 32)] = tile
        for path, tile in want.items():
            if tile is not None and self.files.get(f"{folder}/{path}") != tile:
                self.say(f"{folder}/{path}: missing, or not what the records lead to (changed, swapped, inserted or deleted)")
        for index in range(0, (size + 255) // 256):
            width = min(256, size - 256 * index)
            want[tile_path("entries", index, width)] = self.files[f"{folder}/{tile_path('entries', index, width)}"]
        for path in self.files:
            if path.startswith(folder + "/") and path[len(folder) + 1 :] not in want:
                self.older_edge(folder, path[len(folder) + 1 :], want)
        return records, tree

    def older_edge(self, folder, path, want):
        """A partial file of an earlier export must be how its successor begins; anything else has no place here, but what lies behind
        the signed size where files are never overwritten: of an export that was still being written."""
        if f"{folder}/{path}" in (dated for _, dated in self.dated.get(folder, [])):
            return
        if self.is_dated(folder) and self.is_beyond(path, want):
            self.unsigned += 1
            return
        part = re.fullmatch(r"(tile/(entries|[0-7])/[x0-9/]+)\.p/([1-9][0-9]*)", path)
        newer = part and [p for p in want if p == part[1] or p.startswith(part[1] + ".p/")]
        data = self.files[f"{folder}/{path}"]
        if newer and (want[newer[0]] or b"").startswith(data):
            if (len(split_bundle(data)) if part[2] == "entries" else len(data) / 32) == int(part[3]):
                return
        self.say(f"{folder}/{path}: no file of this log (inserted)")

    def is_beyond(self, path, want):
        """Whether a file of a log lies behind what `want` has of its level."""
        place = tile_place(path)
        places = [known for known in map(tile_place, want) if known and place and known[0] == place[0]]
        return place is not None and place[1:] > max((known[1:] for known in places), default=(-1, 0))


def trust(export, leaves):
    """Keys tied to the trusted ones by rotations that both keys signed. Returns those that may sign what is newest."""
    rotations = []
    for leaf in leaves:
        if 5 in leaf:
            rotated = fields(leaf[5][-1])
            old, new = Key(text(rotated, 1)), Key(text(rotated, 2))
            said = f"tollgate.dev/audit/key-rotation/v1\n{text(rotated, 1)}\n{text(rotated, 2)}\n".encode()
            if old.name == new.name and old.signed(said, rotated[3][-1]) and new.signed(said, rotated[4][-1]):
                rotations.append((old, new))
            else:
                export.say("root: wrong key: a rotation is not signed by both keys")
    for _ in rotations:
        for old, new in rotations:
            have = {key.text for key in export.keys}
            export.keys += [b for a, b in ((old, new), (new, old)) if a.text in have and b.text not in have]
    replaced = {old.text for old, _ in rotations}
    return [key for key in export.keys if key.text not in replaced]


def check_log(export, deployment, log, told, current, since):
    """One replica's log against what the root log says of it: (first_size, checkpoints, closed). Returns its records."""
    first, checkpoints, closed = told
    folder, origin = f"logs/{log}", f"{deployment}/{log}"
    since = since + export.earlier(folder, origin)
    signed = max((size for size, _ in checkpoints + since), default=0)
    note = export.checkpoint(folder)
    if note is None:
        if signed:
            export.say(f"{log}: the log is missing; {signed} records were signed")
        return None
    own, size, root = open_checkpoint(note, export.keys)
    if size > max((size for size, _ in checkpoints), default=0):
        open_checkpoint(note, current)
    if own != origin:
        raise Wrong(f"the checkpoint of {own} stands here (swapped)")
    if size < signed:
        export.say(f"{log}: rolled back: {size} records, and {signed} were signed")
    if closed is not None and closed != size:
        export.say(f"{log}: {size} records, and closed at {closed}")
    records, tree = export.records(folder, size)
    for size_then, root_then in [(size, root)] + checkpoints + since:
        if size_then <= size and tree.root(size_then) != root_then:
            export.say(f"{log}: the first {size_then} records are not those that were signed (changed or forked)")
    heads, last = [], 0
    for index, record in enumerate(records):
        head = fields(record)
        heads.append(head)
        if number(head, 1) != index + 1:
            export.say(f"{log}: record {index + 1} has the position {number(head, 1)} (sequence gap)")
        if moment(head, 2) < last:
            export.say(f"{log}: record {index + 1} is older than one before it")
        last = max(last, moment(head, 2))
        if text(head, 19) != log and (text(head, 19) or index >= first):
            export.say(f"{log}: record {index + 1} is of replica {text(head, 19)!r}")
    begin = moment(heads[min(first, len(heads)) - 1], 2) if first and heads else -(1 << 63)
    return heads, begin, last


def check_ledger(export, ledger, logs, began, ended):
    """Every entry of the covered replicas and time stands in exactly one record with the same amount, and the other way round."""
    told = []
    for log, (heads, _, _) in logs.items():
        for head in heads:
            for entry in map(fields, head.get(24, [])):
                told.append((log, text(entry, 1), number(entry, 2)))
    booked = []
    for line in filter(None, map(bytes.strip, ledger.split(b"\n"))):
        entry = json.loads(line)
        if not isinstance(entry, dict) or not entry.get("attemptId") or not isinstance(entry.get("replica", ""), str):
            export.say("ledger: a line is no ledger entry")
            continue
        settled = datetime.datetime.fromisoformat(entry.get("settleTime", "1970-01-01T00:00:00Z"))
        settled = (settled - EPOCH) // datetime.timedelta(microseconds=1)
        _, begin, last = logs.get(entry.get("replica", ""), (None, None, None))
        if begin is None and began <= settled <= ended:
            export.say(f"ledger: {entry['attemptId']} is of a replica without a log")
        elif begin is not None and begin < settled <= last:
            booked.append((entry["replica"], entry["attemptId"], int(entry.get("costNanoUsd", 0))))
    told, booked = collections.Counter(told), collections.Counter(booked)
    for line in sorted(told | booked):
        if (told[line], booked[line]) != (1, 1):
            export.say(f"ledger: {line} stands in {told[line]} records and {booked[line]} times in the ledger")
    if told.total() and sum(n * line[2] for line, n in told.items()) != sum(n * line[2] for line, n in booked.items()):
        export.say("ledger: the sums differ")


def verify(files, key, since=(), ledger=None):
    """What is wrong with an export, in words; an empty list: nothing. `files`: path to bytes; `since`: notes seen before."""
    export = Export(files, [Key(key)])
    try:
        check(export, since, ledger)
    except Wrong as error:
        export.say(error)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        export.say("something cannot be read:", repr(error))
    return export.wrong


def check(export, since, ledger):
    note = export.checkpoint("root")
    if note is None:
        raise Wrong("root/checkpoint: missing")
    # The keys that may have signed it stand in the log that it signs: first read, then believed.
    try:
        size = int(note.decode().split("\n")[1])
    except (ValueError, IndexError):
        raise Wrong("root/checkpoint: cannot be read") from None
    records, tree = export.records("root", min(size, 256 * len(export.files)))
    leaves = [fields(record) for record in records]
    current = trust(export, leaves)
    origin, size, root = open_checkpoint(note, current)
    deployment = origin.removesuffix("/root")
    if deployment == origin or deployment != export.keys[0].name:
        raise Wrong(f"root/checkpoint: {origin} is not of the key's deployment")
    if size != len(records) or tree.root(size) != root:
        raise Wrong("root: the leaves are not those that were signed (changed, deleted, inserted, swapped or truncated)")
    seen = {}
    for before in since:
        log, size_then, root_then = open_checkpoint(before, export.keys)
        seen.setdefault(log, []).append((size_then, root_then))
    for size_then, root_then in seen.get(origin, []) + export.earlier("root", origin):
        if size_then > size:
            export.say(f"root: rolled back: {size} leaves, and {size_then} were signed")
        elif tree.root(size_then) != root_then:
            export.say(f"root: forked: the first {size_then} leaves are not those that were signed")
    told = check_root(export, deployment, leaves)
    for log in seen:
        told.setdefault(log.removeprefix(f"{deployment}/"), (0, [], None))
    told.pop("root", None)
    logs = {}
    for log, what in told.items():
        try:
            read = check_log(export, deployment, log, what, current, seen.get(f"{deployment}/{log}", []))
            if read:
                logs[log] = read
        except Wrong as error:
            export.say(f"{log}: {error}")
    for log in {path.split("/")[1] for path in export.files if path.startswith("logs/")} - set(told):
        paths = [path.removeprefix(f"logs/{log}/") for path in export.files if path.startswith(f"logs/{log}/")]
        if export.is_dated("root") and all(tile_place(path) or re.fullmatch("checkpoints/[0-9]{20}", path) for path in paths):
            export.unsigned += len(paths)
        else:
            export.say(f"logs/{log}: a log that the root log does not know (inserted)")
    if ledger is not None:
        check_ledger(export, ledger, logs, moment(leaves[0], 1) if leaves else 0, moment(leaves[-1], 1) if leaves else 0)


def check_root(export, deployment, leaves):
    """Replica to (first_size, checkpoints, closed), as the leaves of the root log tell."""
    told, last = {}, 0
    for index, leaf in enumerate(leaves):
        if moment(leaf, 1) < last:
            export.say(f"root: leaf {index + 1} is older than one before it")
        last = max(last, moment(leaf, 1))
        if sum(kind in leaf for kind in (2, 3, 4, 5)) != 1:
            raise Wrong(f"root: leaf {index + 1} says nothing, or two things")
        if 3 in leaf:
            born = fields(leaf[3][-1])
            log = text(born, 1)
            if log in told or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", log) or text(born, 2) != f"{deployment}/{log}":
                raise Wrong(f"root: leaf {index + 1}: no birth of a replica")
            told[log] = (number(born, 3), [], None)
        elif 2 in leaf:
            signed = fields(leaf[2][-1])
            log, (origin, size, root) = text(signed, 1), open_checkpoint(signed[2][-1], export.keys)
            if log not in told or told[log][2] is not None or origin != f"{deployment}/{log}":
                raise Wrong(f"root: leaf {index + 1}: a checkpoint of a log that there is not")
            if told[log][1] and size < told[log][1][-1][0]:
                export.say(f"root: leaf {index + 1}: {log} was rolled back")
            told[log][1].append((size, root))
        elif 4 in leaf:
            closed = fields(leaf[4][-1])
            first, checkpoints, _ = told[text(closed, 1)]
            if number(closed, 2) != max((size for size, _ in checkpoints), default=0):
                export.say(f"root: leaf {index + 1}: closed at another size than was signed")
            told[text(closed, 1)] = (first, checkpoints, number(closed, 2))
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", required=True, help="the verifier key, or a file with it")
    parser.add_argument("--since", action="append", default=[], type=pathlib.Path, help="a checkpoint that was seen before")
    parser.add_argument("--ledger", type=pathlib.Path, help="ledger entries as lines of JSON")
    asked = parser.parse_args()
    below = [path for part in ("root", "logs") for path in (asked.directory / part).rglob("*") if path.is_file()]
    files = {str(path.relative_to(asked.directory).as_posix()): path.read_bytes() for path in below}
    key = asked.key if "+" in asked.key else pathlib.Path(asked.key).read_text()
    wrong = verify(files, key, [path.read_bytes() for path in asked.since], asked.ledger and asked.ledger.read_bytes())
    print("\n".join(wrong) or "all is as it was signed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
