#!lua
-- Decides over every limit of a caller at once: takes from all of them or from none. See docs/adr/0001.
--
-- ARGV[1]: the limits (msgpack, see limits.lua). ARGV[2]: msgpack of tenant version, key version, request id, hold
-- time to live, settle now, deadline, charges {{hold id, model, units, requests, record, requests of the model}, ...}, and
-- how long the state lives from now on. Times: microseconds. A refusal without a request id is not kept.
-- Answers {outcome, now, ...}. Granted and refused: then room, reset and wait of each limit, where wait is 0 when the
-- limit does not refuse and -1 when it never can let this pass. Unknown: the positions of months without a counter.

local REFUSED, REFUSED_ORDER, KEY_GUARD, TENANT_GUARD = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local GRANTED, REFUSAL, STALE, UNKNOWN, CONFLICT, LATE = 0, 1, 2, 3, 4, 5
local GUARD_TTL_S = 86400
local SWEEP = 64
local SELDOM = 16 -- Marks are the clockwork's work; small calls look after it one time in so many, by chance.
local PEEKED = 1000 -- A look at the limits counts no hold that has ended.
local REFUSALS_KEPT = 10000
local REFUSALS_DROPPED = 100 -- at most so many in one run
local MODELS_NAMED = 8 -- in what is kept of a refusal

local limits = cmsgpack.unpack(ARGV[1])
local tenant_version, key_version, request_id, ttl, settle_now, deadline, charges, lifetime =
  unpack(cmsgpack.unpack(ARGV[2]), 1, 8)

-- False when Redis has a newer version of the key or the tenant than the caller was read with.
local function caller_is_fresh()
  local guards = redis.call('MGET', KEY_GUARD, TENANT_GUARD)
  local key_guard, tenant_guard = tonumber(guards[1]) or -1, tonumber(guards[2]) or -1
  if key_guard > key_version or tenant_guard > tenant_version then
    return false
  end
  -- The guards expire: a process keeps a caller for 30 seconds, so a guard matters no longer than that.
  if key_guard < key_version then
    redis.call('SET', KEY_GUARD, key_version, 'EX', GUARD_TTL_S)
  end
  if tenant_guard < tenant_version then
    redis.call('SET', TENANT_GUARD, tenant_version, 'EX', GUARD_TTL_S)
  end
  return true
end

