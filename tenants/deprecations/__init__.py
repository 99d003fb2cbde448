"""How versions retire: schedules, their rules at a moment in time, and the memory from which calls are judged."""
