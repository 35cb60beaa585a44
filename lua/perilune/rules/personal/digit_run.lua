--- A run of digit groups in a text: digits that are joined by at most three of `space ( ) . - /`.
--
-- The groups of the run have numbers from 1. What asks for several groups looks at most at seven,
-- so work is linear in the text whatever it holds.

--- A run of digits in a text.
-- @class DigitRun
local DigitRun = {}
DigitRun.__index = DigitRun

local byte, find, sub, match = string.byte, string.find, string.sub, string.match

local CONTEXT_BYTES <const> = 40

--- The words of the 40 bytes before a position, in small letters, and those bytes.
-- @tparam string text
-- @tparam integer at
-- @treturn {string,...}
-- @treturn string
function DigitRun.words_before(text, at)
  local found = {}
  local head = sub(text, at > CONTEXT_BYTES and at - CONTEXT_BYTES or 1, at - 1):lower()
  for word in head:gmatch("[%a\128-\255]+") do
    found[#found + 1] = word
  end
  return found, head
end

--- Whether one of the words, of the `last` ones if that is given, is in a list.
-- @tparam {string,...} found
-- @tparam {[string]=boolean} list
-- @tparam ?integer last
-- @treturn boolean
function DigitRun.any(found, list, last)
  for i = #found, math.max(1, #found - (last or #found) + 1), -1 do
    if list[found[i]] then return true end
  end
  return false
end

--- An empty run over a text; `read` fills it.
-- @tparam string text
function DigitRun.new(text)
  return setmetatable({ text = text, starts = {}, ends = {}, count = 0 }, DigitRun)
end

--- Take the run that begins at a digit.
-- @tparam integer at
function DigitRun:read(at)
  local text, starts, ends, n = self.text, self.starts, self.ends, 0
  while at do
    local _, last = find(text, "^%d+", at)
    n = n + 1
    starts[n], ends[n] = at, last
    at = match(text, "^[ ().%-/][ ().%-/]?[ ().%-/]?()%d", last + 1)
  end
  self.count, self.words, self.head, self.named_ids = n, nil, nil, nil
end

--- The words before the run and the bytes they are of, as `words_before`; found once a run.
function DigitRun:context()
  if not self.words then
    self.words, self.head = DigitRun.words_before(self.text, self.starts[1])
  end
  return self.words, self.head
end

--- What stands between group i and the next.
function DigitRun:gap(i) return sub(self.text, self.ends[i] + 1, self.starts[i + 1] - 1) end

--- How many digits group i has.
function DigitRun:size(i) return self.ends[i] - self.starts[i] + 1 end

--- The first byte of group i.
function DigitRun:first_digit(i) return byte(self.text, self.starts[i]) end

--- The byte before group i; nil at the start of the text.
function DigitRun:byte_before(i) return byte(self.text, self.starts[i] - 1) end

--- The digits of the groups i to j.
function DigitRun:digits(i, j)
  local text = sub(self.text, self.starts[i], self.ends[j])
  return i == j and text or (text:gsub("%D+", ""))
end

--- Whether a number may begin at group i: nothing glued to it on the left.
function DigitRun:free_left(i)
  if i > 1 then return find(self:gap(i - 1), " ", 1, true) ~= nil end
  local text, at = self.text, self.starts[1] - 1
  local before = byte(text, at)
  if before == 43 or before == 40 then -- + (
    at = at - 1
    before = byte(text, at)
    if before == 40 then
      at = at - 1
      before = byte(text, at)
    end
  end
  if not before or before == 32 then
    return true
  elseif before == 46 then -- a full stop after a letter: "Tel.020"
    return find(sub(text, at - 1, at - 1), "%a") ~= nil
  end
  return find(sub(text, at, at), "[^%w_%-#$/\\,~^*%%]") ~= nil
end

--- Whether a number may end at group j.
function DigitRun:free_right(j)
  local after, next_one = byte(self.text, self.ends[j] + 1, self.ends[j] + 2)
  if j < self.count then
    return after == 32 or after == 41
  elseif not after then
    return true
  end
  local c = string.char(after)
  if find(c, "[%w_]") then -- of an extension, x77, it is
    return find(self.text, "^x%d%d?%d?%d?%d?%f[^%w_]", self.ends[j] + 1) ~= nil
  elseif find(c, "[%-.,/:=+]") and next_one then
    return find(string.char(next_one), "[^%w_]") ~= nil
  end
  return true
end

--- The group to which there are `want` digits from group i on, all gaps fitting a pattern; or nil.
function DigitRun:reach(i, want, separators)
  local total = 0
  for j = i, math.min(self.count, i + 6) do
    total = total + self:size(j)
    if total == want then
      return j
    elseif total > want or j == self.count or not find(self:gap(j), separators) then
      return nil
    end
  end
  return nil
end

--- The last group of those from i on that have just these sizes and gaps; or nil.
function DigitRun:shape(i, sizes, gaps)
  for k = 1, #sizes do
    local g = i + k - 1
    if g > self.count or self:size(g) ~= sizes[k] or k > 1 and self:gap(g - 1) ~= gaps[k - 1] then
      return nil
    end
  end
  return i + #sizes - 1
end

return DigitRun
