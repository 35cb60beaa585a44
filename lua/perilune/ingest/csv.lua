--- CSV records out of lines: quotes, doubled quotes, delimiters and newlines inside quotes.
--
-- A record that is not closed, that goes on after a closing quote or that has another number of
-- fields than the header is bad; reading then goes on at the line after its FIRST line, so that one
-- stray quote never swallows the good lines behind it. For that, lines looked at and not used are
-- kept; their number is bounded, and with it memory and the cost of a hostile file.
--
-- A quote inside an unquoted field is text. A line end inside quotes becomes "\n".

local csv = {}

local MOST_LINES <const> = 1000
local QUOTE <const> = 34

--- The delimiter that a first line of a spreadsheet's says ("sep=;"), or nil: such a line is no
-- record.
function csv.said_delimiter(line) return line:match('^[Ss][Ee][Pp]=([^%w"])$') end

--- The delimiter of a header line: the one of , ; tab | that stands in it most often.
function csv.delimiter(line)
  local best, most = ",", 0
  local bare = line:gsub('"[^"]*"', "")
  for _, mark in ipairs { ",", ";", "\t", "|" } do
    local count = select(2, bare:gsub(mark == "|" and "%|" or mark, ""))
    if count > most then
      best, most = mark, count
    end
  end
  return best
end

--- The rest of a quoted field that opened before `start`.
-- @treturn ?string text
-- @treturn integer|string the place after the closing quote; or a reason
-- @treturn ?string the line it closed in
local function quoted(line, start, more)
  local pieces = {}
  while true do
    local at = line:find('"', start, true)
    if not at then
      pieces[#pieces + 1] = line:sub(start)
      local reason
      line, reason = more()
      if not line then return nil, reason end
      pieces[#pieces + 1] = "\n"
      start = 1
    elseif line:byte(at + 1) == QUOTE then
      pieces[#pieces + 1] = line:sub(start, at)
      start = at + 2
    else
      pieces[#pieces + 1] = line:sub(start, at - 1)
      return table.concat(pieces), at + 1, line
    end
  end
end

--- The fields of one record.
-- @tparam string line its first line
-- @tparam string delimiter one character
-- @tparam function more () -> the next line, or nil and why there is none
-- @treturn ?{string,...}
-- @treturn ?string reason
function csv.fields(line, delimiter, more)
  local fields, n, start = {}, 0, 1
  while true do
    n = n + 1
    if line:byte(start) == QUOTE then
      local text, after, last = quoted(line, start + 1, more)
      if not text then return nil, after end
      line, fields[n] = last, text
      if after > #line then
        return fields
      elseif line:sub(after, after) ~= delimiter then
        return nil, ("field %d goes on after its closing quote"):format(n)
      end
      start = after + 1
    else
      local at = line:find(delimiter, start, true)
      if not at then
        fields[n] = line:sub(start)
        return fields
      end
      fields[n] = line:sub(start, at - 1)
      start = at + 1
    end
  end
end

local Reader = {}
Reader.__index = Reader

--- Records out of a line reader.
-- @tparam any lines gives `next() -> text, number, problem` and `offset()`
-- @tparam table opts delimiter, width (fields a record must have, or nil)
function csv.reader(lines, opts)
  return setmetatable(
    { lines = lines, opts = opts, waiting = {}, first = 1, last = 0, place = lines:offset() },
    Reader
  )
end

function Reader:take()
  if self.first <= self.last then
    local entry = self.waiting[self.first]
    self.waiting[self.first] = nil
    self.first = self.first + 1
    return entry
  end
  local text, number, problem = self.lines:next()
  if text == nil then return nil end
  return { text = text, number = number, problem = problem, after = self.lines:offset() }
end

function Reader:give_back(entries)
  for i = #entries, 2, -1 do
    self.first = self.first - 1
    self.waiting[self.first] = entries[i]
  end
end

--- The next record.
-- @treturn ?{string,...}|boolean fields; false for a bad record, nil at the end
-- @treturn ?integer line number
-- @treturn ?string reason
-- @treturn ?string the line
function Reader:next()
  local entry
  repeat -- a blank line is no record, unless there is but one field
    entry = self:take()
    if not entry then return nil end
  until entry.text ~= "" or self.opts.width == 1
  local number = entry.number
  self.place, self.line = entry.after, number
  if not entry.text then return false, number, entry.problem end
  local used, bytes = { entry }, #entry.text
  local most = self.opts.max_bytes
  local fields, reason = csv.fields(entry.text, self.opts.delimiter, function()
    if #used >= MOST_LINES or bytes > most then
      return nil, ("a quote is not closed within %d lines"):format(#used)
    end
    local another = self:take()
    if not another then return nil, "a quote is not closed" end
    used[#used + 1] = another
    if not another.text then return nil, "a quote is not closed before a line that is too long" end
    bytes = bytes + #another.text
    return another.text
  end)
  if fields and self.opts.width and #fields ~= self.opts.width then
    fields, reason = nil, ("%d fields where the first line has %d"):format(#fields, self.opts.width)
  end
  if not fields then
    self:give_back(used)
    return false, number, reason, entry.text
  end
  self.place, self.line = used[#used].after, used[#used].number
  return fields, number, nil, entry.text
end

--- Byte and number of the last line that is done with.
function Reader:cursor() return self.place, self.line end

return csv