-- What is stored of the limits, then of the holds, of this call.
local function stored()
  local fields = {}
  for i, limit in ipairs(limits) do
    fields[i] = limit[1]
  end
  for i, charge in ipairs(charges) do
    fields[#limits + i] = HOLD .. charge[1]
  end
  return #fields > 0 and redis.call('HMGET', STATE, unpack(fields)) or {}
end

-- How many of the charges were admitted before, and whether one of them was released since.
local function known_charges(found)
  local known, released = 0, false
  for i = #limits + 1, #limits + #charges do
    known = known + (found[i] and 1 or 0)
    released = released or found[i] == RELEASED
  end
  return known, released
end

local function applies(limit, charge)
  if limit[4] == 'model' and limit[5] ~= charge[2] then
    return false
  end
  return not (settle_now and limit[2] == 'concurrency')
end

local function take_of(limit)
  local take, position = 0, limit[3] == 'units' and 3 or limit[4] == 'model' and 6 or 4
  for _, charge in ipairs(charges) do
    if applies(limit, charge) then
      take = take + charge[position]
    end
  end
  return take
end

-- Opens every limit at this moment; the second answer lists the months whose counter is missing.
local function open_limits(found, now)
  local opened, missing = {}, {}
  for i, limit in ipairs(limits) do
    local kind = limit[2]
    local state = found[i] and cmsgpack.unpack(found[i])
    if state and state[1] ~= LETTERS[kind] then
      state = nil -- The limit was given another kind.
    end
    if kind == 'monthly' and not state then
      missing[#missing + 1] = i - 1
    else
      opened[i] = kinds[kind](limit, state, now)
    end
  end
  return opened, missing
end

local function waits_of(opened, takes)
  local waits, refused = {}, false
  for i, limit in ipairs(limits) do
    local wait = 0
    if takes[i] > limit[6] then
      wait = -1
    elseif takes[i] > 0 then
      wait = opened[i].wait(takes[i])
    end
    waits[i] = wait
    refused = refused or wait ~= 0
  end
  return waits, refused
end

-- Takes from the limits; the answer is what to write: fields and values in turn. Limits that were brought to the
-- present are written even when nothing is taken, or they would wait for their future for ever.
local function take_from(opened, takes, granted)
  local written = {}
  for i, limit in ipairs(limits) do
    local taking = granted and takes[i] > 0
    if taking then
      opened[i].take(takes[i])
    end
    if taking or opened[i].moved then
      written[#written + 1] = limit[1]
      written[#written + 1] = opened[i].packed()
    end
  end
  return written
end

-- What a charge takes, in fours; see holds.lua.
local function takes_from(charge, opened)
  local takes = {}
  for i, limit in ipairs(limits) do
    if applies(limit, charge) then
      local n = #takes
      takes[n + 1], takes[n + 2] = limit[1], LETTERS[limit[2]]
      takes[n + 3] = limit[3] == 'units' and 'u' or limit[4] == 'model' and 'm' or 'r'
      takes[n + 4] = opened[i].stamp
    end
  end
  return takes
end

-- Adds to what is written a hold for each charge, or the mark of a settled one whose usage is metered at once.
local function hold_or_meter(written, opened, now)
  local expires, scores, takes_of = now + (settle_now and MARK_TTL or ttl), {}, {}
  for i, charge in ipairs(charges) do
    local field, takes = HOLD .. charge[1], takes_of[charge[2]]
    if not takes then
      takes = takes_from(charge, opened)
      takes = settle_now and cmsgpack.pack(takes) or takes
      takes_of[charge[2]] = takes -- Charges of one model take from the same limits.
    end
    written[#written + 1] = field
    if settle_now then
      meter(charge[1], now, charge[3], charge[5])
      written[#written + 1] = settled_mark(charge[3], charge[4], charge[6], takes)
    else
      written[#written + 1] = cmsgpack.pack({expires, charge[3], charge[4], charge[5], takes, charge[6]})
    end
    scores[2 * i - 1], scores[2 * i] = expires, field
  end
  if #scores > 0 then
    redis.call('ZADD', settle_now and MARKS or EXPIRY, unpack(scores))
  end
end

local function models_named()
  local names, seen = {}, {}
  for _, charge in ipairs(charges) do
    local model = charge[2]
    if model ~= '' and not seen[model] and #names < MODELS_NAMED then
      seen[model] = true
      names[#names + 1] = model
    end
  end
  return names
end

-- Keeps the refusal for a day, so that it can be explained. The value is one msgpack array of six: the moment, the limits
-- as they came (spliced in unread; 150 is msgpack's head of an array of six), takes, the answer, the key and the models.
local function store_refusal(now, takes, answer)
  local key_id = string.match(KEY_GUARD, ':key:(.*)$')
  local call = cmsgpack.pack(key_id) .. cmsgpack.pack(models_named())
  redis.call('HSET', REFUSED, request_id, '\150' .. cmsgpack.pack(now) .. ARGV[1] .. cmsgpack.pack(takes) .. cmsgpack.pack(answer) .. call)
  redis.call('ZADD', REFUSED_ORDER, now, request_id)
  local excess = math.min(redis.call('ZCARD', REFUSED_ORDER) - REFUSALS_KEPT, REFUSALS_DROPPED)
  local old = excess > 0 and redis.call('ZRANGE', REFUSED_ORDER, 0, excess - 1)
    or redis.call('ZRANGEBYSCORE', REFUSED_ORDER, '-inf', now - DAY, 'LIMIT', 0, REFUSALS_DROPPED)
  if #old > 0 then
    redis.call('HDEL', REFUSED, unpack(old))
    redis.call('ZREM', REFUSED_ORDER, unpack(old))
  end
  redis.call('PEXPIRE', REFUSED, DAY / 1000)
  redis.call('PEXPIRE', REFUSED_ORDER, DAY / 1000)
end

local function admit()
  local now = redis_now()
  if deadline > 0 and now > deadline then
    return {LATE, now} -- The caller has given up already; what it was told was "nothing was charged".
  end
  if not caller_is_fresh() then
    return {STALE, now}
  end
  sweep(now, #charges == 0 and PEEKED or SWEEP + 2 * #charges)
  if #charges > SELDOM or now % SELDOM == 0 then
    sweep_marks(now - MARKS_LEFT, SWEEP + 2 * math.max(SELDOM * SELDOM, #charges))
  end
  local found = stored()
  local known, released = known_charges(found)
  if released or (known > 0 and known < #charges) then
    return {CONFLICT, now}
  end
  local opened, missing = open_limits(found, now)
  if #missing > 0 then
    return {UNKNOWN, now, month_of(now), unpack(missing)}
  end

  local takes = {}
  for i, limit in ipairs(limits) do
    takes[i] = known > 0 and 0 or take_of(limit)
  end
  local waits, refused = waits_of(opened, takes)
  local written = take_from(opened, takes, not refused)
  local answer = {refused and REFUSAL or GRANTED, now}
  for i in ipairs(limits) do
    answer[3 * i], answer[3 * i + 1], answer[3 * i + 2] = opened[i].room(), opened[i].reset(), waits[i]
  end
  if refused then
    if request_id ~= '' then
      store_refusal(now, takes, answer)
    end
    bring_to_present(now, SWEEP) -- Holds of a clock that was ahead may be what refuses.
  elseif known == 0 then
    hold_or_meter(written, opened, now)
  end
  if #written > 0 then
    redis.call('HSET', STATE, unpack(written))
    renew(settle_now and MARKS or EXPIRY, lifetime / 1000)
  end
  return answer
end

return admit()
