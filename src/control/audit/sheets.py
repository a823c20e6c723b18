"""What the command of the audit prints; pure."""

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from control.audit.model import KINDS, Tally


def of_tally(tally: Tally) -> RenderableType:
    """What was looked at, and what was wrong."""
    text = f"{tally.compared} records compared, {tally.keys} keys looked through"
    if tally.skipped:
        text += f", {tally.skipped} skipped"
    if not tally.drift:
        return Text(f"{text}; nothing is wrong")
    table = Table("shard", *(Column(kind, justify="right") for kind in KINDS))
    for shard_id, found in sorted(tally.drift.items()):
        table.add_row(shard_id, *(str(found.get(kind, 0)) for kind in KINDS))
    return Group(Text(f"{text}; {tally.drifts} keys wrong, {tally.repaired} of them repaired"), table)
