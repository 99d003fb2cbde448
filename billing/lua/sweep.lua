#!lua flags=allow-oom
-- The clockwork's look at one tenant: ends holds whose time is over, also where no call comes any more, and drops marks.
--
-- ARGV[1]: until when marks may have been due that are dropped, in microseconds of this server's clock: the clockwork's
-- look before this one. So a mark that came due while the server stood still is kept until calls that were told "nothing
-- was charged" could be taken back. ARGV[2]: how many of each are dropped at most.
-- Answers how many holds were ended, and marks dropped.

local now = redis_now()
local most = tonumber(ARGV[2])
local ended = sweep(now, most)
local dropped = sweep_marks(math.min(now, tonumber(ARGV[1])), most)
bring_to_present(now, most)
for _, key in ipairs({STATE, EXPIRY, MARKS}) do
  if redis.call('PTTL', key) == -1 then
    redis.call('PEXPIRE', key, STATE_TTL_MS)
  end
end
return {ended, dropped}
