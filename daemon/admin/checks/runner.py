"""Steps of a check: one after the other, each timed; what goes wrong in one is what it has found."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.broker.connection import CONNECTION_ERRORS, as_config_error, innermost, say_what_ended
from lockstore.errors import ConfigError, LockstoreError

__all__ = ["CheckResult", "Failure", "Result", "Step", "Steps"]

STEP_S = 10.0
"""How long a step may take: what answers later is as good as away."""

Result = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a step found, and what to do about it. `skip`: there was nothing to look at."""

    result: Result
    said: str
    remedy: str | None = None


class Failure(LockstoreError):  # noqa: N818 - a step fails, and that is no error of the check's
    """Raise it in a step that has found something wrong. The message says what, `remedy` what to do."""

    def __init__(self, said: str, remedy: str) -> None:
        super().__init__(said)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Step:
    """One step with what came of it; `took_ms` is None for what needed no time."""

    name: str
    verdict: CheckResult
    took_ms: float | None = None


@dataclass
class Steps:
    """The steps so far. `begun` is told the name of each before it is taken."""

    begun: Callable[[str], None] = lambda _: None
    taken: list[Step] = field(default_factory=list)

    def note(self, name: str, verdict: CheckResult, took_ms: float | None = None) -> None:
        """Add what is known without doing anything."""
        self.taken.append(Step(name, verdict, took_ms))

    async def take(self, name: str, work: Coroutine[Any, Any, CheckResult], remedy: str) -> bool:
        """Take a step, and tell whether one may go on from there. `remedy`: for what goes wrong without one of its own."""
        self.begun(name)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(STEP_S):
                verdict = await work
        except TimeoutError:
            verdict = CheckResult("fail", f"no answer within {STEP_S:g} s", remedy)
        except (LockstoreError, BaseExceptionGroup, *CONNECTION_ERRORS) as error:
            verdict = _failed(innermost(error), remedy)
        self.note(name, verdict, (time.perf_counter() - began) * 1000)
        return verdict.result != "fail"


def _failed(error: BaseException, remedy: str) -> CheckResult:
    match error:
        case Failure():
            return CheckResult("fail", str(error), error.remedy)
        case ConfigError():
            said, _, what = str(error).partition("; ")
            return CheckResult("fail", said, what or remedy)
        case LockstoreError():
            return CheckResult("fail", str(error), remedy)
        case _ if isinstance(error, CONNECTION_ERRORS):
            fault = as_config_error(error)
            return _failed(fault, remedy) if fault is not None else CheckResult("fail", say_what_ended(error), remedy)
        case _:
            raise error
