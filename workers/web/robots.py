"""What a host's robots.txt lets us visit (RFC 9309)."""

import re
from dataclasses import dataclass

from protego import Protego

LARGEST = 500 << 10  # bytes of a robots.txt that are read, as the RFC has it

AGENT = re.compile(r"\s*user[\s-]*agent(?:\s*:|\s)\s*(.*)", re.IGNORECASE)
OTHERS = "other robots"


@dataclass(frozen=True)
class Robots:
    """The rules of one origin (scheme, host and port) for the robot that we are."""

    rules: Protego
    robot: str
    # Why the file could not be had: an outcome, and then nothing may be visited.
    missing: str = ""

    @classmethod
    def of(cls, robot: str, status: int, body: bytes = b"", missing: str = "") -> "Robots":
        """Return what an answer to /robots.txt means.

        Without a file (3xx to nowhere, 4xx) all is allowed; while the server fails (5xx), nothing.
        """
        text = "User-agent: *\nDisallow: /" if status >= 500 else ""
        if 200 <= status < 300:
            text = concerning(robot, body.decode("utf-8", "replace").removeprefix("\ufeff"))
        return cls(Protego.parse(text), robot, missing)

    def allows(self, url: str) -> bool:
        """Tell whether we may visit a URL of this origin."""
        return self.rules.can_fetch(url, self.robot)

    @property
    def delay_seconds(self) -> float:
        """The pause between requests that the file asks of us; 0 where it asks for none."""
        return self.rules.crawl_delay(self.robot) or 0.0


def robot_of(user_agent: str) -> str:
    """Return the name that robots.txt files know us by: the product in a User-Agent, or ""."""
    found = re.search(r"compatible;\s*([a-z_-]+)", user_agent, re.IGNORECASE) or re.match(
        r"([a-z_-]+)", user_agent, re.IGNORECASE
    )
    return found[1] if found else ""


def concerning(robot: str, text: str) -> str:
    """Return a robots.txt in which all robots but `*` and ours have one and the same name.

    Protego keeps each rule of a group once for each of its robots: 500 kB that named 15,000 of
    them above 15,000 rules took 15 GB and nine minutes.
    """
    lines = []
    for line in text.splitlines():
        if named := AGENT.match(line):
            name = named[1].partition("#")[0].strip()
            is_ours = name.partition("/")[0].strip("* ").lower() == robot.lower()
            line = f"User-agent: {robot if is_ours else '*' if name == '*' else OTHERS}"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines)
