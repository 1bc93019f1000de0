"""summary.py STATUS JUNIT...: add up what ctest recorded, name the failures, close with one line of counts.

A test that stands in a later file too was tried again, and the later word counts; what passed only then is named.
The exit code is 0 only if STATUS is 0, nothing failed and something ran: a run without tests is no success.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def outcome(case):
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def main(status, paths):
    outcomes, unsteady = {}, []
    for path in paths:
        if pathlib.Path(path).exists():
            for case in xml.parse(path).getroot().iter("testcase"):
                name = case.get("name")
                if outcomes.get(name) == "failed" and outcome(case) == "passed":
                    unsteady.append(name)
                outcomes[name] = outcome(case)
    names = {kind: [name for name in outcomes if outcomes[name] == kind] for kind in ("passed", "failed", "skipped")}
    if status != 0 and not names["failed"]:
        names["failed"].append("the build")  # it broke before any test could say so
    print()
    for name in unsteady:
        print(f"passed only when tried again: {name}")
    for kind in ("skipped", "failed"):
        for name in names[kind]:
            print(f"{kind}: {name}")
    print(", ".join(f"{len(names[kind])} {kind}" for kind in ("passed", "failed", "skipped")))
    return 0 if status == 0 and not names["failed"] and names["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
