"""Messages as their receivers show them, as SVG: Slack's Block Kit and PagerDuty's Events API v2. Pure: what is drawn comes
from the message alone. Text is measured by a table of widths, so that lines break alike whatever fonts there are, and have room in
wide ones."""

import html
import re

WIDTH, PAD = 720, 20
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
# Of an upright sans serif, in thousandths of the size; what is not here is 556.
WIDTHS = {char: width for width, chars in (
    (222, "ijl'"), (278, " ft.,:;!|/I[]()\\`"), (333, "r-*"), (500, "ckszxyvJ"), (584, "+<=>~"), (611, "FTZL"),
    (667, "ABEKPSVXY&"), (722, "CDHNRUw"), (778, "GOQ"), (833, "mM"), (889, "%"), (944, "W"), (1000, "→@"), (350, "•"))
    for char in chars}
WIDER, BOLDER = 1.17, 1.12  # DejaVu Sans, where there is nothing else
SIGNS = {"🔵": "#1d9bd1", "🟡": "#ecb22e", "🟠": "#e8912d", "🔴": "#d0342c", "✅": "#2eb67d"}
MARKS = re.compile(r"<([^|<>]+)\|([^<>]+)>|\*([^*\n]+)\*|`([^`\n]+)`")
COLORS = {"critical": "#b3261e", "error": "#d0342c", "warning": "#e8912d", "info": "#1d9bd1"}


def width(text, size, bold=False):
    return sum(WIDTHS.get(char, 556) for char in text) * size / 1000 * WIDER * (BOLDER if bold else 1)


class Run:
    """Words of one look."""

    def __init__(self, text, look=""):
        self.text, self.look = text, look

    def width(self, size):
        return width(self.text, size, self.look == "bold")


def runs_of(markup):
    """Slack's mrkdwn, as far as our messages use it."""
    at, runs = 0, []
    for match in MARKS.finditer(markup):
        runs.append(Run(html.unescape(markup[at:match.start()])))
        link, bold, code = match.group(2), match.group(3), match.group(4)
        runs.append(Run(html.unescape(link or bold or code), "link" if link else "bold" if bold else "code"))
        at = match.end()
    return [run for run in runs + [Run(html.unescape(markup[at:]))] if run.text]


def words_of(run):
    parts = re.findall(r"\S+\s*|\s+", run.text)
    for part in parts:  # what has no room in any line is broken where it is
        for at in range(0, len(part), 60):
            yield Run(part[at:at + 60], run.look)


def lines_of(runs, size, room):
    """Broken at spaces."""
    lines, line, used = [], [], 0
    for run in runs:
        for word in words_of(run):
            if line and used + Run(word.text.rstrip(), word.look).width(size) > room:
                lines.append(line)
                line, used = [], 0
            if line and line[-1].look == word.look:
                line[-1].text += word.text
            else:
                line.append(word)
            used += word.width(size)
    return lines + [line] if line else lines


class Drawing:
    def __init__(self, title):
        self.title, self.parts, self.y = title, [], 0

    def add(self, part):
        self.parts.append(part)

    def rect(self, x, y, wide, high, fill, rx=0, stroke=""):
        edge = f' stroke="{stroke}"' if stroke else ""
        self.add(f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="{rx:g}" fill="{fill}"{edge}/>')

    def text(self, x, y, size, runs, fill="#1d1c1d", bold=False):
        spans = []
        for run in runs:
            look = {"bold": ' font-weight="700"', "link": ' fill="#1264a3"',
                    "code": ' fill="#c01343" font-family="Menlo, Consolas, monospace" font-size="0.9em"'}.get(run.look, "")
            spans.append(f"<tspan{look}>{html.escape(run.text, quote=False)}</tspan>")
        weight = ' font-weight="700"' if bold else ""
        self.add(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{weight} xml:space="preserve">{"".join(spans)}</text>')

    def paragraph(self, x, y, size, markup, room, **look):
        """Returns where it ends."""
        for part in markup.split("\n"):
            for line in lines_of(runs_of(part), size, room):
                y += size * 1.45
                self.text(x, y - size * 0.38, size, line, **look)
        return y

    def plain(self, x, y, size, text, room, **look):
        for line in lines_of([Run(text, "bold" if look.get("bold") else "")], size, room):
            y += size * 1.45
            self.text(x, y - size * 0.38, size, [Run("".join(run.text for run in line))], **look)
        return y

    def sign(self, x, y, sign):
        color = SIGNS[sign]
        if sign != "✅":
            self.add(f'<circle cx="{x + 9:g}" cy="{y:g}" r="8" fill="{color}"/>')
            return
        self.rect(x + 1, y - 8, 16, 16, color, 3)
        self.add(f'<path d="M{x + 5:g} {y:g}l3 4 6-8" fill="none" stroke="#fff" stroke-width="2.2"/>')

    def svg(self, high):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high:g}" width="{WIDTH}" height="{high:g}" '
                f'font-family="{FONT}" role="img" aria-labelledby="title">')
        frame = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{high - 1:g}" rx="8" fill="#fff" stroke="#d9d9dc"/>'
        return "\n".join([head, f'<title id="title">{html.escape(self.title, quote=False)}</title>', frame, *self.parts, "</svg>"]) + "\n"


