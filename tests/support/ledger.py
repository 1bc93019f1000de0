"""Whether a running millraced can account for every event: the loss ledger of each agent and of all (base/ledger.h), and
that of what leaves it. Whatever a test was about, this holds at its end.

    ledger.check(get)   get(path) gives (status, text); raises Unbalanced with all that is wrong

Millraced.stop() asks it, so a test that starts millraced has it without a word.
"""

import json
import re
import time

WITHIN_S = 20  # for what is on its way between two threads
ASK_EVERY_S = 0.05
AGENTS = "/api/v1/agents?view=loss&limit=10000"
TERMS = ("issued", "received", "lost", "lost_spool", "duplicate", "quarantined", "refused", "late", "pending", "aggregated",
         "dropped_ring", "dropped_netlink")
METRICS = {name: f"millrace_events_{name}_total" for name in TERMS[:10] if name not in ("lost_spool", "pending")}
METRICS["pending"] = "millrace_events_pending"
METRICS.update((name, f'millrace_agents_dropped_total{{place="{place}"}}')
               for name, place in (("lost_spool", "spool"), ("dropped_ring", "ring"), ("dropped_netlink", "netlink")))
BACKWARDS = 2**63  # a term beyond this was below zero


class Unbalanced(AssertionError):
    pass


def numbers(text):
    """{"name{labels}": value} of a page of metrics."""
    return {name: float(value) for name, value in re.findall(r"^([a-z_0-9]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}


def faults_of_one(name, ledger):
    """The two equations, made anew here, and what a number of events can be."""
    apart = ledger["issued"] - (ledger["received"] - ledger["duplicate"] - ledger["quarantined"] + ledger["lost"])
    if apart:
        yield f"{name}: issued is {apart:+d} from received - duplicate - quarantined + lost"
    apart = ledger["received"] - sum(ledger[term] for term in ("aggregated", "pending", "late", "duplicate", "quarantined",
                                                               "refused"))
    if apart:
        yield f"{name}: received is {apart:+d} from aggregated + pending + late + duplicate + quarantined + refused"
    if ledger["unexplained"]:
        yield f"{name}: millraced says that {ledger['unexplained']} are unexplained"
    for term in TERMS:
        if ledger[term] >= BACKWARDS:
            yield f"{name}: {term} is below zero: {ledger[term] - 2**64}"
    if ledger["lost_spool"] > ledger["lost"]:
        yield f"{name}: the spool lost {ledger['lost_spool']}, more than the {ledger['lost']} that are missing"
    for term in ("completeness_1m", "completeness_1h"):
        if not 0 <= ledger[term] <= 1:
            yield f"{name}: {term} is {ledger[term]}"


def faults(answer, metrics):
    """Sentences; none when every event is accounted for. answer: of AGENTS; metrics: as numbers()."""
    for agent in answer["agents"]:
        yield from faults_of_one(agent["node"], agent["ledger"])
    yield from faults_of_one("all", answer["total"])
    yield from faults_of_one("others", answer["others"])
    if not answer["agents_left_out"]:
        for term in TERMS:
            parts = sum(one["ledger"][term] for one in answer["agents"]) + answer["others"][term]
            if parts != answer["total"][term]:
                yield f"{term}: {parts} of agents and others, {answer['total'][term]} of all"
    for term, name in METRICS.items():
        if metrics[name] != answer["total"][term]:
            yield f"{term}: {answer['total'][term]} in the API, {metrics[name]:.0f} in {name}"
    if metrics["millrace_events_unexplained"]:
        yield f"millrace_events_unexplained is {metrics['millrace_events_unexplained']:.0f}"
    if metrics["millrace_outputs_differing"]:
        yield f"{metrics['millrace_outputs_differing']:.0f} tasks told something else in an earlier life"
    sent, merged = metrics["millrace_partial_rows_total"], metrics["millrace_partial_rows_merged_total"]
    if sent != merged:
        yield f"{sent:.0f} partial rows were sent to their owners, {merged:.0f} came"
    written = metrics["millrace_outputs_total"]
    ends = [metrics[f"millrace_outputs_{end}"] for end in ("delivered_total", "failed_total", "waiting")]
    if written != sum(ends):
        yield f"{written:.0f} records were written, {ends[0]:.0f} delivered, {ends[1]:.0f} failed, {ends[2]:.0f} wait"


def ask(get):
    status, text = get(AGENTS)
    if status != 200:
        return [f"{AGENTS} answers {status}: {text[:500]}"]
    answer = json.loads(text)
    status, text = get("/metrics")
    return list(faults(answer, numbers(text))) if status == 200 else [f"/metrics answers {status}"]


def check(get, within_s=None):
    """The API and the metrics are of different moments, and so are two tasks: what is no fault of the books is gone soon."""
    deadline = time.monotonic() + (WITHIN_S if within_s is None else within_s)
    while found := ask(get):
        if time.monotonic() > deadline:
            raise Unbalanced("the ledger does not balance:\n" + "\n".join(found))
        time.sleep(ASK_EVERY_S)
