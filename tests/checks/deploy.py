#!/usr/bin/python3
"""What deploy/ ships works: the configurations are accepted by the program that they are for, with their commented
parts too, the units hand over every file that these name and only root may read, systemd takes the units and finds them
no more exposed than they were, and the role for a cluster grants to read what is watched there and nothing else."""

import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import docs
import source

CONFIG = {"deploy/config/millraced.yaml": "millraced", "deploy/config/agent.yaml": "millrace-agent"}
HANDED = {"deploy/config/millraced.yaml": "deploy/systemd/millraced.service",
          "deploy/config/agent.yaml": "deploy/systemd/millrace-agent.service"}  # who hands over what is named where
UNITS = {"deploy/systemd/millraced.service": 15, "deploy/systemd/millrace-agent.service": 25}  # exposure in tenths
ROLE, WATCHED = "deploy/kubernetes/rbac.yaml", "kube/reflector.c"
SETTING = re.compile(r"^( *)# ?( *(?:- )?[a-z_.]+:(?: .*)?)$", re.M)


def uncommented(text):
    """Settings that stand in comments, switched on; prose stays a comment."""
    return SETTING.sub(lambda match: match[1] + match[2] if re.match(r" *(- )?[a-z_.]+:($| [^a-z]| \S+$)", match[2])
                       else match[0], text)


def refusals(path, name, text):
    for whole in (text, uncommented(text)):
        refused = docs.refusal(path, whole)
        if refused:
            yield f"{name}: {path.name} refuses it: {refused}"


def not_handed_over(config, text, unit, unit_text):
    """A unit's user may read neither the configuration nor the secrets that root alone may: lines of the unit, those in
    comments too, name them."""
    handed = set(re.findall(r"^#?LoadCredential=([^:\n]+):", unit_text, re.M))
    own = pathlib.Path(config).name
    if own not in handed or f"--config %d/{own}" not in unit_text:
        yield f"{unit}: does not hand over {own}"
    for path in re.findall(r"_file: (\S+)", text):
        if not path.startswith("${CREDENTIALS_DIRECTORY}/"):
            yield f"{config}: {path} cannot be read by the unit's user"
    for name in re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(\S+)", text):
        if name not in handed:
            yield f"{unit}: does not hand over {name}, which {config} names"


def verified(root, name):
    """systemd's complaints, about all but the programs that are not installed here."""
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", root / name], capture_output=True, text=True)
    for line in result.stderr.splitlines():
        if pathlib.Path(name).name in line and "is not executable: No such file" not in line:
            yield f"{name}: {line}"


def exposure(root, name, limit):
    result = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={limit}",
                             root / name], capture_output=True, text=True)
    if result.returncode:
        yield f"{name}: {(result.stdout.splitlines() or [result.stderr])[-1]}, at most {limit / 10} is wanted"


def granted(text):
    """(group, resource) of all rules; a rule of another form is a problem of its own."""
    rule = r"  - apiGroups: \[(.*)\]\n    resources: \[(.*)\]\n    verbs: \[get, list, watch\]\n"
    rules = re.findall(rule, text)
    wrong = re.sub(rule, "", text)
    return ({(group.strip('"'), resource) for group, resources in rules for resource in resources.split(", ")},
            re.findall(r"verbs:.*|resourceNames:.*|nonResourceURLs:.*", wrong))


def role_problems(root):
    grants, wrong = granted((root / ROLE).read_text())
    watched = {(group.split("/")[2] if group.startswith("/apis") else "", name) for name, group in
               re.findall(r'\{"(\w+)", "(/apis?/[^"]+)/\w+"\}', (source.ROOT / WATCHED).read_text())}
    for group, resource in sorted(watched - grants):
        yield f"{ROLE}: {resource} of {group or 'the core'} are watched and may not be read"
    for group, resource in sorted(grants - watched):
        yield f"{ROLE}: {resource} of {group or 'the core'} may be read and are not watched"
    for line in wrong:
        yield f"{ROLE}: grants more than to read: {line}"


def problems(root):
    found = list(role_problems(root)) if (root / ROLE).exists() else []
    for name, program in CONFIG.items():
        path = docs.program(source.ROOT, program)
        if path and (root / name).exists():
            found += list(refusals(path, name, (root / name).read_text()))
    for name, unit in HANDED.items():
        if (root / name).exists() and (root / unit).exists():
            found += list(not_handed_over(name, (root / name).read_text(), unit, (root / unit).read_text()))
    for name, limit in UNITS.items():
        if (root / name).exists():
            found += list(verified(root, name)) + list(exposure(root, name, limit))
    return found


RULES = (source.ROOT / ROLE).read_text()
UNIT = (source.ROOT / "deploy/systemd/millraced.service").read_text()
CONFIGURED = (source.ROOT / "deploy/config/millraced.yaml").read_text()
GOOD = {"deploy/systemd/millraced.service": UNIT, "deploy/config/millraced.yaml": CONFIGURED, ROLE: RULES}
FAULTS = [({"deploy/systemd/millraced.service": UNIT.replace("RestartSec", "RestartSecs")}, "RestartSecs"),
          ({"deploy/systemd/millraced.service": UNIT.replace("CapabilityBoundingSet=\n", "")}, "at most 1.5 is wanted"),
          ({"deploy/systemd/millraced.service": UNIT.replace("%d/", "/etc/millrace/")}, "does not hand over millraced.yaml"),
          ({"deploy/systemd/millraced.service": UNIT.replace("=slack-url:", "=slack:")}, "hand over slack-url"),
          ({"deploy/config/millraced.yaml": CONFIGURED.replace("url_file: ${CREDENTIALS_DIRECTORY}", "url_file: /etc")},
           "cannot be read by the unit's user"),
          ({ROLE: RULES.replace("[jobs]", "[jobs, secrets]")}, "secrets of batch may be read and are not watched"),
          ({ROLE: RULES.replace("nodes, ", "")}, "nodes of the core are watched and may not be read"),
          ({ROLE: RULES.replace("list, watch", "list, watch, delete", 1)}, "grants more than to read")]
if docs.program(source.ROOT, "millraced"):
    FAULTS.append(({"deploy/config/millraced.yaml": "kafka:\n  broker: [a]\n"}, "refuses it"))

if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        source.skip("systemd-analyze is not installed")
    source.run(problems, GOOD, FAULTS)
