"""Retirement as customers meet it: impact, notices, rewritten calls, rehearsal. The rules stand in ``tenants/deprecations``."""
