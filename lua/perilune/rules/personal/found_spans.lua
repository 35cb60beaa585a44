--- Collects what the searches find in one text, and settles what overlaps.

--- What was found in one text.
-- @class FoundSpans
local FoundSpans = {}
FoundSpans.__index = FoundSpans

--- The kinds, the strongest first: where two overlap, the one named first stays.
FoundSpans.kinds = {
  "URL",
  "EMAIL",
  "KEY",
  "MAC",
  "IP",
  "IBAN",
  "CARD",
  "ID",
  "ADDRESS",
  "PHONE",
  "USER",
  "NAME",
}

--- The place of each kind in that order.
FoundSpans.rank = {}
for i, kind in ipairs(FoundSpans.kinds) do
  FoundSpans.rank[kind] = i
end

local rank = FoundSpans.rank

--- An empty collection for one text.
-- @tparam {[string]=boolean} wanted kinds that are collected; others pass by
function FoundSpans.new(wanted) return setmetatable({ wanted = wanted }, FoundSpans) end

--- Note a find.
-- @tparam string kind
-- @tparam integer first byte
-- @tparam integer last byte
function FoundSpans:add(kind, first, last)
  if self.wanted[kind] then self[#self + 1] = { kind = kind, first = first, last = last } end
end

local function by_place(a, b)
  if a.first ~= b.first then
    return a.first < b.first
  elseif a.last ~= b.last then
    return a.last > b.last
  end
  return rank[a.kind] < rank[b.kind]
end

--- The spans in order and without overlap: the stronger kind stays, then the longer span.
-- @treturn {{kind=string,first=integer,last=integer},...}
function FoundSpans:settled()
  table.sort(self, by_place)
  local kept = {}
  for _, span in ipairs(self) do
    local before = kept[#kept]
    if not before or span.first > before.last then
      kept[#kept + 1] = span
    elseif
      rank[span.kind] < rank[before.kind]
      or span.kind == before.kind and span.last - span.first > before.last - before.first
    then
      kept[#kept] = span
    end
  end
  return kept
end

return FoundSpans
