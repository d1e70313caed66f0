"""Data: stores of recorded episodes, the windows cut from them, and the order in which they are drawn."""
