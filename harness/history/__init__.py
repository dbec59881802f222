"""Judge a recorded history: what was published, and what was heard of it.

The history is values only, and the judgement is pure: nothing here runs, waits, or asks the time. What counts as lawful is
docs/protocol.md and docs/guarantees.md. An event may be announced again under its message id; an answer may be given anew,
with the state of that moment; replies and public copies may arrive in any order. So what is judged is the store's own time
(`at`), and of the order of arrival nothing.
"""

from harness.history.faults import Fault, FaultKind
from harness.history.judge import Verdict, judge
from harness.history.records import ENDS, PUBLIC, Heard, History, Published

__all__ = ["ENDS", "PUBLIC", "Fault", "FaultKind", "Heard", "History", "Published", "Verdict", "judge"]
