"""The comparison of what the driver wrote with what the oracle expects, in sentences."""

import collections
import re

from counters import (
    ACTIVE, AGAINS, AGENT_ISSUED, AGENT_RECEIVED, BYTES, CONNECT_COUNT, CONNECT_US, COUNTERS, EDGE, JOINED,
    OPENED, OWN_COLUMNS, OWN_SAMPLES, SAMPLES, SUSPECTS)
from halves import MS, PANE, S
from join import opening
from oracle import EDGE_WINDOWS, GAPS, PARTS_OF_SUSPECTS, PART_WINDOWS, Row, SUSPECT_PANES


def sketch_index(us):
    """The bucket of rollups.proto: 64 an octave."""
    ns = us * 1000
    if ns < 64:
        return ns
    exponent = ns.bit_length() - 1
    return (exponent - 5) * 64 + ((ns >> (exponent - 6)) & 63)


def sketch_value(index):
    if index < 128:
        return index
    shift = index // 64 - 1
    return ((64 + index % 64) << shift) + ((1 << shift) >> 1)


def parsed(pairs):
    out = {}
    for pair in pairs.split(",")[:-1]:
        left, _, right = pair.partition(":")
        left = int(left)
        out[left] = out.get(left, 0) + int(right)
    return out


def written(numbers):
    """As the driver writes it."""
    return "".join([f"{name}:{numbers[name]}," for name in sorted(numbers) if numbers[name]])


def written_sketch(values):
    if len(values) == 1:
        return f"{sketch_index(values[0])}:1,"
    return written(collections.Counter(map(sketch_index, values))) if values else ""


def parsed_sketch(pairs):
    """Counts are unsigned on paper; taken away ones wrap."""
    if not pairs:
        return {}
    return {index: count - (1 << 32) if count >= 1 << 31 else count for index, count in parsed(pairs).items()}


def added(sum_, more):
    for name, value in more.items():
        sum_[name] = sum_.get(name, 0) + value
    return sum_


class Output:
    """The driver's lines: rows summed by key, the last record of each flow, and what was out of order."""

    def __init__(self, text):
        self.rows, self.flows, self.problems, self.stats = {}, {}, [], {}
        self.edge_windows, self.part_windows = (set(map(str, windows)) for windows in (EDGE_WINDOWS, PART_WINDOWS))
        order = None
        flows = {}
        self.names = dict(line.split("\t")[1:] for line in re.findall("^N\t.*$", text, re.M))
        for line in text.split("\n"):
            mark = line[:1]
            if mark == "R":
                order = self.row(line, order)
            elif mark == "B":
                order = None
            elif mark == "F":
                self.flow(line, flows)
            elif mark == "S":
                self.stats = {name: int(value) for name, _, value in
                              (field.partition(":") for field in line.split("\t")[1:])}
            elif mark == "C" and line.split("\t")[1].split(",") != COUNTERS:
                self.problems.append(f"counters are {line}, not {COUNTERS}")
        self.flow_records = self.close_flows(flows)

    def row(self, line, before):
        """Returns its place in the order of an emission: by window, start and ids."""
        _, own, key, amendment, counters, min_rtt, connect, srtt, _ = line.split("\t")
        window, _, rest = key.partition("|")
        order = (len(window), window, own)
        if before is not None and order <= before:
            self.problems.append(f"row out of order: {key}")
        self.add(window, int(rest.split("|", 2)[1]), key, amendment, counters, connect, srtt)
        return order

    def add(self, window, scope, key, amendment, counters, connect, srtt):
        if window not in (self.part_windows if scope else self.edge_windows):
            self.problems.append(f"a row of a window that its scope does not have: {key}")
            return
        if not (counters or connect or srtt):
            return
        if "?" in key:
            self.problems.append(f"row without a name: {key}")
            key = re.sub(r"\?([0-9a-f]{16})", lambda found: self.names[found[1]], key)
        if amendment == "1" and int(window) < 10_000:
            self.problems.append(f"an amendment of a short window: {key}")
        there = self.rows.get(key)
        if there is None:
            self.rows[key] = [counters, connect, srtt, amendment == "1"]
            return
        if amendment == "0" and not there[3]:
            self.problems.append(f"row told twice: {key}")
        there[0] += counters
        there[1] += connect
        there[2] += srtt
        there[3] = there[3] and amendment == "1"

    def flow(self, line, flows):
        """A flow whose half went on to another task is amended there: tasks have no order among them."""
        _, id_, amended, _, head, client, server, _ = line.split("\t")
        first, last = flows.get(id_, (0, None))
        if amended == "1":
            flows[id_] = (first, (head, client, server))
        else:
            flows[id_] = (first + 1, last or (head, client, server))

    def close_flows(self, flows):
        for id_, (first, last) in flows.items():
            if first != 1:
                self.problems.append(f"flow {id_} told {first} times without amendment: {last[0]}")
        return [last for _, last in flows.values()]


