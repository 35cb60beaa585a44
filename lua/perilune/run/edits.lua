--- A saved edit of the recipe's config block takes hold in the run that goes on.
--
-- The recipe's file is looked at before each step. When it was saved anew, its block is read as
-- text (perilune.config.block), never run, and each default that is another than it was becomes a
-- live change. What cannot be read or does not fit is told with its line, and the run goes on as it
-- was; code that was edited is for the next start.

local block = require("perilune.config.block")
local files = require("perilune.base.files")
local lfs = require("lfs")
local system = require("perilune.core").system

local edits = {}

local Edits = {}
Edits.__index = Edits

local YOUNG <const> = 3 -- seconds in which a file's time may hide a second edit

local function is_key_of(cfg)
  local names = {}
  for _, name in ipairs(cfg:keys()) do
    names[name] = true
  end
  return function(name) return names[name] == true end
end

local function mark_of(path)
  local info = lfs.attributes(path)
  if not info or info.mode ~= "file" then return nil end
  local young = system.realtime() - info.modification < YOUNG
  return ("%d %d %d"):format(info.modification, info.size, info.ino), young
end

--- A hash of a recipe's code: its text without the values in its config block, which a checkpoint
-- has anyway.
-- @tparam string path
-- @tparam Config cfg
-- @treturn string
function edits.code_hash(path, cfg)
  local text = assert(files.read(path))
  local rows = block.read(text, is_key_of(cfg))
  return files.hash_string(rows and block.without_values(text, rows) or text)
end

--- Begins to watch a recipe.
-- @tparam string path
-- @tparam Config cfg
-- @treturn table
function edits.watch(path, cfg)
  local text, is_key = files.read(path) or "", is_key_of(cfg)
  local rows = block.read(text, is_key) or {}
  return setmetatable({
    path = path,
    cfg = cfg,
    is_key = is_key,
    mark = mark_of(path),
    text = text,
    rows = rows,
    code = block.without_values(text, rows),
  }, Edits)
end

-- Where values come from that hold whatever the default is.
local function is_explicit(source)
  return source == "command line" or source == "settings" or source:find("^preset ") ~= nil
end

-- Makes the change that a row asks for: a sentence on it; nothing when it asks for none.
local function take_row(self, name, row)
  local source = self.cfg:source(name)
  local value, wrong = block.value(row.text)
  if value ~= nil and tostring(self.cfg[name]) == tostring(value) then return nil end
  if is_explicit(source) then
    local text = "%s keeps %s, given by %s: its default is not used"
    return text:format(name, tostring(self.cfg[name]), source)
  end
  local ok = value ~= nil
  if ok then
    ok, wrong = pcall(self.cfg.set, self.cfg, name, value, { by = "edit" })
  end
  if ok then return ("%s = %s"):format(name, row.text) end
  local why = tostring(wrong):gsub("^%S+%.lua:%d+: ", "")
  return ("%s:%d: %s is as it was: %s"):format(self.path, row.line, name, why)
end

-- Makes the changes of the rows that were edited; what became of them, as sentences.
local function take_rows(self, rows)
  local names, told = {}, {}
  for name, row in pairs(rows) do
    local before = self.rows[name]
    if before and before.text ~= row.text then names[#names + 1] = name end
  end
  table.sort(names, function(a, b) return rows[a].from < rows[b].from end)
  for _, name in ipairs(names) do
    told[#told + 1] = take_row(self, name, rows[name])
  end
  return told
end

--- Takes up what was saved since the last look.
-- @tparam ?boolean again whether to read the file even when it looks as it did
-- @treturn {string,...} what was changed or could not be, as sentences
function Edits:look(again)
  local mark, young = mark_of(self.path)
  if not mark or not again and not young and mark == self.mark then return {} end
  self.mark = mark
  local text = files.read(self.path)
  if not text or text == self.text then return {} end
  self.text = text
  local fine, wrong = load(text, "@" .. self.path, "t", {}) -- compiled and not run
  if not fine then return { ("nothing is changed: %s"):format(wrong) } end
  local rows = block.read(text, self.is_key)
  if not rows then return { ("%s: there is no config block any more"):format(self.path) } end
  local told = take_rows(self, rows)
  local code = block.without_values(text, rows)
  if self.code ~= code then
    told[#told + 1] = self.path .. ": code was edited too; that is for the next start"
  end
  self.rows, self.code = rows, code
  return told
end

return edits
