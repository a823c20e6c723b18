"""Moves: bringing links to other shards while edges go on answering. Tables: moves, move_events.

A move takes the topology from one steady ring to another. It is a saga: a row says in which phase it is, and each phase
is done as often as it takes.

- `steps.py` is the protocol, as a table: phases, the topology that is in force in each, what each waits for and does.
- `plan.py` says what a move would do, or why it cannot; `documents.py` makes the topologies and the arcs that move.
- `service.py` is for operators: it plans (`candidate.py` looks at a server that is to become a shard), starts, and sets
  flags in the row.
- `api.py` and `commands.py` are how operators reach it; `view.py` and `sheets.py` what they are shown, `following.py` a
  move as it goes.
- `tasks.py` finds a move to drive, and `driver.py` drives it, in one control process at a time: `observation.py` looks,
  `barrier.py` decides what still has to be waited for, `labour.py` calls the work of a phase, `entering.py` is what
  else changes with a phase.
- `work.py` is what a work is given and gives back. `carry.py` copies, `verify.py` compares, `clean.py` removes, all as
  fast as `throttle.py` lets them.

The protocol, with the diagram, is in docs/moves.md; why it is as it is, in docs/adr/0012-moves.md.

Invariants:
- every ring that a live edge may read is written (I6): `steps.py` has what that means, and its tests walk every path;
- one move at a time, which starts from the topology in force and alone changes it until it has ended;
- a topology is put in force under the lock of the placement, in the transaction that changes the phase: no batch of a
  projector writes by an older one after that;
- the row changes only in the hands of the driver with the newest token, or, its flags, by the service. What a phase
  does comes before the transaction that ends it and can be done again, so a driver may end at any instant;
- what the move could not remove is said in `work.leftovers`, on the metrics, and in its history.
"""
