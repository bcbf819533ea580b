"""What follows a failure: ladders, the context window, searches and budgets."""