def same_sketch(values, cells):
    """Counts exactly, values within 1 %."""
    mine = sorted(value * 1000 for value in values)
    theirs = []
    for index in sorted(cells):
        if cells[index] < 0:
            return False
        theirs += [sketch_value(index)] * cells[index]
    return len(mine) == len(theirs) and all(abs(a - b) * 100 <= max(a, b) for a, b in zip(mine, theirs))


def named(counters):
    return ", ".join(f"{COUNTERS[counter]} {value}" for counter, value in sorted(counters.items()) if value)


def compare(expected, text, gaps=GAPS):
    """Sentences, one a difference; none if the output is right."""
    output = Output(text)
    problems = list(output.problems)
    if output.stats.get("last_pane") != expected.last_pane:
        problems.append(f"last pane {output.stats.get('last_pane')}, expected {expected.last_pane}")
    for name in ("issued", "events", "lost", "duplicate"):
        if output.stats.get(name) != expected.counts[name]:
            problems.append(f"{name}: {output.stats.get(name)}, expected {expected.counts[name]}")
    problems += unbalanced(output.stats)
    problems += compare_flows(expected, output, gaps)
    problems += compare_rows(expected, output, gaps)
    return problems


def unbalanced(stats):
    """Of the loss ledger: of each node, of others and of all; and of the rows between two stages."""
    for name, what in (("unexplained", "events are unexplained in the ledgers"), ("unmerged", "partial rows did not come")):
        if stats[name]:
            yield f"{stats[name]} {what}"
    if stats["issued"] != stats["events"] - stats["duplicate"] - stats["quarantined"] + stats["lost"]:
        yield "issued is not received - duplicate - quarantined + lost"
    if stats["events"] != sum(stats[name] for name in ("aggregated", "pending", "late", "duplicate", "quarantined", "refused")):
        yield "received is not aggregated + pending + late + duplicate + quarantined + refused"


def without_resolution(flow):
    head, *ends = flow
    return (head.rsplit("|", 3)[0], *("|".join(end.split("|")[:10] + end.split("|")[11:]) for end in ends))


def without_same_names(mine, theirs):
    """The flows that differ by more than the ways of their names."""
    sets = [collections.Counter(map(without_resolution, flows.elements())) for flows in (mine, theirs)]
    same = sets[0] & sets[1]
    out = []
    for flows in (mine, theirs):
        left, kept = same.copy(), collections.Counter()
        for flow in flows.elements():
            names = without_resolution(flow)
            if left[names]:
                left[names] -= 1
            else:
                kept[flow] += 1
        out.append(kept)
    return out


