-- Calendar months in UTC, from microseconds since 1970. A month is one integer: year * 12 + (month - 1).
-- The arithmetic is Howard Hinnant's civil calendar, with years that begin in March so that leap days come last.

local function month_of(now)
  local days = math.floor(now / DAY) + 719468 -- days since 1 March of the year 0
  local era = math.floor(days / 146097)
  local day_of_era = days - era * 146097
  local year_of_era = math.floor(
    (day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524) - math.floor(day_of_era / 146096)) / 365
  )
  local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local from_march = math.floor((5 * day_of_year + 2) / 153)
  local year = year_of_era + era * 400
  -- January and February belong to the March-based year before.
  return year * 12 + from_march + 2
end

local function month_start(month)
  local from_march = month - 2
  local year = math.floor(from_march / 12)
  local era = math.floor(year / 400)
  local year_of_era = year - era * 400
  local day_of_year = math.floor((153 * (from_march - year * 12) + 2) / 5)
  local day_of_era = year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100) + day_of_year
  return (era * 146097 + day_of_era - 719468) * DAY
end
