-- The state of one limit, per kind: open it at this moment, ask it, take from it. (Giving back: holds.lua.)
--
-- A limit arrives as {id, kind, counts, scope, subject, amount, window, refill, scale, name, source}; times are
-- microseconds. Every number is an integer below 2^53, so that doubles count exactly and nothing is ever oversold.
-- The stored state is a small msgpack array that begins with the kind's letter and says everything that giving
-- back needs, because a hold may outlive the limit's description.
--
-- The clock may step back. What was used stays used, and no state may wait for a moment that lies too far ahead:
-- a bucket goes on refilling from the present; a window that is at most one window ahead is waited out; a window
-- further ahead is moved to the present with all that was used in it.

local SLICES = 60
local CONCURRENCY_HINT = SECOND -- When running work ends is unknown; a second is a polite time to ask again.

local function ceil_div(value, divisor)
  local quotient = math.ceil(value / divisor)
  if quotient * divisor < value then
    quotient = quotient + 1 -- The division itself may round down to a whole number.
  end
  return quotient
end

-- An opened limit has: packed() for storing; room, reset; stamp (the window it takes from); moved (must be stored
-- even when nothing is taken, because it was brought to the present). wait(take) is 0 when take fits.
local kinds = {}
local LETTERS = {token_bucket = 'b', fixed_window = 'f', sliding_window = 's', monthly = 'm', concurrency = 'c'}

kinds.token_bucket = function(limit, state, now)
  local amount, refill, scale = limit[6], limit[8], limit[9]
  local quantum = scale * SECOND -- levels count in 1/quantum units, so that a microsecond refills a whole number
  local full = amount * quantum
  local level, moved = full, false
  if state then
    level = state[2]
    if state[4] ~= scale then
      level = math.floor(level / (state[4] * SECOND)) * quantum -- The rate was changed: keep whole units only.
    end
    moved = now < state[3]
    level = math.min(full, level + math.max(0, now - state[3]) * refill)
  end
  local bucket = {moved = moved, stamp = 0}
  function bucket.room() return math.floor(level / quantum) end
  function bucket.reset() return ceil_div(full - level, refill) end
  function bucket.wait(take)
    if take * quantum <= level then return 0 end
    return ceil_div(take * quantum - level, refill)
  end
  function bucket.take(take) level = level - take * quantum end
  function bucket.packed() return cmsgpack.pack({'b', level, now, scale, amount}) end
  return bucket
end

-- Fixed windows and months are both a numbered period with a count; ends(number) is the moment when a period ends.
local function open_period(letter, amount, current, ends, stored, used, width, moved, now)
  if stored < current then
    used, stored = 0, current
  elseif stored > current + 1 then
    stored, moved = current, true
  end
  local period = {moved = moved, stamp = stored}
  function period.room() return math.max(0, amount - used) end
  function period.reset() return ends(stored) - now end
  function period.wait(take)
    if used + take <= amount then return 0 end
    return ends(stored) - now
  end
  function period.take(take) used = used + take end
  function period.packed() return cmsgpack.pack({letter, stored, used, width}) end
  return period
end

kinds.fixed_window = function(limit, state, now)
  local width = limit[7]
  local current = math.floor(now / width)
  local stored, used, moved = current, 0, false
  if state then
    used, moved = state[3], state[4] ~= width
    if not moved then
      stored = state[2]
    elseif (state[2] + 1) * state[4] <= now then
      used = 0 -- The width was changed, and the old window has passed.
    end
  end
  local function ends(number) return (number + 1) * width end
  return open_period('f', limit[6], current, ends, stored, used, width, moved, now)
end

kinds.monthly = function(limit, state, now)
  local function ends(month) return month_start(month + 1) end
  return open_period('m', limit[6], month_of(now), ends, state[2], state[3], 0, false, now)
end

-- A ring of slices: {'s', slice length, number, count, number, count, ...} in ascending order, empty ones left out.
-- A slice counts until all of it is older than the window, so any stretch of the window's length is within the amount.
kinds.sliding_window = function(limit, state, now)
  local amount, length = limit[6], ceil_div(limit[7], SLICES)
  local current, used, moved = math.floor(now / length), 0, false
  local slices = {'s', length}
  if state then
    local then_length = state[2]
    local present = math.floor(now / then_length)
    local newest = state[#state - 1]
    local ahead = #state > 2 and newest > present
    moved = then_length ~= length or (ahead and newest > present + SLICES)
    if ahead and not moved then
      present, current = newest, newest
    end
    for i = 3, #state, 2 do
      if state[i] >= present - SLICES then
        used = used + state[i + 1]
        if not moved then
          slices[#slices + 1] = state[i]
          slices[#slices + 1] = state[i + 1]
        end
      end
    end
    if moved and used > 0 then
      slices[3], slices[4] = current, used
    end
  end
  local ring = {moved = moved, stamp = current}
  local function leaves(number) return (number + SLICES + 1) * length - now end
  function ring.room() return math.max(0, amount - used) end
  function ring.reset()
    if #slices == 2 then return 0 end
    return leaves(slices[#slices - 1])
  end
  function ring.wait(take)
    local left = used
    if left + take <= amount then return 0 end
    for i = 3, #slices, 2 do
      left = left - slices[i + 1]
      if left + take <= amount then return leaves(slices[i]) end
    end
  end
  function ring.take(take)
    used = used + take
    if #slices > 2 and slices[#slices - 1] == current then
      slices[#slices] = slices[#slices] + take
    else
      slices[#slices + 1] = current
      slices[#slices + 1] = take
    end
  end
  function ring.packed() return cmsgpack.pack(slices) end
  return ring
end

kinds.concurrency = function(limit, state)
  local amount, used = limit[6], state and state[2] or 0
  local slots = {moved = false, stamp = 0}
  function slots.room() return math.max(0, amount - used) end
  function slots.reset() return 0 end
  function slots.wait(take) return used + take <= amount and 0 or CONCURRENCY_HINT end
  function slots.take(take) used = used + take end
  function slots.packed() return cmsgpack.pack({'c', used}) end
  return slots
end