# ---- Slack ----

LEFT = 72
ROOM = WIDTH - LEFT - PAD


def slack_header(drawing, y, block):
    text = block["text"]["text"]
    x = LEFT
    if text[0] in SIGNS:
        drawing.sign(x, y + 15, text[0])
        x, text = x + 26, text[1:].lstrip()
    return drawing.plain(x, y, 18, text, WIDTH - x - PAD, bold=True) + 4


def slack_section(drawing, y, block):
    if "fields" not in block:
        return drawing.paragraph(LEFT, y, 15, block["text"]["text"], ROOM) + 8
    for at in range(0, len(block["fields"]), 2):
        y = max(drawing.paragraph(LEFT + column * ROOM / 2, y, 15, field["text"], ROOM / 2 - 12)
                for column, field in enumerate(block["fields"][at:at + 2])) + 6
    return y + 2


def slack_context(drawing, y, block):
    for element in block["elements"]:
        y = drawing.paragraph(LEFT, y, 12.5, element["text"], ROOM, fill="#616061")
    return y


def slack(message):
    drawing = Drawing(html.unescape(message["text"]))
    drawing.rect(PAD, 20, 36, 36, "#34495e", 8)
    drawing.text(PAD + 9.5, 45, 20, [Run("M")], fill="#fff", bold=True)
    drawing.text(LEFT, 33, 15, [Run("Millrace")], bold=True)
    drawing.rect(LEFT + 74, 21, 32, 15, "#e8e8e8", 3)
    drawing.text(LEFT + 79, 32.5, 10, [Run("APP")], fill="#616061", bold=True)
    y = 40
    for block in message["blocks"]:
        y = {"header": slack_header, "section": slack_section, "context": slack_context}[block["type"]](drawing, y, block)
    return drawing.svg(round(y + PAD))


# ---- PagerDuty ----


def detail(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return "\n".join(value) if isinstance(value, list) else str(value)


def pagerduty(message):
    payload, triggered = message["payload"], message["event_action"] == "trigger"
    drawing = Drawing(payload["summary"])
    color = COLORS[payload["severity"]] if triggered else "#2eb67d"
    drawing.rect(1, 1, 7, 0, color, 3)
    y = drawing.plain(PAD + 10, 14, 12, f'{"Triggered" if triggered else "Resolved"}   {payload["severity"]}   {payload["timestamp"]}',
                      WIDTH, fill=color, bold=True)
    y = drawing.plain(PAD + 10, y + 4, 18, payload["summary"], WIDTH - 2 * PAD - 10, bold=True) + 6
    rows = [(name, payload[name]) for name in ("source", "component", "group", "class") if payload.get(name)]
    rows += [("dedup key", message["dedup_key"]), ("client", message["client"])]
    y = table(drawing, y, rows)
    y = drawing.plain(PAD + 10, y + 8, 13, "Custom details", WIDTH, bold=True) + 2
    y = table(drawing, y, [(name, value) for name, value in payload["custom_details"].items() if value not in ("", [])])
    for link in message.get("links", []):
        y += 22
        drawing.text(PAD + 10, y - 4, 13, [Run(link["text"], "link")])
    drawing.parts[0] = f'<rect x="1" y="1" width="7" height="{y + PAD - 2:g}" rx="3" fill="{color}"/>'
    return drawing.svg(round(y + PAD))


def table(drawing, y, rows):
    for name, value in rows:
        top = y
        drawing.plain(PAD + 10, y, 13, name.replace("_", " "), 150, fill="#616061")
        for line in detail(value).split("\n"):
            y = drawing.plain(PAD + 180, y, 13, line, WIDTH - 2 * PAD - 180)
        y = max(y, top + 13 * 1.45) + 3
    return y


def draw(message):
    return pagerduty(message) if "event_action" in message else slack(message)
