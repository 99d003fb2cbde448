"""The launcher behind ``make run``: checks the machine, then starts, keeps and drains every process."""
