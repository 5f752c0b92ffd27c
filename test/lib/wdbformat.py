"""wdbformat.py - a second reader and writer of walkerDb's files, made from
doc/format.md alone and not from the C code: if both agree, the page is right.
"""

import struct

HEADER_SIZE = 4096
OVERHEAD = 96
KINDS = {1: "put", 2: "delete", 3: "expire", 4: "databases", 5: "element-put",
         6: "element-delete"}
SEQUENCE, EXPIRY, OBJECT = 1, 2, 4


class Damage(Exception):
    """The bytes are not what the page says."""


def need(condition, text):
    if not condition:
        raise Damage(text)


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def fold(salt):
    return (salt ^ salt >> 32) & 0xFFFFFFFF


def padded(size):
    return size + 7 & ~7


# --- records -----------------------------------------------------------------


def read_record(data, at):
    """The record at data[at:]: a dictionary, and its padded size."""
    crc, key_size, value_size, database = struct.unpack_from("<IIII", data, at)
    kind, flags, value_type = struct.unpack_from("<BBB", data, at + 16)
    need(data[at + 19:at + 24] == bytes(5), "reserved bytes of a record")
    need(kind in KINDS and flags & ~7 == 0, "kind or flags of a record")
    record = {"kind": KINDS[kind], "database": database, "type": value_type}
    place = at + 24
    if flags & SEQUENCE:
        record["index"], record["place"], zero = struct.unpack_from("<QII", data, place)
        need(zero == 0, "reserved bytes of a sequence")
        place += 16
    if flags & EXPIRY:
        record["expiry_ms"], = struct.unpack_from("<Q", data, place)
        place += 8
    if flags & OBJECT:
        record["object"] = list(struct.unpack_from("<QQ", data, place))
        place += 16
    record["key"] = data[place:place + key_size].decode("latin-1")
    place += key_size
    record["value"] = data[place:place + value_size].decode("latin-1")
    place += value_size
    need(crc == crc32c(data[at + 4:place]), "checksum of a record")
    size = padded(place - at)
    need(data[place:at + size] == bytes(at + size - place), "padding of a record")
    return record, size, crc


def make_record(kind, database, key, value):
    body = struct.pack("<IIIBBB5x", len(key), len(value), database, kind, 0, 0) + key + value
    record = struct.pack("<I", crc32c(body)) + body
    return record + bytes(padded(len(record)) - len(record))


# --- segments ----------------------------------------------------------------


def read_header(data):
    names = ("magic", "version", "kind", "id", "salt", "nonce", "index_first", "size",
             "previous_crc", "crc")
    header = dict(zip(names, struct.unpack_from("<8sIIQQQQQII", data)))
    need(header["magic"] == b"kWdbSEG1" and header["version"] == 1, "magic or version")
    need(header["crc"] == crc32c(data[:60]), "checksum of the header")
    need(data[64:HEADER_SIZE] == bytes(HEADER_SIZE - 64), "rest of the header")
    return header


def read_entry(data, at, salt, previous_crc):
    """The entry at data[at:]: a dictionary, or None at the end."""
    if data[at:at + OVERHEAD] == bytes(len(data[at:at + OVERHEAD])):
        return None
    names = ("magic", "crc", "previous_crc", "reserved", "offset", "durable", "committed",
             "salt", "index", "term", "time_ms", "payload_size", "record_count",
             "payload_crc", "type")
    entry = dict(zip(names, struct.unpack_from("<4sIIIQQQQQQQQIIH", data, at)))
    need(entry["magic"] == b"kdFR" and entry["offset"] == at and entry["salt"] == salt,
         "magic, offset or salt of a frame")
    need(entry["crc"] == crc32c(data[at + 8:at + OVERHEAD], fold(salt)), "checksum of a frame")
    need(entry["previous_crc"] == previous_crc, "chain of frames")
    payload = data[at + OVERHEAD:at + OVERHEAD + entry["payload_size"]]
    need(len(payload) == entry["payload_size"] and len(payload) % 8 == 0, "size of a payload")
    entry["records"] = []
    if entry["type"] in (1, 4):
        place, crcs = 0, b""
        while place < len(payload):
            record, size, crc = read_record(payload, place)
            record.setdefault("index", entry["index"])
            record.setdefault("place", len(entry["records"]))
            record["offset"], record["size"] = at + OVERHEAD + place, size
            crcs += struct.pack("<II", crc, size)
            entry["records"].append(record)
            place += size
        need(entry["record_count"] == len(entry["records"]), "count of records")
        need(entry["payload_crc"] == crc32c(crcs), "checksum of a payload")
    else:
        need(entry["payload_crc"] == crc32c(payload), "checksum of a payload")
    entry["end"] = at + OVERHEAD + len(payload)
    return entry


