"""The protocol of moves as a small executable model, explored exhaustively."""
