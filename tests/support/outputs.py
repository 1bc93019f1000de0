"""What a pipeline wrote, record by record under its numbers, and whether that is what another wrote of the same log.

    *judged, whole = by_epoch(read(address)).values()   # pipelines that followed on one another, and who read after them
    verdict = compare(judged, whole, until_ns)          # verdict.lost, .duplicated, .mismatches

A record's number (epoch, task, sequence) stands in a header. A number that was there before is a repeat, which readers
drop: allowed, if it is the same record. Everything else must be there once, in the same order, the same to the byte. A
pipeline that followed on another under an epoch of its own goes on where that one ended.
"""

import collections
import dataclasses
import hashlib
import re
import time

import processes
import records
from google.protobuf import text_format

TOPICS = ("millrace.flows", "millrace.rollups", "millrace.alerts")
NUMBERS = {"millrace.flows": "sequence", "millrace.rollups": "sequence", "millrace.alerts": "output"}
TRIES = 20
HEAD = re.compile(rf"(\d+) (\d+) {records.NUMBER} (\d+)\n".encode())

SHOWN = 3000  # characters of a record that is not as it should be

# content: a hash; record: the bytes behind it, for who wants to see what differs.
Output = collections.namedtuple("Output", "number content end_ns record", defaults=(b"",))


@dataclasses.dataclass
class Verdict:
    records: int = 0  # of the one that is judged, without repeats
    lost: int = 0
    duplicated: int = 0
    mismatches: int = 0
    repeats: int = 0  # the same record under the same number: readers drop it
    faults: list = dataclasses.field(default_factory=list)  # sentences, the first few

    @property
    def good(self):
        return not (self.lost or self.duplicated or self.mismatches)

    def say(self, *words):
        if len(self.faults) < 20:
            self.faults.append(" ".join(map(str, words)))


def _window_end_ns(rollups):
    """Of the newest window that it closes; 0: it closes none, it amends."""
    return max((row.window_start_ns + row.window_ms * 1000000 for row in rollups.rows if not row.amendment), default=0)


def _flows_end_ns(flows):
    """When the last of its flows ended, of which both ends were seen to end."""
    return max((flow.closed_ns for flow in flows.flows
                if all(end.seen and end.closed and end.reason != "vanished" for end in (flow.client, flow.server))
                and not flow.amended), default=0)


END_NS = {"millrace.flows": _flows_end_ns, "millrace.rollups": _window_end_ns,
          "millrace.alerts": lambda alert: alert.pane_end_ns}


def _read_topic(address, topic):
    """({(epoch, task): [Output]} in the order of the log, {partition: records})."""
    noun, name = records.MESSAGES[topic]
    kind = getattr(records.module(noun), name)
    found, counts = {}, collections.Counter()
    words = ["kcat", "-q", "-C", "-e", "-b", address, "-t", topic, "-o", "beginning", "-f", "%p %o %h %S\n%s"]
    child = processes.start(words, stdout=processes.subprocess.PIPE)
    try:
        while line := child.stdout.readline():
            head = HEAD.fullmatch(line)
            assert head, f"{topic}: a record without a number: {line!r}"
            partition, _, epoch, task, number, size = map(int, head.groups())
            assert task == partition, f"{topic}: a record of task {task} in partition {partition}"
            record = kind.FromString(child.stdout.read(size))
            assert (getattr(record, NUMBERS[topic]), record.epoch) == (number, epoch), f"{topic}: {line!r}"
            record.ClearField("epoch")
            record.ClearField(NUMBERS[topic])
            written = record.SerializeToString(deterministic=True)
            content = hashlib.blake2b(written, digest_size=16).digest()
            found.setdefault((epoch, task), []).append(Output(number, content, END_NS[topic](record), written))
            counts[partition] += 1
    finally:
        processes.end(child)
    return found, counts


def read(address):
    """{topic: {(epoch, task): [Output]}} of all that there is now, whole."""
    found = {}
    for topic in TOPICS:
        for _ in range(TRIES):
            ends = records.ends(address, topic)
            found[topic], counts = _read_topic(address, topic)
            if all(counts[partition] >= end for partition, end in ends.items()):
                break
            time.sleep(1)  # a partition without a leader looks like one that was read to its end
        else:
            raise RuntimeError(f"{topic} could not be read to its end: {dict(counts)} of {ends}")
    return found


def by_epoch(found):
    """{epoch: {(topic, task): [Output]}}, the oldest pipeline first."""
    epochs = {}
    for topic, by_task in found.items():
        for (epoch, task), outputs in by_task.items():
            epochs.setdefault(epoch, {})[topic, task] = outputs
    return dict(sorted(epochs.items()))


def _text(place, written):
    """A record as people read it, on one line."""
    topic, _ = place
    noun, name = records.MESSAGES[topic]
    record = getattr(records.module(noun), name).FromString(written)
    return text_format.MessageToString(record, as_one_line=True)[:SHOWN]


def _without_repeats(place, outputs, verdict):
    """As a reader takes them: numbers that are not new are dropped."""
    kept, by_number, expected = [], {}, 0
    for output in outputs:
        if output.number < expected:
            verdict.repeats += 1
            if by_number.get(output.number, output.content) != output.content:
                verdict.mismatches += 1
                verdict.say(place, "number", output.number, "came again as another record")
            continue
        if output.number > expected:
            verdict.say(place, "numbers", expected, "to", output.number - 1, "are missing")
        by_number[output.number] = output.content
        kept.append(output)
        expected = output.number + 1
    return kept


def _compare_one(place, judged, whole, until_ns, verdict):
    """A gap in the numbers is a loss by itself; what is lost, twice or other is told by the contents."""
    kept, gaps = [], 0
    for outputs in judged:
        new = _without_repeats(place, outputs, verdict)
        gaps += new[-1].number + 1 - len(new) if new else 0
        kept += new
    verdict.records += len(kept)
    lost, have = 0, collections.Counter(output.content for output in kept)
    known = {output.content for output in whole}
    last = max((at for at, output in enumerate(whole) if have[output.content]), default=-1)
    for at, output in enumerate(whole):
        if have[output.content]:
            have[output.content] -= 1
        elif at < last or 0 < output.end_ns <= until_ns:
            lost += 1
            verdict.say(place, "lacks what stands in the other under number", output.number, _text(place, output.record))
    records_by_content = {output.content: output.record for output in kept}
    for content, more in have.items():
        if more and content in known:
            verdict.duplicated += more
            verdict.say(place, "has", more, "records twice")
        elif more:
            verdict.mismatches += more
            verdict.say(place, "has", more, "records that the other lacks", _text(place, records_by_content[content]))
    verdict.lost += max(lost, gaps)
    if not have.total() and not lost:  # the same records: are they in the same order?
        moved = sum(one.content != other.content for one, other in zip(kept, whole))
        verdict.mismatches += moved
        if moved:
            verdict.say(place, "has", moved, "records in another order")


def compare(judged, whole, until_ns=0):
    """Each {(topic, task): [Output]}, judged: a list of them, as they followed. The other may have gone on longer; what
    it tells of the time before until_ns must be in the judged, too."""
    verdict = Verdict()
    for place in sorted({place for one in [*judged, whole] for place in one}):
        _compare_one(place, [one.get(place, []) for one in judged], whole.get(place, []), until_ns, verdict)
    if not judged:
        verdict.lost = max(verdict.lost, 1)
        verdict.say("nothing was written")
    return verdict


def judge(found, until_ns=0):
    """What read() has: the newest pipeline read the log of all others, with nobody in its way."""
    *judged, whole = by_epoch(found).values() or [{}]
    return compare(judged, whole, until_ns)
