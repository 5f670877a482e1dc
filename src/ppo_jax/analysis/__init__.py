"""The analyst: reads what a run wrote, says what is wrong with it and what to change. It never trains."""
