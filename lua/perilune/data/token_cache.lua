--- Tokenised data sets on disk: made once from rows, then read an element at a time.
--
-- A set is a folder named by a hash of all that decides its content: the data, the tokenizer, the
-- template, the options, the code. So nothing is ever out of date, and a folder may be deleted at
-- any time. It appears whole or not at all, and is held against its manifest when it is opened;
-- several programs may make the same set at once. Memory does not grow with the set, neither in
-- making nor in use.
--
--   tokens.bin     int32, little endian: token id * 2 + 1 when it is trained
--   sequences.bin  int64: where sequence k begins in tokens.bin, in tokens; one more for the end
--   index.bin      int64 pairs: the first sequence of element i, and where its line begins in
--                  rows.jsonl; one more pair for the end
--   rows.jsonl     a line an element: {"row": the row, ...}
--   meta.json      counts, totals, and a hash of the content
--
-- So lengths are known without a look at tokens or rows, and tokens without one at rows.
--
-- The folder of sets is $PERILUNE_CACHE, else perilune/ in $XDG_CACHE_HOME or ~/.cache.

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")

local token_cache = {}

local FORMAT <const> = "4" -- of the files above and of what perilune.data puts there
local CHUNK <const> = 1024 -- tokens packed in one call
local NAMES <const> = { "tokens.bin", "sequences.bin", "index.bin", "rows.jsonl" }

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
function Set:__len() return self.count end

function Set:__tostring() return ("token set of %d elements"):format(self.count) end

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
end

