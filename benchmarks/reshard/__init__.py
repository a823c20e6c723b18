"""Moves under load: shards are added, reweighted, removed and replaced while every answer is checked; then again while
control, the edge and shards are killed or stopped.

    load generator ──GET──▶ edge ◀── shards ◀── control ◀──PATCH, DELETE, POST── changer
          ▲                                                                         │
          ╰──────────── truth: what each link may and must be (a mapped file) ◀─────╯

    acts: start a move, strike when a phase begins (PostgreSQL says so), wait for the move's end; then `inspection`

Invariants:
- a request may be answered by what its link was at any time since it was sent, and by nothing older: `floor` is raised
  when the API has said that all edges have a change, and a request is held against the floor from before it;
- only a killed edge may break connections; no other act may cost a single request;
- after each act a whole audit finds nothing, every key lies where the ring says, and no edge is connected to a shard
  that has left.
"""
