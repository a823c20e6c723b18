"""How long a change takes until every worker of an edge has it, and whether they all answer by it then."""
