"""Runs the steps of a check one after the other, with timings; a step's error becomes its result."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.broker.connection import CONNECTION_ERRORS, as_config_error, innermost, say_what_ended
from daemon.views.findings import Finding, distinct
from lockstore.errors import ConfigError, LockstoreError

__all__ = ["CheckResult", "Failure", "Result", "Step", "Steps"]

_SAID_MOST = 3  # findings of one step that are listed
STEP_S = 10.0
"""The timeout of a step."""

Result = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a step, and the remedy. `skip`: there was nothing to check."""

    result: Result
    said: str
    remedy: str | None = None
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[Finding], well: str, more: str = "") -> "CheckResult":
        """Combine findings, the worst first; `well` is the message without findings, `more` is appended to findings."""
        found = distinct(findings)
        if not found:
            return cls("ok", well)
        parts = [f"{finding.subject}: {finding.message}" for finding in found[:_SAID_MOST]]
        if len(found) > _SAID_MOST:
            parts.append(f"and {len(found) - _SAID_MOST:,} more: lockstore status")
        said = "; ".join([*parts, more] if more else parts)
        return cls("fail" if found[0].severity == "error" else "warn", said, found[0].remedy, found)


class Failure(LockstoreError):  # noqa: N818 - the failure of a step, not an error of the check
    """Raised by a step that has found a problem. The message describes it, `remedy` is what to do."""

    def __init__(self, said: str, remedy: str) -> None:
        super().__init__(said)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its result; `took_ms` is None if it took no time."""

    name: str
    verdict: CheckResult
    took_ms: float | None = None


@dataclass
class Steps:
    """The steps so far. `begun` is called with the name of each before it runs."""

    begun: Callable[[str], None] = lambda _: None
    taken: list[Step] = field(default_factory=list)

    def note(self, name: str, verdict: CheckResult, took_ms: float | None = None) -> None:
        """Add a result that required no work."""
        self.taken.append(Step(name, verdict, took_ms))

    async def take(
        self, name: str, work: Coroutine[Any, Any, CheckResult], remedy: str, limit_s: float | None = STEP_S
    ) -> bool:
        """Run a step, and return whether the check can continue. `remedy`: for failures without their own.

        `limit_s`: seconds; None: the step has its own timeouts.
        """
        self.begun(name)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                verdict = await work
        except TimeoutError:
            verdict = CheckResult("fail", f"no answer within {limit_s or STEP_S:g} s", remedy)
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