def make_entry(salt, offset, previous_crc, index, records, durable=0, term=1, time_ms=0):
    payload = b"".join(records)
    crcs = b"".join(record[:4] + struct.pack("<I", len(record)) for record in records)
    rest = struct.pack("<IIQQQQQQQQIIH6x", previous_crc, 0, offset, durable, durable, salt,
                       index, term, time_ms, len(payload), len(records), crc32c(crcs), 1)
    return b"kdFR" + struct.pack("<I", crc32c(rest, fold(salt))) + rest + payload


def read_segment(data, segment):
    """All entries of a segment that the manifest describes so."""
    header = read_header(data)
    end = segment["size_used"] if segment["sealed"] else segment["size"]
    at, crc, entries = HEADER_SIZE, segment["first_previous_crc"], []
    while at < end:
        entry = read_entry(data[:end], at, header["salt"], crc)
        if entry is None:
            break
        entries.append(entry)
        at, crc = entry["end"], entry["crc"]
    return header, entries


# --- manifest and hint -------------------------------------------------------


def read_manifest(data):
    names = ("magic", "version", "flags", "size", "generation", "nonce", "segment_id_next",
             "truncation_index", "truncation_count", "index_retained", "object_counter",
             "term", "index_durable", "index_committed", "time_ms", "segment_count", "raft_size")
    manifest = dict(zip(names, struct.unpack_from("<8sII12QII", data)))
    need(manifest["magic"] == b"kWdbMAN1" and manifest["version"] == 1, "magic or version")
    need(manifest["size"] == len(data), "size of the manifest")
    need(struct.unpack("<II", data[-8:]) == (0, crc32c(data[:-4])), "checksum of the manifest")
    names = ("id", "size", "size_used", "index_first", "index_last", "clean_index",
             "record_count", "bytes_dead", "first_previous_crc", "last_crc", "kind", "flags")
    manifest["segments"] = []
    for i in range(manifest["segment_count"]):
        values = struct.unpack_from("<8QIIBB6x", data, 120 + 80 * i)
        segment = dict(zip(names, values))
        segment["sealed"] = segment["flags"] == 1
        manifest["segments"].append(segment)
    start = 120 + 80 * manifest["segment_count"]
    manifest["raft"] = data[start:start + manifest["raft_size"]]
    return manifest


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def read_hint_block(data, at, offset):
    """The records of one block, as (kind, database, type, key, offset, size)."""
    database, value_type, items = 0, 0, []
    while at < len(data):
        tag, at = data[at], at + 1
        if tag & 0x40:
            gap, at = read_varint(data, at)
            offset += 8 * gap
        if tag & 0x20:
            value_type, database = struct.unpack_from("<BI", data, at)
            at += 5
        size, at = read_varint(data, at)
        if tag & 0x80:
            key_size, = struct.unpack_from("<I", data, at)
            at += 4
        else:
            key_size, at = data[at], at + 1
        item = {"kind": KINDS[tag & 7], "database": database, "type": value_type,
                "offset": offset, "size": 8 * size}
        if tag & 0x08:
            item["expiry_ms"], = struct.unpack_from("<Q", data, at)
            at += 8
        if tag & 0x10:
            item["object"] = list(struct.unpack_from("<QQ", data, at))
            at += 16
        item["key"] = data[at:at + key_size].decode("latin-1")
        at += key_size
        items.append(item)
        offset += 8 * size
    return items


def read_hint(data):
    names = ("magic", "version", "kind", "id", "salt", "nonce", "size_used", "index_first",
             "index_last", "clean_index", "last_crc")
    header = dict(zip(names, struct.unpack_from("<8sIIQQQQQQQI", data)))
    seed = fold(header["salt"])
    need(header["magic"] == b"kWdbHNT1" and header["version"] == 1, "magic or version")
    need(data[76:92] == bytes(16), "reserved bytes of the header")
    need(struct.unpack_from("<I", data, 92)[0] == crc32c(data[:92], seed), "checksum")
    magic, size, count, blocks = struct.unpack_from("<8sQQI", data, len(data) - 64)
    need(magic == b"kWdbEND1" and size == len(data), "footer")
    need(struct.unpack("<I", data[-4:])[0] == crc32c(data[-64:-4], seed), "checksum")
    at, items, number = 96, [], 0
    while at < len(data) - 64:
        crc, size, records, this, offset = struct.unpack_from("<IIIIQ", data, at)
        block = data[at:at + 24 + size]
        need(crc == crc32c(block[4:], seed) and this == number, "block")
        found = read_hint_block(block[24:], 0, offset)
        need(len(found) == records, "records of a block")
        items += found
        at, number = at + 24 + size, number + 1
    need((count, blocks) == (len(items), number), "counts of the footer")
    return header, items


# --- a cluster -----------------------------------------------------------------


def read_text(data, at, size):
    text = data[at:at + size]
    need(len(text) == size > 0 and all(32 < c < 127 for c in text), "a name or an address")
    return text.decode("ascii")


