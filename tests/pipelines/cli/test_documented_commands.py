"""Every `fanfold` command that a document shows, run as it stands there.

docs/your-own-asset.md and docs/deploy.md are typed whole by tests of their own.
"""

import re
import shlex

from tests.conftest import PROJECT
from tests.support.pipeline import event

TYPED = {"your-own-asset.md", "deploy.md"}
DOCUMENTS = [
    PROJECT / "README.md",
    *(path for path in sorted((PROJECT / "docs").glob("*.md")) if path.name not in TYPED),
]
# What other tests start and stop: servers of their own, workers, data from afar.
ELSEWHERE = ("demo", "down", "sample", "worker")
# A reader puts his own in their place.
PLACEHOLDERS = {
    "ASSET": "user_profiles",
    "P": "1998-04-01",
    "TEXT": "user",
    "WHY": "why",
    "user_profiles 405": "user_profiles ann",
}
DAYS = ("1998-04-01", "1998-04-02", "2026-01-31")


def commands():
    """Return the commands in the order in which documents show them, each once."""
    shown = []
    for document in DOCUMENTS:
        text = document.read_text()
        shown += re.findall(r"^(?: {4})(fanfold .+)$|`(fanfold [^`\n]+)`", text, re.MULTILINE)
    lines = ((line or inline).split("#")[0].strip() for line, inline in shown)
    return list(dict.fromkeys(line for line in lines if line.split()[1] not in ELSEWHERE))


def typed(line):
    """Return the words of a command as a reader types them."""
    for placeholder, own in PLACEHOLDERS.items():
        line = re.sub(rf"(?<= ){placeholder}(?= |$)", own, line)
    _, *words = shlex.split(line)
    is_name = len(words) == 1 and words[0] not in ("up", "env", "status", "clean")
    return [*words, "--help"] if is_name or words[1:] == ["--json"] else words


def test_every_command_of_the_documents_runs_as_it_stands_there(pipeline, fanfold):
    for day in DAYS:
        pipeline.put([event("ann", item=str(n)) for n in range(30)] + [{"action": "like"}], day)

    codes = {line: fanfold(*typed(line)) for line in commands()}
    failed = {line: (code, out, err) for line, (code, out, err) in codes.items() if code}
    assert not failed, failed
