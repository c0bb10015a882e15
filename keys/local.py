"""An HSM of this process: the shared commands over a workshop and a keystore. software.py and pkcs11.py differ below it alone.

One thread, or calls that never overlap: tools are shared. Refuses to know where key bytes are. Read next: lifecycle.py,
pin_commands.py, card_commands.py, data_commands.py (the commands), toolbox.py (permissions), workshop.py (the seam).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from keys.card_commands import CardOperations
from keys.data_commands import DataOperations
from keys.envelope import Raw
from keys.lifecycle import Lifecycle
from keys.pin_commands import PinOperations
from keys.toolbox import Refusal, Toolbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.keystore import Keystore
    from keys.workshop import Workshop


class LocalHsm(Lifecycle[Raw], PinOperations[Raw], CardOperations[Raw], DataOperations[Raw]):
    """All commands of hsm.Hsm. STORE is None for keys that go with the process; ON_REFUSAL hears of every refused use."""

    def __init__(
        self,
        workshop: Workshop[Raw],
        store: Keystore[Raw] | None,
        *,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> None:
        tools: Toolbox[Raw] = Toolbox(today or _today, on_refusal, workshop.let_go)
        PinOperations.__init__(self, tools, workshop)
        CardOperations.__init__(self, tools, workshop)
        DataOperations.__init__(self, tools, workshop)
        Lifecycle.__init__(self, tools, workshop, store)


def _today() -> date:
    return datetime.now(UTC).date()