def need_zeros(data, at):
    need(not any(data[at:padded(at)]), "padding")
    return padded(at)


def read_configuration(data):
    version, zero, cluster, count, removed_count = struct.unpack_from("<IIQII", data)
    need((version, zero) == (1, 0) and cluster and count <= 16, "head of a configuration")
    at = 24
    members, removed = [], []
    for _ in range(count):
        node, role, name, raft, tcp, zero = struct.unpack_from("<QBBHHH", data, at)
        need(node and role < 2 and zero == 0, "a member")
        at += 16
        members.append({"id": "%016x" % node, "name": read_text(data, at, name),
                        "role": ("standby", "voter")[role],
                        "raft": read_text(data, at + name, raft),
                        "tcp": read_text(data, at + name + raft, tcp)})
        at = need_zeros(data, at + name + raft + tcp)
    for _ in range(removed_count):
        node, name = struct.unpack_from("<QB", data, at)
        need(node and not any(data[at + 9:at + 16]), "one of the removed")
        removed.append({"id": "%016x" % node, "name": read_text(data, at + 16, name)})
        at = need_zeros(data, at + 16 + name)
    need(at == len(data), "size of a configuration")
    return {"cluster_id": "%016x" % cluster, "members": members, "removed": removed}


def read_base(data):
    magic, version, size, index, term, state_hash, configuration = struct.unpack_from(
        "<8sIIQQQQ", data)
    need(magic == b"kWdbBAS1" and version == 1, "magic or version of a base")
    need(len(data) == 48 + size + 8, "size of a base")
    need(struct.unpack("<II", data[-8:]) == (0, crc32c(data[:-4])), "checksum of a base")
    return {"index": index, "term": term, "state_hash": "%016x" % state_hash,
            "configuration": configuration,
            "members": read_configuration(data[48:48 + size]) if size else None}


def read_identity(data):
    best = None
    for at in (0, 4096):
        slot = data[at:at + 512]
        if len(slot) < 512 or struct.unpack_from("<I", slot, 508)[0] != crc32c(slot[:508]):
            continue
        magic, version, flags, number, node, cluster, nonce, term, vote, name = (
            struct.unpack_from("<8sIIQQQQQQ64s", slot))
        need(magic == b"kWdbIDN1" and version == 1, "magic or version of an identity")
        need(not any(slot[128:508]), "reserved bytes of an identity")
        if best is None or number > best[0]:
            best = (number, {"id": "%016x" % node, "name": name.rstrip(b"\0").decode("ascii"),
                             "cluster_id": "%016x" % cluster, "nonce": "%016x" % nonce,
                             "term": term, "voted_for": "%016x" % vote,
                             "removed": flags == 1})
    need(best is not None, "both slots of an identity")
    return best[1]


def make_identity_slot(slot, **changes):
    """The slot with some fields set anew, and its checksum."""
    places = {"number": 16, "id": 24, "cluster_id": 32, "nonce": 40, "term": 48,
              "voted_for": 56}
    slot = bytearray(slot)
    for name, value in changes.items():
        struct.pack_into("<Q", slot, places[name], value)
    struct.pack_into("<I", slot, 508, crc32c(bytes(slot[:508])))
    return bytes(slot)


MESSAGES = {1: "QQBB6x", 2: "QBB6x", 3: "QQQQQII", 4: "QQQ", 5: "QQ", 6: "Q", 7: "Q",
            8: "QQQQ", 9: "QQII", 10: "QQII", 11: "QQII"}


def read_message(data, at):
    """The message at data[at:]: kind, to, term, fields, payload; and its size."""
    size, kind, zeros, crc, fixed = struct.unpack_from("<IB3sII", data, at)
    need(kind in MESSAGES and zeros == bytes(3) and fixed % 8 == 0, "head of a message")
    need(crc == crc32c(data[at + 12:at + 16 + fixed], crc32c(data[at:at + 8])),
         "checksum of a message")
    to, term = struct.unpack_from("<QQ", data, at + 16)
    fields = struct.unpack_from("<" + MESSAGES[kind], data, at + 32)
    need(struct.calcsize("<" + MESSAGES[kind]) == fixed - 16, "size of the fixed fields")
    payload = data[at + 16 + fixed:at + size]
    if kind == 10:
        need(fields[3] == crc32c(payload), "checksum of a piece")
    if kind == 3:
        count, place, headers = 0, 0, b""
        while place < len(payload):
            index, = struct.unpack_from("<Q", payload, place)
            need(index == fields[0] + count + 1, "index of an entry")
            headers += payload[place:place + 48]
            place += 48 + struct.unpack_from("<Q", payload, place + 24)[0]
            count += 1
        need((count, crc32c(headers)) == fields[5:], "entries of a message")
    return (kind, to, term, fields, payload), size
