"""RabbitMQ's part in the balance, as a model: lines of consumers before queues, and words that may get lost."""

import random
from dataclasses import dataclass, field

from daemon.cluster.fair_share import FairShare
from daemon.serving.rebalancer import LOOK_S, SAY_S

LOST_IN_A_ROW = 2  # words from one daemon to another


@dataclass
class Daemon:
    """One daemon: a real `FairShare`, and what it was given."""

    name: str
    speaks: bool = True
    busy_since: dict[int, float] = field(default_factory=dict)
    said: frozenset[int] | None = None
    said_at: float = -SAY_S
    lost: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.balance = FairShare(self.name)


class Fleet:
    """Daemons in line before the busy queues; the first of each line is the active one."""

    def __init__(self, busy: int, loss: float, seed: int) -> None:
        self.now = 0.0
        self.daemons: dict[str, Daemon] = {}
        self.lines: dict[int, list[str]] = {number: [] for number in range(busy)}
        self.steps: list[tuple[float, str, int]] = []
        self._loss = loss
        self._random = random.Random(seed)
        self._on_the_way: list[tuple[float, str, str, frozenset[int] | None]] = []

    def start(self, *, speaks: bool = True) -> None:
        daemon = Daemon(f"{self._random.random():.9f}", speaks)
        self.daemons[daemon.name] = daemon
        for line in self.lines.values():
            line.append(daemon.name)

    def end(self, name: str, *, says_so: bool) -> None:
        daemon = self.daemons.pop(name)
        for line in self.lines.values():
            line.remove(name)
        if says_so and daemon.speaks:
            self._tell(daemon, None)

    def load(self, number: int) -> None:
        """Make a queue busy that nobody had work from."""
        self.lines[number] = [*self.daemons]
        self._random.shuffle(self.lines[number])

    def unload(self, number: int) -> None:
        self.lines.pop(number, None)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self._deliver()
            names = [*self.daemons]
            self._random.shuffle(names)
            for name in names:
                self._look(self.daemons[name])

    def counts(self) -> dict[str, int]:
        """Give how many busy partitions each daemon is active on."""
        active = [line[0] for line in self.lines.values() if line]
        return {name: active.count(name) for name in self.daemons}

    def _look(self, daemon: Daemon) -> None:
        mine = {number for number, line in self.lines.items() if line and line[0] == daemon.name}
        # What it was given since the last look is noticed at this one.
        daemon.busy_since = {number: daemon.busy_since.get(number, self.now) for number in mine}
        if not daemon.speaks:
            return
        chosen = daemon.balance.choose(daemon.busy_since, self.now)
        word = frozenset(mine - {chosen})
        if word != daemon.said or self.now - daemon.said_at >= SAY_S:
            self._tell(daemon, word)
            daemon.said, daemon.said_at = word, self.now
        if chosen is not None:
            assert chosen in mine
            self.steps.append((self.now, daemon.name, chosen))
            line = self.lines[chosen]
            line.append(line.pop(0))
            del daemon.busy_since[chosen]

    def _tell(self, daemon: Daemon, word: frozenset[int] | None) -> None:
        for other in self.daemons:
            if other == daemon.name:
                continue
            if self._random.random() < self._loss and daemon.lost.get(other, 0) < LOST_IN_A_ROW:
                daemon.lost[other] = daemon.lost.get(other, 0) + 1
                continue
            daemon.lost[other] = 0
            self._on_the_way.append((self.now + self._random.choice([0, 0.01, LOOK_S]), daemon.name, other, word))

    def _deliver(self) -> None:
        arriving = [item for item in self._on_the_way if item[0] <= self.now]
        self._on_the_way = [item for item in self._on_the_way if item[0] > self.now]
        for _, sender, receiver, word in arriving:
            daemon = self.daemons.get(receiver)
            if daemon is None or not daemon.speaks:
                continue
            if word is None:
                daemon.balance.ended(sender, self.now)
            else:
                daemon.balance.heard(sender, word, self.now)
