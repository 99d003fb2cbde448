"""The ledger of what was used: from the usage streams to SQL, the sums of it, and reports."""
