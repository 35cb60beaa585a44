--- Tokenised data sets on disk: made once from rows, then read an element at a time.
--
-- A set is a folder named by a hash of all that decides its content: the data, the tokenizer, the
-- template, the options. So nothing is ever out of date, and a folder may be deleted at any time.
-- It appears whole or not at all. Memory does not grow with the set, neither in making nor in use.
--
--   tokens.bin   int32, little endian: token id * 2 + 1 when it is trained
--   index.bin    int64 pairs: where element i begins in tokens.bin and in rows.jsonl; one more pair
--                for the end
--   rows.jsonl   a line an element: {"n": lengths of its sequences, "row": the row, ...}
--   meta.json    count and totals
--
-- The folder of sets is $PERILUNE_CACHE, else perilune/ in $XDG_CACHE_HOME or ~/.cache.
-- @module perilune.data.token_cache

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local system = require("perilune.core").system

local token_cache = {}

local FORMAT <const> = "2" -- of the files above and of what perilune.data puts there
local CHUNK <const> = 1024 -- tokens packed in one call
local PAIR <const> = 16 -- bytes of an entry of index.bin

local packs = {}
local function pack_of(n)
  packs[n] = packs[n] or "<" .. ("i4"):rep(n)
  return packs[n]
end

--- The folder of sets.
-- @treturn string
function token_cache.folder()
  local own, xdg = os.getenv("PERILUNE_CACHE"), os.getenv("XDG_CACHE_HOME")
  if own and own ~= "" then
    return own
  elseif xdg and xdg:sub(1, 1) == "/" then
    return xdg .. "/perilune"
  end
  return (os.getenv("HOME") or ".") .. "/.cache/perilune"
end

local Set = {}
Set.__index = Set
Set.__name = "token set"

--- Elements of a set.
function Set:__len()
  return self.count
end

--- Element i: `sequences` (lists of token ids), `masks` (lists of 0 and 1), `info` as given to
-- `add`.
function Set:get(i)
  if self.last_index ~= i then
    self.last, self.last_index = self:read(i), i
  end
  return self.last
end

-- Writing ----------------------------------------------------------------------------------------

local function write_tokens(file, sequence, mask)
  local coded = {}
  for t, id in ipairs(sequence) do
    coded[t] = id * 2 + ((not mask or (mask[t] and mask[t] ~= 0)) and 1 or 0)
  end
  for from = 1, #coded, CHUNK do
    local to = math.min(#coded, from + CHUNK - 1)
    assert(file:write(pack_of(to - from + 1):pack(table.unpack(coded, from, to))))
  end
  return 4 * #coded
end

local function open_all(folder, mode)
  local list = {}
  for _, name in ipairs { "tokens.bin", "index.bin", "rows.jsonl" } do
    local file, message = io.open(folder .. "/" .. name, mode)
    if not file then
      return nil, message
    end
    file:setvbuf("full", 1 << 16)
    list[#list + 1] = file
  end
  return list
end

local function write_set(folder, build)
  local opened = assert(open_all(folder, "wb"))
  local tokens, index, rows = table.unpack(opened)
  local count, token_at, row_at = 0, 0, 0
  local function add(sequences, masks, info)
    local line = { n = {}, info = info }
    assert(index:write(("<i8i8"):pack(token_at, row_at)))
    for k, sequence in ipairs(sequences) do
      line.n[k] = #sequence
      token_at = token_at + write_tokens(tokens, sequence, masks and masks[k])
    end
    local text = json.encode(line) .. "\n"
    assert(rows:write(text))
    count, row_at = count + 1, row_at + #text
  end
  local totals = build(add) or {}
  assert(index:write(("<i8i8"):pack(token_at, row_at)))
  for _, file in ipairs(opened) do
    assert(file:close())
  end
  assert(files.write_json(folder .. "/meta.json",
    { count = count, token_bytes = token_at, row_bytes = row_at, totals = totals }))
end

-- Reading ----------------------------------------------------------------------------------------

local function read_at(file, at, bytes)
  assert(file:seek("set", at))
  return bytes == 0 and "" or assert(file:read(bytes))
end

local function read_tokens(bytes, at, n)
  local ids, mask, got = {}, {}, 0
  while got < n do
    local part = math.min(CHUNK, n - got)
    local coded = { pack_of(part):unpack(bytes, at) }
    for t = 1, part do
      ids[got + t], mask[got + t] = coded[t] >> 1, coded[t] & 1
    end
    at, got = coded[part + 1], got + part
  end
  return ids, mask, at
end

local function read_element(self, i)
  if math.type(i) ~= "integer" or i < 1 or i > self.count then
    return nil
  end
  local tokens, index, rows = table.unpack(self.files)
  local from, row_from, to, row_to = ("<i8i8i8i8"):unpack(read_at(index, (i - 1) * PAIR, 2 * PAIR))
  local line = assert(json.decode(read_at(rows, row_from, row_to - row_from)))
  local bytes, at = read_at(tokens, from, to - from), 1
  local element = { sequences = {}, masks = {}, info = line.info or {} }
  for k, n in ipairs(line.n) do
    element.sequences[k], element.masks[k], at = read_tokens(bytes, at, n)
  end
  return element
end

local function size_of(path)
  local file = io.open(path, "rb")
  local size = file and file:seek("end")
  if file then
    file:close()
  end
  return size
end

-- The set in a folder; nil when it is not there, or not as it was written.
local function open_set(folder, key)
  local meta = files.read_json(folder .. "/meta.json")
  if not meta or size_of(folder .. "/tokens.bin") ~= meta.token_bytes
    or size_of(folder .. "/index.bin") ~= (meta.count + 1) * PAIR
    or size_of(folder .. "/rows.jsonl") ~= meta.row_bytes then
    return nil
  end
  local opened = open_all(folder, "rb")
  return opened and setmetatable({ key = key, count = meta.count, totals = meta.totals,
    files = opened, read = read_element }, Set)
end

--- A set, read from the cache or made by `build` and then read.
-- @tparam {string,...} identity all that decides the content
-- @tparam function build called with `add(sequences, masks or nil, info)`, to be called for every
--   element; returns a table of totals
-- @return Set with `key`, `totals`, `get(i)` and a length
function token_cache.open(identity, build)
  local key = files.hash_string(FORMAT .. "\0" .. table.concat(identity, "\0"))
  local folder = token_cache.folder() .. "/tokens-" .. key
  local set = open_set(folder, key)
  if set then
    return set
  end
  local made, problem = system.mkdir_p(token_cache.folder())
  local partial = made and files.folder_begin(folder)
  if not partial then
    error(("tokenised data cannot be kept in %s (%s): set PERILUNE_CACHE to a folder that can be "
      .. "written"):format(token_cache.folder(), problem or "no new folder there"), 0)
  end
  local ok, message = pcall(write_set, partial, build)
  if not ok then
    files.folder_discard(partial)
    error(message, 0)
  end
  assert(files.folder_commit(partial, folder))
  return assert(open_set(folder, key), folder .. " cannot be read back")
end

--- The same set kept in memory: for rows that are no file.
function token_cache.memory(build)
  local elements = {}
  local totals = build(function(sequences, masks, info)
    if not masks then
      masks = {}
      for k, sequence in ipairs(sequences) do
        masks[k] = {}
        for t = 1, #sequence do
          masks[k][t] = 1
        end
      end
    end
    elements[#elements + 1] = { sequences = sequences, masks = masks, info = info or {} }
  end) or {}
  return setmetatable({ key = "memory", count = #elements, totals = totals,
    read = function(_, i) return elements[i] end }, Set)
end

return token_cache
