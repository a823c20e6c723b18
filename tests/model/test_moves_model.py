"""The protocol of moves holds in every state that it can reach, and each of its rules is needed."""
