"""The anomaly stage against generated faults: what it finds, names and tells falsely stays as good as it was."""

import json
import os
import subprocess
import sys

BENCH = os.environ["MILLRACE_BUILD"] + "/bin/bench-detection"
# Below what was measured, by what two seeds scatter.
FLOORS = {"recall": 0.8, "precision": 0.9, "domain_top1": 0.8}
CEILINGS = {"incidents_per_fault": 1.2, "false_week": 1}


def figures(jobs):
    run = subprocess.run([BENCH, "--json", "--seeds", "2", "--weeks", "1", "--week-hours", "2", "--jobs", str(jobs)],
                         check=True, capture_output=True, text=True)
    found = json.loads(run.stdout)
    for measured in ("ns_per_point", "seconds"):
        del found[measured]
    return found


def main():
    first = figures(2)
    print({name: first[name] for name in [*FLOORS, *CEILINGS]})
    problems = [f"{name} is {first[name]}, below {floor}" for name, floor in FLOORS.items() if first[name] < floor]
    problems += [f"{name} is {first[name]}, above {most}" for name, most in CEILINGS.items() if first[name] > most]
    if figures(1) != first:
        problems.append("another number of processes gives other figures")
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
