-- Holds: units that were taken at admission and are not yet settled, released or expired.
--
-- STATE is one hash of everything that limits a tenant, so that no part can be lost without the rest. A field is a
-- limit's id, or '+' and a hold's id. A hold is {expires, units, requests, record, takes, requests of the model}, where takes
-- lists, in fours, the limits that it was taken from: field, letter of the kind, what the limit counts ('u' units, 'r'
-- requests, 'm' requests of the model; an older release took those as 'r' and wrote no sixth element), window. EXPIRY
-- orders the fields of holds by the moment when they end.
--
-- A hold that ended leaves a mark, so that a retry is recognised: 'r' when it was released; when it was settled 's' and
-- four msgpack values of what stays taken, units, requests, requests of the model, takes, by which the settlement can be
-- reversed. MARKS orders the fields of marks by the moment when they may be dropped. That is the clockwork's work
-- (sweep.lua), which knows whether the server stood still meanwhile; admissions drop only what the clockwork has left for
-- ten minutes.

local STATE, EXPIRY, USAGE, MARKS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local HOLD, SETTLED, RELEASED = '+', 's', 'r'
local MARK_TTL = 60 * SECOND
local MARKS_LEFT = 600 * SECOND
local LONGEST_TTL = DAY
local STATE_TTL_MS = 32 * DAY / 1000 -- a counter of a month outlives it, and is made anew from the ledger otherwise

-- States that were given back to in this run, by field; false where the limit has no state (any more).
local given = {}

-- A window that has passed keeps what was taken from it. A bucket need not be refilled first: the order of refill
-- and gift does not matter below its capacity, and above it both orders end at the capacity.
local function give_back(state, count, window)
  local letter = state[1]
  if letter == 'b' then
    local quantum = state[4] * SECOND
    state[2] = math.min(state[5] * quantum, state[2] + count * quantum)
  elseif letter == 'c' then
    state[2] = math.max(0, state[2] - count)
  elseif letter == 's' then
    for i = 3, #state, 2 do
      if state[i] == window then
        state[i + 1] = math.max(0, state[i + 1] - count)
      end
    end
  elseif state[2] == window then
    state[3] = math.max(0, state[3] - count)
  end
end

-- Gives back what a hold took; when `used` units of it were used, only the rest, and its concurrency.
local function give_up(hold, used)
  local units, takes = hold[2], hold[5]
  local counted = {u = units, r = hold[3], m = hold[6]}
  for i = 1, #takes, 4 do
    local field, letter, counts, window = takes[i], takes[i + 1], takes[i + 2], takes[i + 3]
    if given[field] == nil then
      local packed = redis.call('HGET', STATE, field)
      given[field] = packed and cmsgpack.unpack(packed)
    end
    local state = given[field]
    if state and state[1] == letter then
      local count = counted[counts]
      if used and letter ~= 'c' then
        count = counts == 'u' and units - used or 0
      end
      give_back(state, count, window)
    end
  end
end

local function store_given()
  for field, state in pairs(given) do
    if state then
      redis.call('HSET', STATE, field, cmsgpack.pack(state))
    end
  end
  given = {}
end

local function mark(field, how, now)
  redis.call('HSET', STATE, field, how)
  redis.call('ZREM', EXPIRY, field)
  redis.call('ZADD', MARKS, now + MARK_TTL, field)
end

-- What has to be kept of a settled hold: what stays taken, where `takes` is packed. Concurrency was given back.
local function settled_mark(units, requests, model_requests, takes)
  return SETTLED .. cmsgpack.pack(units, requests, model_requests or 0) .. takes
end

local function is_settled(packed)
  return packed and string.sub(packed, 1, 1) == SETTLED
end

-- Nothing that is written here stays for ever. The keys live `ttl` milliseconds from their last write, give or take a
-- day: the index is looked at, and when it is new or its time was not renewed for a day, so is that of all.
local function renew(index, ttl)
  if redis.call('PTTL', index) >= ttl - DAY / 1000 then
    return
  end
  for _, key in ipairs({STATE, EXPIRY, MARKS}) do
    if redis.call('PTTL', key) < ttl then
      redis.call('PEXPIRE', key, ttl)
    end
  end
end

local function meter(id, now, units, record)
  redis.call('XADD', USAGE, '*', 'id', id, 'at', string.format('%.0f', now), 'units', units, 'record', record)
end

local function is_hold(packed)
  return packed and packed ~= RELEASED and not is_settled(packed)
end

-- No hold lives longer than a day, so a later expiry was written before the clock stepped back. Such holds, and marks,
-- end in a minute of the present.
local function bring_to_present(now, most)
  local beyond = '(' .. string.format('%.0f', now + LONGEST_TTL)
  for _, index in ipairs({EXPIRY, MARKS}) do
    for _, field in ipairs(redis.call('ZREVRANGEBYSCORE', index, '+inf', beyond, 'LIMIT', 0, most)) do
      redis.call('ZADD', index, now + MARK_TTL, field)
    end
  end
end

-- Drops at most `most` marks that might be dropped at `due`; answers how many.
local function sweep_marks(due, most)
  local old = redis.call('ZRANGEBYSCORE', MARKS, '-inf', due, 'LIMIT', 0, most)
  if #old > 0 then
    redis.call('HDEL', STATE, unpack(old))
    redis.call('ZREM', MARKS, unpack(old))
  end
  return #old
end

-- Drops at most `most` holds whose time is over and gives back what they took; answers how many. (Releases before 2026-12
-- kept marks in the same index.)
local function sweep(now, most)
  local due = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, most)
  if #due == 0 then
    return 0
  end
  for _, packed in ipairs(redis.call('HMGET', STATE, unpack(due))) do
    if is_hold(packed) then
      give_up(cmsgpack.unpack(packed))
    end
  end
  redis.call('HDEL', STATE, unpack(due))
  redis.call('ZREM', EXPIRY, unpack(due))
  store_given()
  bring_to_present(now, most)
  return #due
end