def compare_flows(expected, output, gaps):
    problems = []
    theirs, mine = (collections.Counter(flow for flow in flows if opening(flow) not in expected.loose)
                    for flows in (output.flow_records, expected.flows))
    lacking, unexpected = mine - theirs, theirs - mine
    if "told_resolution" in gaps:
        lacking, unexpected = without_same_names(lacking, unexpected)
    for flow in lacking:
        problems.append("flow expected: " + "  ".join(flow))
    for flow in unexpected:
        problems.append("flow unexpected: " + "  ".join(flow))
    return sorted(problems)


def holds_any(window, numbers):
    """Whether any of these ten seconds, by number, is in the window."""
    length, start, _ = window
    return length >= 10_000 and any(start <= number * 10 * S < start + length * MS for number in numbers)


def is_amended(expected, window):
    """Whether labels of what is in that window changed later. What began before the window may have been moved too."""
    return holds_any(window, expected.amended)


def without_samples(row):
    out = Row()
    out.counters = {counter: value for counter, value in row.counters.items() if counter not in SAMPLES}
    return out


def suspect_panes(output):
    """(edge, pane) in which panes of parts are told, by the panes of edges, which are compared themselves."""
    panes = set()
    for key, (counters, *_) in output.rows.items():
        window, start, scope, edge = key.split("|", 3)
        if window == "250" and scope == "0" and not SUSPECTS.isdisjoint(parsed(counters)):
            panes.update((edge, int(start) // PANE + later) for later in range(SUSPECT_PANES + 1))
    return panes


def is_told(suspects, key):
    window, start, scope, rest = key.split("|", 3)
    return window != "250" or scope == "0" or ("|".join(rest.split("|")[:4]) + "|", int(start) // PANE) in suspects


def compare_rows(expected, output, gaps):
    problems = []
    left = collections.defaultdict(list)  # (window, start, scope) -> residues of rows
    mine_all = expected.rows
    if PARTS_OF_SUSPECTS:
        suspects = suspect_panes(output)
        problems += [f"row of no suspect: {key}" for key in output.rows if not is_told(suspects, key)]
        mine_all = {key: row for key, row in mine_all.items() if is_told(suspects, key)}
    for key, (counters, connect, srtt, _) in output.rows.items():
        window, start, scope, _ = key.split("|", 3)
        cloud = (int(window), int(start), int(scope))
        mine = mine_all.get(key)
        if mine and cloud not in expected.clouds and counters == written(mine.counters) and \
                connect == written_sketch(mine.connect) and srtt == written_sketch(mine.srtt):
            continue
        theirs = parsed(counters)
        connect, srtt = parsed_sketch(connect), parsed_sketch(srtt)
        if "amended_samples" in gaps and is_amended(expected, cloud):
            theirs = {counter: value for counter, value in theirs.items() if counter not in SAMPLES}
            mine = mine and without_samples(mine)
            connect = srtt = {}
        if cloud in expected.clouds:
            left[cloud].append((key, mine, theirs, connect, srtt))
            continue
        if mine is None:
            if any(theirs.values()) or any(connect.values()) or any(srtt.values()):
                problems.append(f"row unexpected: {key}: {named(theirs)}")
            continue
        problems += compare_row(key, mine, theirs, connect, srtt)
    for key, mine in mine_all.items():
        if key in output.rows:
            continue
        if "amended_samples" in gaps and is_amended(expected, tuple(map(int, key.split("|", 3)[:3]))):
            mine = without_samples(mine)
        if any(mine.counters.values()):
            problems.append(f"row expected: {key}: {named(mine.counters)}")
    if "amended_samples" in gaps:
        problems += compare_samples(expected, output, mine_all)
    for cloud, deltas in expected.clouds.items():
        without = SAMPLES if "amended_samples" in gaps and is_amended(expected, cloud) else ()
        problems += compare_cloud(cloud, deltas, left[cloud], without)
    return problems


def compare_samples(expected, output, mine_all):
    """In windows of which something was amended: no sample is lost or doubled, wherever it stands. Who spoke as a
    server told no connect time then."""
    windows = collections.defaultdict(lambda: (collections.Counter(), {}, {}, [], []))
    for key, (counters, *sketches) in output.rows.items():
        left, *cells, _, _ = windows[tuple(map(int, key.split("|", 3)[:3]))]
        left.update(parsed(counters))
        for sum_, sketch in zip(cells, sketches):
            added(sum_, parsed_sketch(sketch))
    for key, row in mine_all.items():
        left, _, _, connect, srtt = windows[tuple(map(int, key.split("|", 3)[:3]))]
        left.subtract(row.counters)
        connect += row.connect
        srtt += row.srtt
    problems = []
    for window, (left, *cells, connect, srtt) in windows.items():
        if not is_amended(expected, window) or window in expected.clouds or holds_any(window, expected.turned):
            continue
        differing = {counter: left[counter] for counter in OWN_SAMPLES if left[counter]}
        if differing:
            problems.append(f"window {window}: samples beyond those expected: {named(differing)}")
        for name, values, sum_ in zip(("connect", "srtt"), (connect, srtt), cells):
            if not same_sketch(values, sum_):
                problems.append(f"window {window}: {name} sketches are {sum_}, expected {sorted(values)}")
    return problems


def compare_row(key, mine, theirs, connect, srtt):
    problems = []
    for counter in set(mine.counters) | set(theirs):
        a, b = mine.counters.get(counter, 0), theirs.get(counter, 0)
        if a != b:
            problems.append(f"row {key}: {COUNTERS[counter]} is {b}, expected {a}")
    for name, values, cells in (("connect", mine.connect, connect), ("srtt", mine.srtt, srtt)):
        cells = {index: count for index, count in cells.items() if count}
        wanted = collections.Counter(sketch_index(value) for value in values)
        if cells != wanted and not same_sketch(values, cells):
            problems.append(f"row {key}: {name} sketch is {cells}, expected {dict(wanted)}")
    return problems


def compare_cloud(cloud, deltas, residues, without):
    """Certain parts are there in full, and what is left over adds up to what was provisional."""
    problems, over = [], {}
    for key, mine, theirs, connect, srtt in residues:
        rest = dict(theirs)
        if mine:
            for counter, value in mine.counters.items():
                rest[counter] = rest.get(counter, 0) - value
        negative = {counter: value for counter, value in rest.items() if value < 0}
        if negative:
            problems.append(f"row {key}: less than what is certain: {named(negative)}")
        added(over, rest)
    wanted, most, turned = {}, {ACTIVE: len(deltas)}, False
    for own, counted, one_turned in deltas:
        turned |= one_turned
        for counter, value in own:
            wanted[counter] = wanted.get(counter, 0) + value
        for counter, value in counted:
            most[counter] = most.get(counter, 0) + value
            if counter == OPENED:
                most[JOINED] = most.get(JOINED, 0) + value
    if not turned and cloud[2] == EDGE:
        above = {counter: value for counter, value in over.items()
                 if counter not in wanted and counter not in OWN_COLUMNS and value > most.get(counter, 0)}
        if above:
            problems.append(f"window {cloud}: more than the provisional deltas can give: {named(above)}")
    sums = [(counter,) for counter in OWN_COLUMNS] if cloud[2] == EDGE else []
    if cloud[2] == EDGE or not PARTS_OF_SUSPECTS or cloud[0] != 250:
        sums += [(CONNECT_US,), (CONNECT_COUNT,)]
    if turned:  # it spoke as the other end
        sums = [BYTES, AGAINS, (AGENT_RECEIVED,), (AGENT_ISSUED,)] if cloud[2] == EDGE else []
    for counters in sums:
        if counters[0] in without:
            continue
        is_, expected = (sum(one.get(counter, 0) for counter in counters) for one in (over, wanted))
        if is_ != expected:
            names = " + ".join(COUNTERS[counter] for counter in counters)
            problems.append(f"window {cloud}: {names} of provisional deltas is {is_}, expected {expected}")
    return problems
