"""Models and their versions: packages in, states, what is live, and which version answers."""
