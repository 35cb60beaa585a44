--- The lines of text files, whatever their encoding, as UTF-8.
--
-- UTF-16 is told by its byte order mark. Which 8-bit encoding a file has cannot be told from its
-- bytes: `encoding = "latin1"` says that it is Windows-1252, of which Latin-1 is the printable part
-- (both names are one in the WHATWG Encoding Standard). Such files are plain; in gzip only UTF-8 is
-- read. Code units that are half a surrogate pair become U+FFFD.
--
-- Readers are those of core.lines: next() -> text, number | false, number, problem | nil, lines;
-- offset() is the byte of the file where the next line starts; close().

local container = require("perilune.ingest.container")
local core = require("perilune.core")
local lfs = require("lfs")

local encoding = {}

local CHUNK <const> = 1 << 16 -- bytes read at once, an even number
local UNITS <const> = 1024 -- of UTF-16 unpacked in one call
local MOST_BYTES <const> = 16 << 20 -- of a line

local marks = { ["\xff\xfe"] = "<", ["\xfe\xff"] = ">" }

-- What Windows-1252 has at 0x80 to 0x9F; the five that it has not stand for themselves.
local WINDOWS <const> = "\u{20AC}\u{81}\u{201A}\u{0192}\u{201E}\u{2026}\u{2020}\u{2021}\u{02C6}"
  .. "\u{2030}\u{0160}\u{2039}\u{0152}\u{8D}\u{017D}\u{8F}\u{90}\u{2018}\u{2019}\u{201C}\u{201D}"
  .. "\u{2022}\u{2013}\u{2014}\u{02DC}\u{2122}\u{0161}\u{203A}\u{0153}\u{9D}\u{017E}\u{0178}"
local of_byte = {}
for i = 0xA0, 0xFF do
  of_byte[string.char(i)] = utf8.char(i)
end
for place, code in utf8.codes(WINDOWS) do
  of_byte[string.char(0x7F + utf8.len(WINDOWS, 1, place))] = utf8.char(code)
end

-- ---- bytes to text --------

local function latin1(_, bytes) return (bytes:gsub("[\x80-\xff]", of_byte)) end

-- Text of whole code units; half a pair at the end waits for the next bytes.
local function utf16(self, bytes)
  local out, n = {}, 0
  local high = self.high
  for at = 1, #bytes - 1, 2 * UNITS do
    local count = math.min(UNITS, (#bytes - at + 1) // 2)
    local units = { (self.order .. ("I2"):rep(count)):unpack(bytes, at) }
    for i = 1, count do
      local unit = units[i]
      local is_low = unit >= 0xDC00 and unit < 0xE000
      if high and not is_low then
        n, high = n + 1, nil
        out[n] = "\u{FFFD}"
      end
      if unit >= 0xD800 and unit < 0xDC00 then
        high = unit
      else
        n = n + 1
        out[n] = utf8.char(
          not is_low and unit
            or high and 0x10000 + (high - 0xD800) * 0x400 + (unit - 0xDC00)
            or 0xFFFD
        )
        high = nil
      end
    end
  end
  self.high = high
  return table.concat(out)
end

-- Bytes of the file that a text was.
local function bytes_of(self, text)
  if not self.order then return utf8.len(text) end
  return 2 * (utf8.len(text) + select(2, text:gsub("[\xf0-\xf7]", "")))
end

-- ---- lines --------

local Reader = {}
Reader.__index = Reader

-- More text behind what is left of it; false at the end of the file.
local function fill(self)
  local bytes = self.file:read(CHUNK)
  if not bytes then return false end
  self.text, self.at = self.text:sub(self.at) .. self:decode(bytes), 1
  return true
end

-- The next line with its end, and whether it was too long to be held.
local function whole_line(self)
  local too_long, search = false, self.at
  while true do
    local stop = self.text:find("\n", search, true)
    local left = #self.text - self.at + 1
    if not stop and left > self.max_bytes then
      self.place = self.place + bytes_of(self, self.text:sub(self.at))
      self.text, self.at, too_long, left = "", 1, true, 0
    end
    if stop or not fill(self) then
      local text = self.text:sub(self.at, stop or -1)
      self.at = self.at + #text
      self.place = self.place + bytes_of(self, text)
      if text ~= "" or too_long then return text, too_long end
      return nil
    end
    search = left + 1
  end
end

function Reader:next()
  while true do
    local text, too_long = whole_line(self)
    if not text then return nil, self.line end
    self.line = self.line + 1
    text = text:gsub("\r?\n$", "")
    if too_long or #text > self.max_bytes then
      local problem = ("the line is longer than %d bytes"):format(self.max_bytes)
      return false, self.line, problem
    elseif text ~= "" or not self.skip_empty then
      return text, self.line
    end
  end
end

function Reader:offset() return self.place end

function Reader:close()
  if self.file then self.file:close() end
  self.file = nil
end

Reader.__close, Reader.__gc = Reader.close, Reader.close

-- ---- opening --------

--- How a file is to be read.
-- @tparam string path
-- @tparam ?string asked "latin1"; "auto" or nothing: UTF-16 by its mark, else UTF-8
-- @treturn string "utf-8", "utf-16" or "latin1"
-- @treturn ?string order of the bytes of UTF-16, as string.unpack has it
function encoding.of(path, asked)
  if asked == "latin1" then return "latin1" end
  local file = lfs.attributes(path, "mode") == "file" and io.open(path, "rb") -- no pipe: it waits
  local order = file and marks[file:read(2) or ""]
  if file then file:close() end
  if order then return "utf-16", order end
  return "utf-8"
end

--- Opens a file.
-- @tparam string path
-- @tparam ?table opts those of core.lines.open, and `encoding` as for `of`
-- @treturn ?table reader
-- @treturn ?string message
function encoding.open(path, opts)
  opts = opts or {}
  local fault = container.fault(path)
  if fault then return nil, fault end
  local name, order = encoding.of(path, opts.encoding)
  if name == "utf-8" then
    return core.lines.open(path, {
      max_bytes = opts.max_bytes,
      offset = opts.offset,
      line = opts.line,
      skip_empty = opts.skip_empty,
    })
  end
  local looked, message = core.lines.open(path) -- what it says of folders, or of no such file
  if not looked then return nil, message end
  looked:close()
  local file
  file, message = io.open(path, "rb")
  if not file then return nil, message end
  local place = math.max(opts.offset or 0, order and 2 or 0)
  file:seek("set", place)
  return setmetatable({
    file = file,
    decode = order and utf16 or latin1,
    order = order,
    place = place,
    line = opts.line or 0,
    text = "",
    at = 1,
    max_bytes = opts.max_bytes or MOST_BYTES,
    skip_empty = opts.skip_empty,
  }, Reader)
end

return encoding