--- The files of a set, opened by `open(path)`.
local function open_all(folder, open)
  local list = {}
  for _, name in ipairs(NAMES) do
    local file, message = open(folder .. "/" .. name)
    if not file then return nil, message end
    list[#list + 1] = file
  end
  return list
end

local function write_set(folder, build)
  local opened = assert(open_all(folder, files.create))
  local tokens, starts, index, rows = table.unpack(opened)
  local count, sequence_count, token_count, row_at = 0, 0, 0, 0
  local function add(sequences, masks, info)
    assert(index:write(("<i8i8"):pack(sequence_count, row_at)))
    for k, sequence in ipairs(sequences) do
      assert(starts:write(("<i8"):pack(token_count)))
      write_tokens(tokens, sequence, masks and masks[k])
      sequence_count, token_count = sequence_count + 1, token_count + #sequence
    end
    local text = json.encode(info or json.object()) .. "\n"
    assert(rows:write(text))
    count, row_at = count + 1, row_at + #text
  end
  local totals = build(add) or {}
  assert(starts:write(("<i8"):pack(token_count)))
  assert(index:write(("<i8i8"):pack(sequence_count, row_at)))
  for _, file in ipairs(opened) do
    assert(file:commit())
    file:close()
  end
  local hashes = {}
  for i, name in ipairs(NAMES) do
    hashes[i] = assert(files.hash(folder .. "/" .. name))
  end
  assert(files.write_json(folder .. "/meta.json", {
    content = files.hash_string(table.concat(hashes)),
    count = count,
    sequences = sequence_count,
    tokens = token_count,
    row_bytes = row_at,
    totals = totals,
  }))
end

-- Reading ----------------------------------------------------------------------------------------

local function read_at(file, at, bytes)
  assert(file:seek("set", at))
  return bytes == 0 and "" or assert(file:read(bytes))
end

local function unpack_tokens(bytes, at, n)
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

local function is_element(self, i)
  local is_integer = math.type(i) == "integer"
  return is_integer and i >= 1 and i <= self.count
end

--- How many tokens each sequence of element i has; no token is read for it.
-- @tparam integer i
-- @treturn ?{integer,...} nil when there is no such element
-- @treturn ?integer where the first begins in tokens.bin
function Set:lengths(i)
  if not is_element(self, i) then return nil end
  local _, starts, index = table.unpack(self.files)
  local first, _, after = ("<i8i8i8"):unpack(read_at(index, (i - 1) * 16, 24))
  local bytes, lengths = read_at(starts, first * 8, (after - first + 1) * 8), {}
  local from = ("<i8"):unpack(bytes)
  for k = 1, after - first do
    local start, stop = ("<i8i8"):unpack(bytes, (k - 1) * 8 + 1)
    lengths[k] = stop - start
  end
  return lengths, from
end

--- The tokens of element i.
-- @tparam integer i
-- @treturn ?table `sequences` (lists of token ids) and `masks` (lists of 0 and 1)
function Set:tokens(i)
  if self.last_index == i then return self.last end
  local lengths, from = self:lengths(i)
  if not lengths then return nil end
  local total, at = 0, 1
  for _, length in ipairs(lengths) do
    total = total + length
  end
  local bytes = read_at(self.files[1], from * 4, total * 4)
  local element = { sequences = {}, masks = {} }
  for k, length in ipairs(lengths) do
    element.sequences[k], element.masks[k], at = unpack_tokens(bytes, at, length)
  end
  self.last, self.last_index = element, i
  return element
end

--- What was given to `add` with element i.
-- @tparam integer i
-- @treturn ?table
function Set:info(i)
  if not is_element(self, i) then return nil end
  local _, _, index, rows = table.unpack(self.files)
  local from, _, to = ("<i8i8i8"):unpack(read_at(index, (i - 1) * 16 + 8, 24))
  return assert(json.decode(read_at(rows, from, to - from)))
end

-- The set in a folder; nil when it is not there, or not as it was written.
local function open_set(folder)
  local meta = files.read_json(folder .. "/meta.json")
  if not meta then return nil end
  local sizes = { meta.tokens * 4, (meta.sequences + 1) * 8, (meta.count + 1) * 16, meta.row_bytes }
  for i, name in ipairs(NAMES) do
    if lfs.attributes(folder .. "/" .. name, "size") ~= sizes[i] then return nil end
  end
  local opened = files.folder_verify(folder) and open_all(folder, io.open)
  return opened
    and setmetatable({
      key = meta.content,
      path = folder,
      count = meta.count,
      totals = meta.totals,
      files = opened,
    }, Set)
end

local function refuse_to_keep(problem)
  local text = "tokenised data cannot be kept in %s (%s): set PERILUNE_CACHE to a folder that can "
    .. "be written"
  error(text:format(token_cache.folder(), problem), 0)
end

--- A set, read from the cache or made by `build` and then read.
-- @tparam {string,...} identity all that decides the content
-- @tparam function build called with `add(sequences, masks or nil, info)`, to be called for every
--   element; returns a table of totals
-- @treturn table a set with `key` (a hash of its content), `path`, `totals`, `tokens(i)`,
--   `lengths(i)`, `info(i)` and a length
function token_cache.open(identity, build)
  local key = files.hash_string(FORMAT .. "\0" .. table.concat(identity, "\0"))
  local folder = token_cache.folder() .. "/tokens-" .. key
  local set = open_set(folder)
  -- One without elements is made again, so that it is said again why each row was left out.
  if set and set.count > 0 then return set end
  local made, problem = files.folder_make(token_cache.folder())
  local partial = made and files.folder_begin(folder)
  if not partial then refuse_to_keep(problem or "no new folder there") end
  local ok, message = pcall(write_set, partial, build)
  if not ok then
    files.folder_discard(partial)
    local is_ours = type(message) == "string" and message:find(partial, 1, true)
    if is_ours then refuse_to_keep((message:gsub("^%S-:%d+: ", ""))) end
    error(message, 0)
  end
  local elsewhere = open_set(folder) -- another program made it meanwhile
  if elsewhere then
    files.folder_discard(partial)
    return elsewhere
  end
  ok, message = files.folder_commit(partial, folder)
  set = open_set(folder) -- that program may have been quicker by a moment
  if not set then refuse_to_keep(ok and "it cannot be read back" or message) end
  return set
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
  local set = setmetatable({ key = "memory", count = #elements, totals = totals }, Set)
  function set.tokens(_, i) return elements[i] end
  function set.lengths(_, i)
    local lengths = {}
    for k, sequence in ipairs(elements[i].sequences) do
      lengths[k] = #sequence
    end
    return lengths
  end
  function set.info(_, i) return elements[i].info end
  return set
end

return token_cache
