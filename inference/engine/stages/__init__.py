"""What happens to the calls of a wave, stage by stage: lookup → admission → dispatch → completion. Plain functions over groups
of calls, on the event loop; each hands on to the next one what it does not end."""
