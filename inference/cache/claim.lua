#!lua
-- Looks for answers, and claims the computation of those that are not there and that nobody else computes.
--
-- KEYS: of each input its entry and its claim. ARGV[1]: how long a claim lives (milliseconds), then a token for each input.
-- Answers for each input: its entry, or 1 when the claim is the caller's now, or 0 when it is somebody else's.

local answers = {}
for i = 1, #KEYS / 2 do
  local entry = redis.call('GET', KEYS[2 * i - 1])
  if entry then
    answers[i] = entry
  elseif redis.call('SET', KEYS[2 * i], ARGV[i + 1], 'NX', 'PX', ARGV[1]) then
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
